"""Rows of a bounds file that no series can match, with the probable correction: a typo there loses a bound."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hil.guest.load import DISTRESS, LOADS
from hil.host import project, toml
from hil.host.hints import closest, did_you_mean
from hil.measure.bounds_file import Bounds, BoundsRow, alike
from hil.measure.clock import VIRTUAL
from hil.measure.quantities import EVENTS, QUANTITIES
from hil.measure.results import SeriesRecord
from hil.measure.series_data import SeriesData
from hil.wasm.catalogue import on_demand

WORDS = ("guest", "partition", "under", "load", "soak", *LOADS, *DISTRESS)  # of subjects, beside modules and periods
CLOSE = 0.8  # similarity, 0 to 1, from which an unknown word counts as a typo


@dataclass(frozen=True)
class Unmatched:
    """A row that no series can match: `where` it is in the file, the row, and why."""

    where: str
    row: BoundsRow
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.row}: {self.why}"


def unmatched(
    bounds: Bounds, measured: Sequence[SeriesData] = (), *, whole: bool = False, virtual: bool = True
) -> list[Unmatched]:
    """Return the rows of `bounds` that no series can match.

    `measured` are series of the board. If they are the `whole` of what its tests measure, each row must match one of
    them, by its own or another clock of that quantity. Else a row is reported only if it differs from a measured
    series in the case of letters, blanks and dashes, if its quantity, clock or a word of its subject is unknown, but
    close to a known one, or if it differs only in the arguments from a series whose check found no bounds: a user's own
    tests may measure anything. `virtual` is true if the board can run in virtual time.
    """
    names = (*project.current().names("samples", ".wasm"), *on_demand())
    modules = [f"{name}{kind}" for name in names for kind in (".wasm", ".aot.wasm")]
    words = {*WORDS, *modules, *(word for series in measured for word in _words(series.subject))}
    bare = [series for series in measured if series.lacks_verdict]
    found: list[Unmatched] = []
    for number, row in enumerate(bounds.rows):
        taken = [series for series in measured if row.names(series)]
        problems: list[str] = []
        if not taken:
            problems += [_nearest(row, measured)] if whole else [*_typos(row, measured, words), *_arguments(row, bare)]
        problems += _clock(row, {series.clock.name for series in taken}, virtual)
        if problems:
            found.append(Unmatched(toml.place(bounds.path, ("bound", number)), row, problems[0]))
    return found


def unjudged(bounds: Bounds, records: Sequence[SeriesRecord]) -> list[Unmatched]:
    """Return the rows of `bounds` that bound a series of `records`, but that no check of it used.

    A test that measures a series need not check it: the execution time comes along with the response time. A series
    whose check found no verdict is left out: its test has failed.
    """
    found: list[Unmatched] = []
    for number, row in enumerate(bounds.rows):
        bound = row.bound()
        of_row = [each for each in records if row.names(each.series) and row.clock in (None, each.series.clock.name)]
        judged = any(
            (check.figure, check.limit) == (bound.figure.name, bound.limit) for each in of_row for check in each.checks
        )
        failed = any(each.series.lacks_verdict for each in of_row)
        if of_row and not judged and not failed:
            why = "its series was measured, but no test of this run checks it; call measure.check(series)"
            found.append(Unmatched(toml.place(bounds.path, ("bound", number)), row, why))
    return found


def _nearest(row: BoundsRow, measured: Sequence[SeriesData]) -> str:
    """Return that there is no such series, and what there is."""
    same = [series for series in measured if series.quantity == row.quantity]
    tests = {series.provenance.get("test", "") for series in same if series.subject == row.subject}
    subjects = dict.fromkeys(series.subject for series in same)
    if tests:
        hint = f"tests with this series: {', '.join(sorted(tests))}"
    elif subjects:
        every = f"subjects of this quantity: {', '.join(map(repr, subjects))}"
        hint = did_you_mean(row.subject, subjects) or every
    else:
        hint = did_you_mean(row.quantity, {series.quantity for series in measured})
    return f"there is no such series; {hint}".rstrip("; ")


def _typos(row: BoundsRow, measured: Sequence[SeriesData], words: set[str]) -> Iterator[str]:
    """Yield the probable typos of a row that was not measured."""
    for series in measured:
        if _plain(row.quantity, row.subject) == _plain(series.quantity, series.subject):
            for given, meant in ((row.quantity, series.quantity), (row.subject, series.subject)):
                if given != meant:
                    yield f"did you mean {meant!r}?"
    for kind, word, known in (
        ("quantity", row.quantity, {*QUANTITIES, *(series.quantity for series in measured)}),
        *(("word", word, words) for word in _words(row.subject)),
    ):
        digits = re.findall(r"\d+", word)
        same = [name for name in known if re.findall(r"\d+", name) == digits]
        if word not in same and (meant := closest(word, same, CLOSE)):
            yield f"the {kind} {word!r} is unknown; did you mean {meant!r}?"


def _arguments(row: BoundsRow, bare: Sequence[SeriesData]) -> Iterator[str]:
    """Yield the series among `bare`, whose checks found no bounds, that differ from `row` in their arguments."""
    for series in bare:
        if row.quantity == series.quantity and row.subject != series.subject and alike(row.subject, series.subject):
            yield f"did you mean {series.subject!r}? There are no bounds for it."


def _words(subject: str) -> Iterator[str]:
    """Yield the words of a subject, except the arguments of a module, which may be anything."""
    for part in subject.split(", "):
        first, *others = part.split() or [""]
        yield first
        yield from () if "." in first else others


def _clock(row: BoundsRow, taken: set[str], virtual: bool) -> Iterator[str]:
    """Yield why the clock of `row` cannot measure its quantity on the board; it was measured by the clocks `taken`."""
    if row.clock == VIRTUAL and not virtual and VIRTUAL not in taken:
        yield "the board is not emulated and has no virtual time"
    possible = {*QUANTITIES.get(row.quantity, EVENTS), VIRTUAL, *taken}
    if row.clock is not None and row.clock not in possible:
        names = ", ".join(sorted(possible - (set() if virtual else {VIRTUAL})))
        yield f"this clock does not measure the quantity; its clocks are: {names}"


def _plain(*names: str) -> str:
    return re.sub(r"[\s,_-]+", "", "".join(names)).lower()
