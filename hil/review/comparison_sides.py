"""The two sides of a comparison: the runs or files that a name selects, and their series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.history.identity import stable_test
from hil.history.store import History
from hil.host.hints import did_you_mean
from hil.measure import results
from hil.measure.clock import VIRTUAL
from hil.review.review_window import group_by

if TYPE_CHECKING:
    from hil.history.rows import Run
    from hil.measure.results import SeriesRecord
    from hil.measure.series import Series

FORMS = "a night, NIGHT:RUN, a results file, a run's directory, image:NAME or board:NAME"


@dataclass(frozen=True)
class SeriesKey:
    """The identity of a series on its side.

    `test` is without its parameters, `variant` are those but the board; `seed` is that of virtual time. `number` is 0
    for the last of several series that are alike in all else, 1 for the one before, and so on.
    """

    quantity: str
    subject: str
    board: str
    test: str
    variant: str
    seed: str
    clock: str = ""
    number: int = 0

    @property
    def pairings(self) -> tuple[tuple[str, ...], ...]:
        """The keys by which two series are paired, the strictest first: boards, tests, seeds and clocks may differ."""
        base = (self.quantity, self.subject)
        same_test = (*base, self.clock, self.test, self.variant, self.seed, str(self.number))
        return (*same_test, self.board), same_test, (*base, self.clock, self.seed), (*base, self.clock), base


@dataclass(frozen=True)
class ComparisonSide:
    """One side: its name as given, a description of what was found, and all its series."""

    name: str
    found: str
    series: dict[SeriesKey, Series]


def read_side(name: str, history: Path) -> ComparisonSide:
    """Read the series that `name` selects. Raises `ConfigurationError` where there are none."""
    found, records, boards = _from_files(path) if (path := _existing(name)) else _from_history(name, history)
    series = _keyed([record.series for record in records], boards)
    if not series:
        raise ConfigurationError(
            f"{name} ({found}) has no series to compare",
            hint="choose one with tests that measure; pruned samples are gone",
        )
    return ComparisonSide(name, found, series)


def _existing(name: str) -> Path | None:
    """Return the path of an existing file or directory."""
    try:
        return Path(name) if name and Path(name).exists() else None
    except (OSError, ValueError):  # too long for a name, or with a NUL in it
        return None


def _from_files(path: Path) -> tuple[str, list[SeriesRecord], list[str]]:
    files = [path] if path.is_file() else results.files_in(path)
    records = [record for file in files for record in results.load(file).records]
    text = str(path) if path.is_file() else f"{path}, {len(files)} results file{'s' * (len(files) > 1)}"
    return text, records, []


def _from_history(name: str, path: Path) -> tuple[str, list[SeriesRecord], list[str]]:
    if not path.is_file():
        raise ConfigurationError(
            f"{name} is no file, and the history {path} does not exist",
            hint=f"give {FORMS}; select another history with --history FILE",
        )
    with History(path) as history:
        kind, _, what = name.partition(":")
        newest = kind in ("image", "board") and bool(what)
        runs, found = _newest(history, kind, what) if newest else _of_night(history, name)
        records = [record for run in runs for record in history.series(run)]
    if newest:
        records = [record for record in records if _is_of(record.series, kind, what)]
    return found, records, [board for run in runs for board in run.board.split(", ")]


def _of_night(history: History, name: str) -> tuple[list[Run], str]:
    nights = history.nights()
    if name == "latest" and nights:
        name = nights[-1]
    night, _, run_name = name.partition(":")
    if night not in nights:
        raise ConfigurationError(
            f"{name!r} is neither a file nor a night of {history.path}; {did_you_mean(night, nights)}"
            + (f"the newest night is {nights[-1]}" if nights else "it has no nights"),
            hint=f"give {FORMS}",
        )
    runs = history.runs([night])
    names = [run.name for run in runs]
    if run_name and run_name not in names:
        raise ConfigurationError(
            f"the night {night} has no run {run_name!r}; "
            f"{did_you_mean(run_name, names)}its runs are: {', '.join(names)}"
        )
    chosen = [run for run in runs if run_name in ("", run.name)]
    return chosen, f"night {night}, {', '.join(run.name for run in chosen)}"


def _newest(history: History, kind: str, what: str) -> tuple[list[Run], str]:
    """Return the runs of the newest night, or the newest run outside of nights, that measured an image or board."""
    known: set[str] = set()
    for group in reversed(group_by(history.runs(), lambda run: run.night or run.id).values()):
        names = {(figure.run, str(getattr(figure, kind))) for figure in history.figures(group)}
        known |= {name for _, name in names}
        if runs := [run for run in group if (run.id, what) in names]:
            night = f"night {runs[0].night}, " if runs[0].night else ""
            return runs, f"{kind} {what}: {night}{', '.join(run.name for run in runs)}"
    measured_names = f"it has figures of: {', '.join(sorted(known))}" if known else "it has no figures at all"
    raise ConfigurationError(
        f"the history has no figures of the {kind} {what!r}; {did_you_mean(what, known)}{measured_names}"
    )


def _is_of(series: Series, kind: str, what: str) -> bool:
    name = series.provenance.get(kind, "")
    return (name.rpartition(" ")[0] or name) == what if kind == "image" else name == what


def _keyed(several: Sequence[Series], boards: Sequence[str]) -> dict[SeriesKey, Series]:
    """Return the series by their keys, in order; those that are alike are numbered from the last."""
    keyed: list[tuple[SeriesKey, Series]] = []
    counts: Counter[SeriesKey] = Counter()
    for series in reversed(several):
        key = _key(series, boards)
        keyed.append((replace(key, number=counts[key]), series))
        counts[key] += 1
    return dict(reversed(keyed))


def _key(series: Series, boards: Sequence[str]) -> SeriesKey:
    provenance = {name: series.provenance.get(name, "") for name in ("test", "board", "seed")}
    test = provenance["test"]
    for name in dict.fromkeys([provenance["board"], *boards]):
        test = stable_test(test, name, "")
    function, _, parameters = test.partition("[")
    variant = "-".join(filter(None, parameters.removesuffix("]").split("-")))
    seed = provenance["seed"] if series.clock.name == VIRTUAL else ""
    return SeriesKey(series.quantity, series.subject, provenance["board"], function, variant, seed, series.clock.name)
