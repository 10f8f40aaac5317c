"""Rows of a bounds file that no series can match, with the probable correction: a typo there loses a bound."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hil.guest.load import DISTRESS, LOADS
from hil.host import toml
from hil.host.hints import closest, did_you_mean
from hil.measure.bounds_file import Bounds, BoundsRow
from hil.measure.clock import VIRTUAL
from hil.measure.quantities import EVENTS, QUANTITIES
from hil.measure.series_data import SeriesData
from hil.measure.units import parse
from hil.wasm import Samples

LOADED = re.compile(r"(?P<what>.+), guest under (?P<load>.+) load")
LOOP = re.compile(r"(?P<side>[a-z]+), (?P<period>\d.*)")
CLOSE = 0.8  # similarity, 0 to 1, from which an unknown name counts as a typo


@dataclass(frozen=True)
class Unmatched:
    """A row that no series can match: `where` it is in the file, the row, and why."""

    where: str
    row: BoundsRow
    why: str

    def __str__(self) -> str:
        clock = f" by {self.row.clock}" if self.row.clock else ""
        return f"{self.where}: {self.row.figure} of {self.row.quantity!r} of {self.row.subject!r}{clock}: {self.why}"


def unmatched(
    bounds: Bounds, measured: Sequence[SeriesData] = (), *, whole: bool = False, virtual: bool = True
) -> list[Unmatched]:
    """Return the rows of `bounds` that no series can match.

    `measured` are series of the board. If they are the `whole` of what its tests measure, each row must match one of
    them, by its own or another clock of that quantity. Else a row is reported only if its quantity, module, load, loop
    or clock is unknown but close to a known or measured name: a user's own tests may measure anything. `virtual` is
    true if the board can run in virtual time.
    """
    matcher = _Matcher(measured, whole, virtual)
    found = ((number, row, next(matcher.problems(row), "")) for number, row in enumerate(bounds.rows))
    return [Unmatched(toml.place(bounds.path, ("bound", number)), row, why) for number, row, why in found if why]


class _Matcher:
    def __init__(self, measured: Sequence[SeriesData], whole: bool, virtual: bool) -> None:
        self._whole, self._virtual = whole, virtual
        self._clocks: dict[tuple[str, str], set[str]] = {}
        for series in measured:
            self._clocks.setdefault((series.quantity, series.subject), set()).add(series.clock.name)
        self._modules = [name for sample in Samples() for name in (sample.file, f"{sample.name}.aot.wasm")]

    def problems(self, row: BoundsRow) -> Iterator[str]:
        """Yield the reasons why `row` cannot match."""
        known = (row.quantity, row.subject) in self._clocks
        if not known and self._whole:
            yield f"there is no such series; {self._nearest(row)}".rstrip("; ")
        elif not known:
            yield from self._names(row)
        yield from self._clock(row)

    def _nearest(self, row: BoundsRow) -> str:
        subjects = [subject for quantity, subject in self._clocks if quantity == row.quantity]
        if subjects:
            return did_you_mean(row.subject, subjects) or f"subjects of this quantity: {', '.join(map(repr, subjects))}"
        return did_you_mean(row.quantity, {quantity for quantity, _ in self._clocks})

    def _names(self, row: BoundsRow) -> Iterator[str]:
        """Yield the typos in quantity and subject of a row that was not measured."""
        quantities = {*QUANTITIES, *(quantity for quantity, _ in self._clocks)}
        if row.quantity not in quantities and (meant := _typo(row.quantity, quantities)):
            yield f"the quantity is unknown; did you mean {meant!r}?"
        what = row.subject.removesuffix(", soak")
        if loaded := LOADED.fullmatch(what):
            what, loads = loaded["what"], (*LOADS, *DISTRESS)
            if loaded["load"] not in loads:
                yield f"there is no load {loaded['load']!r}; {did_you_mean(loaded['load'], loads)}".rstrip("; ")
        elif re.search(r"\bload\b|\bunder\b", what):
            yield "the subject of a series under load ends with ', guest under NAME load'"
        if loop := LOOP.fullmatch(what):
            yield from _loop(loop["side"], loop["period"])
        for module in re.findall(r"\S+\.\w*", what)[:1]:
            subjects = {name.split()[0] for _, name in self._clocks}
            if module not in {*self._modules, *subjects} and (meant := _typo(module, [*self._modules, *subjects])):
                yield f"there is no module {module!r}; did you mean {meant!r}?"
        same = [subject for quantity, subject in self._clocks if quantity == row.quantity]
        plain = {_plain(subject): subject for subject in same}
        if _plain(row.subject) in plain:
            yield f"did you mean {plain[_plain(row.subject)]!r}?"

    def _clock(self, row: BoundsRow) -> Iterator[str]:
        """Yield why the clock of `row` cannot measure its quantity on the board."""
        if row.clock is None:
            return
        taken = self._clocks.get((row.quantity, row.subject), set())
        if row.clock == VIRTUAL and not self._virtual and VIRTUAL not in taken:
            yield "the board is not emulated and has no virtual time"
        possible = {*QUANTITIES.get(row.quantity, EVENTS), VIRTUAL, *taken}
        if row.clock not in possible:
            names = ", ".join(sorted(possible - ({VIRTUAL} if not self._virtual else set())))
            yield f"this clock does not measure the quantity; its clocks are: {names}"


def _loop(side: str, period: str) -> Iterator[str]:
    if side not in ("guest", "partition"):
        yield f"a loop runs in the guest or in the partition; {did_you_mean(side, ('guest', 'partition'))}".rstrip("; ")
    try:
        if str(parse(period)) != period:
            yield f"write the period as {str(parse(period))!r}"
    except ValueError as error:
        yield str(error)


def _typo(word: str, known: Iterable[str]) -> str:
    """Return the name in `known` closest to `word` with the same numbers; empty if none is close."""
    digits = re.findall(r"\d+", word)
    same = [name for name in known if re.findall(r"\d+", name) == digits]
    return closest(word, same, CLOSE)


def _plain(subject: str) -> str:
    return re.sub(r"[\s,_-]+", "", subject).lower()
