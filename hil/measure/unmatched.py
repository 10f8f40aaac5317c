"""Rows of a bounds file that no series can match, with what was probably meant: a typo there loses a bound."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hil.guest.load import DISTRESS, LOADS
from hil.host import toml
from hil.measure.bounds import Bounds, BoundsRow
from hil.measure.clocks import CONSOLE
from hil.measure.measure import ADDED, DEPLOYMENT, EXECUTION, OVERHEAD, RELATIVE, RELEASE, RESPONSE, TRANSFER
from hil.measure.memory import GUEST, PARTITION, QEMU, RUNNER
from hil.measure.series import VIRTUAL, Series
from hil.measure.units import parse
from hil.wasm import Samples

COUNTER, MODULE, ANALYSER = "guest counter", "module (WASI)", "logic analyser"
EVENTS = (COUNTER, CONSOLE, MODULE, ANALYSER)
QUANTITIES = {
    **dict.fromkeys((RESPONSE, EXECUTION, OVERHEAD, TRANSFER), (COUNTER,)),
    DEPLOYMENT: (CONSOLE,),
    **dict.fromkeys((RELEASE, ADDED, RELATIVE), EVENTS),
    **dict.fromkeys(("period jitter", "cycle-to-cycle jitter", "interarrival jitter"), EVENTS),
    **dict.fromkeys((GUEST, PARTITION, RUNNER, QEMU), (CONSOLE,)),
    **dict.fromkeys(("period", "high time", "low time", "duty cycle", "latency", "frequency"), (ANALYSER,)),
}
"""What this project measures, each with its clocks beside virtual time."""

LOADED = re.compile(r"(?P<what>.+), guest under (?P<load>.+) load")
LOOP = re.compile(r"(?P<side>[a-z]+), (?P<period>\d.*)")
CLOSE = 0.8  # of the characters: closer than this is a typo where what was written is nothing that is known


@dataclass(frozen=True)
class Unmatched:
    """A row that matches nothing: `where` it is in the file, the row, and why."""

    where: str
    row: BoundsRow
    why: str

    def __str__(self) -> str:
        clock = f" by {self.row.clock}" if self.row.clock else ""
        return f"{self.where}: {self.row.figure} of {self.row.quantity!r} of {self.row.subject!r}{clock}: {self.why}"


def unmatched(
    bounds: Bounds, measured: Sequence[Series] = (), *, whole: bool = False, virtual: bool = True
) -> list[Unmatched]:
    """Return the rows of `bounds` that can match nothing.

    `measured` are series of the board. Where they are the `whole` of what its tests measure, a row has to match one of
    them, by its own or another clock of that quantity. Else a row is wrong where quantity, module, load, loop or clock
    are nothing that this project measures, though close to what it does or to what was measured; what a user's own
    tests may measure is left alone. `virtual` says that the board can run in virtual time.
    """
    judge = _Judge(measured, whole, virtual)
    found = ((number, row, next(judge.problems(row), "")) for number, row in enumerate(bounds.rows))
    return [Unmatched(toml.place(bounds.path, ("bound", number)), row, why) for number, row, why in found if why]


class _Judge:
    def __init__(self, measured: Sequence[Series], whole: bool, virtual: bool) -> None:
        self._whole, self._virtual = whole, virtual
        self._clocks: dict[tuple[str, str], set[str]] = {}
        for one in measured:
            self._clocks.setdefault((one.quantity, one.subject), set()).add(one.clock.name)
        self._modules = [name for sample in Samples() for name in (sample.file, f"{sample.name}.aot.wasm")]

    def problems(self, row: BoundsRow) -> Iterator[str]:
        """Yield what keeps `row` from matching."""
        known = (row.quantity, row.subject) in self._clocks
        if not known and self._whole:
            yield f"nothing like it was measured; {self._nearest(row)}".rstrip("; ")
        elif not known:
            yield from self._names(row)
        yield from self._clock(row)

    def _nearest(self, row: BoundsRow) -> str:
        subjects = [subject for quantity, subject in self._clocks if quantity == row.quantity]
        if subjects:
            return toml.near(row.subject, subjects) or f"of that quantity there are: {', '.join(map(repr, subjects))}"
        return toml.near(row.quantity, {quantity for quantity, _ in self._clocks})

    def _names(self, row: BoundsRow) -> Iterator[str]:
        """What is wrong with quantity and subject of a row that was not measured, as far as can be known."""
        quantities = {*QUANTITIES, *(quantity for quantity, _ in self._clocks)}
        if row.quantity not in quantities and (meant := _typo(row.quantity, quantities)):
            yield f"no quantity is called so; did you mean {meant!r}?"
        what = row.subject.removesuffix(", soak")
        if loaded := LOADED.fullmatch(what):
            what, loads = loaded["what"], (*LOADS, *DISTRESS)
            if loaded["load"] not in loads:
                yield f"there is no load {loaded['load']!r}; {toml.near(loaded['load'], loads)}".rstrip("; ")
        elif re.search(r"\bload\b|\bunder\b", what):
            yield "a series under load has a subject that ends with ', guest under NAME load'"
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
        """Whether the row's clock is one by which the quantity can be measured on the board."""
        if row.clock is None:
            return
        taken = self._clocks.get((row.quantity, row.subject), set())
        if row.clock == VIRTUAL and not self._virtual and VIRTUAL not in taken:
            yield "the board is not emulated: it has no virtual time"
        possible = {*QUANTITIES.get(row.quantity, EVENTS), VIRTUAL, *taken}
        if row.clock not in possible:
            names = ", ".join(sorted(possible - ({VIRTUAL} if not self._virtual else set())))
            yield f"that quantity is not measured by this clock, but by: {names}"


def _loop(side: str, period: str) -> Iterator[str]:
    if side not in ("guest", "partition"):
        yield f"a loop runs in the guest or the partition; {toml.near(side, ('guest', 'partition'))}".rstrip("; ")
    try:
        if str(parse(period)) != period:
            yield f"the period is written {str(parse(period))!r}"
    except ValueError as error:
        yield str(error)


def _typo(word: str, known: Iterable[str]) -> str:
    """Return which of `known` was meant; empty where none is close, or the numbers in it are others."""
    digits = re.findall(r"\d+", word)
    same = [one for one in known if re.findall(r"\d+", one) == digits]
    return next(iter(difflib.get_close_matches(word, same, n=1, cutoff=CLOSE)), "")


def _plain(subject: str) -> str:
    return re.sub(r"[\s,_-]+", "", subject).lower()
