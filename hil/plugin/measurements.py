"""The measurements of a run: the results file, the bounds over all seeds, and the lines of the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hil import slow
from hil.board.selection import bounds_file, find, name_of
from hil.errors import HilError
from hil.host import project
from hil.plugin.labels import AllureLabels
from hil.plugin.run_facts import RunFacts

if TYPE_CHECKING:
    Checked = tuple[slow.Series, tuple[slow.Check, ...]]


class Measurements:
    """The series of a run with their checks; `recorded` is called with each one that is recorded.

    `files` are the results files, with those of the workers of xdist. `pooled` are the series over all seeds with
    their checks, `not_pooled` is the reason where they could not be checked.
    """

    def __init__(self, config: pytest.Config, facts: RunFacts, boards: Sequence[str], recorded: slow.Record) -> None:
        self._option = config.option
        self._facts = facts
        self._boards = boards
        self._recorded = recorded
        self.labels: AllureLabels | None = None
        self.files: list[Path] = []
        self.pooled: list[Checked] = []
        self.not_pooled = ""
        self._pending: list[Checked] = []  # for the report's page of the running test
        self._compared: list[Sequence[slow.Series]] = []  # the same, to be plotted side by side

    def measure(self, board: slow.Board) -> slow.Measure:
        """Return a new `Measure` for `board`, which records here."""
        return slow.Measure(self._given_bounds or bounds_file(board.path), self.record, self._compare)

    @property
    def _given_bounds(self) -> Path | None:
        """The bounds file for all boards, if one is given."""
        return self._option.hil_bounds or project.current().path("bounds")

    def record(self, series: slow.Series, checks: tuple[slow.Check, ...]) -> None:
        """Write a series and its checks to the results file, and keep them for the report."""
        facts = self._facts
        slow.results.write(facts.results_file, series, checks, facts={"run": facts.run, **facts.facts})
        self.add_files([facts.results_file])
        if facts.allure:
            self._pending.append((series, checks))
        if self.labels is not None:
            self.labels.add_checks(checks)
        self._recorded(series, checks)

    def _compare(self, several: Sequence[slow.Series]) -> None:
        if self._facts.allure:
            self._compared.append(several)

    def add_files(self, files: Sequence[Path]) -> None:
        """Add results files; with --hil-results all workers of xdist write the same one."""
        self.files = list(dict.fromkeys([*self.files, *files]))

    def take_pending(self) -> tuple[list[Checked], list[Sequence[slow.Series]]]:
        """Return the series recorded since the last call, and those to be plotted side by side."""
        pending, compared = self._pending, self._compared
        self._pending, self._compared = [], []
        return pending, compared

    def check_pooled(self) -> bool:
        """Check the series of all seeds together against the bounds of the board, and return whether all are kept.

        Each seed may have kept a bound that all together do not. `inconclusive` is no failure.
        """
        try:
            for series in slow.pool([series for path in self.files for series in slow.results.read(path)]):
                path = self._bounds_file(series.provenance["board"])
                bounds = slow.Bounds(path).of(series) if path.exists() else ()
                self.pooled.append((series, tuple(slow.decide(bound, series, series.confidence) for bound in bounds)))
        except HilError as error:
            self.not_pooled = str(error)
            return False
        return not any(check.outcome == "fail" for _, checks in self.pooled for check in checks)

    def _bounds_file(self, board: str) -> Path:
        """Return the bounds file of the board of that name. Raises `ConfigurationError` where there is no board."""
        if given := self._given_bounds:
            return given
        named = {name_of(name): name for name in self._boards}
        return bounds_file(find(named.get(board, board)))

    def _without_effect(self, records: Sequence[slow.SeriesRecord]) -> tuple[list[str], list[str]]:
        """Return the rows of bounds files that resemble measured series but match none, and those of unchecked series.

        Checks over all seeds count, too.
        """
        found: tuple[list[str], list[str]] = ([], [])
        for board in sorted({record.series.provenance.get("board", "") for record in records} - {""}):
            of_board = [record for record in records if record.series.provenance.get("board") == board]
            try:
                if (path := self._bounds_file(board)).exists():
                    bounds = slow.Bounds(path)
                    found[0].extend(map(str, slow.unmatched(bounds, [record.series for record in of_board])))
                    found[1].extend(map(str, slow.unjudged(bounds, of_board)))
            except HilError:  # the tests that needed the file have failed for it
                continue
        return found

    def summary(self) -> Iterator[str]:
        """Yield the lines of the terminal summary: each series with its checks, and the results files."""
        loaded = []
        for path in self.files:
            try:
                loaded.append(slow.results.load(path))
            except HilError as error:  # the summary has yet to name the tests that failed
                yield f"results: {error.message}"
        checked = [record for file in loaded for record in file.records if record.checks]
        headings = Counter(str(record.series) for record in checked)
        for record in checked:
            heading = str(record.series)
            test = record.series.provenance.get("test", "") if headings[heading] > 1 else ""
            yield f"{heading}, test: {test}" if test else heading
            yield from (f"  {check.text}" for check in record.checks)
        for series, checks in self.pooled:
            yield f"all seeds: {series}"
            yield from (f"  {check}" for check in checks)
        if self.not_pooled:
            yield f"all seeds: not judged: {self.not_pooled}"
        measured = [series for file in loaded for series in file.series]
        records = [record for file in loaded for record in file.records]
        pooled = [slow.SeriesRecord(series, tuple(map(slow.CheckResult.of, checks))) for series, checks in self.pooled]
        matching_nothing, unjudged = self._without_effect(records + pooled) if records else ([], [])
        if matching_nothing:
            yield "bounds that match nothing (`hil bounds check BOARD` finds more):"
            yield from (f"  {row}" for row in matching_nothing)
        if unjudged:
            yield "bounds that judged nothing:"
            yield from (f"  {row}" for row in unjudged)
        states: dict[object, str] = {}  # of several boards in virtual time with one seed, that of the last
        for series in measured:
            if state := series.provenance.get("exactness"):
                where = (series.provenance["board"], series.provenance.get("seed"))
                states[where if series.clock.exact else state] = state
        yield from states.values()
        names = " ".join(self._facts.shown(path) for path in self.files)
        yield f"results: {names}, {len(measured)} series, digest {slow.results.digest(measured)}"
