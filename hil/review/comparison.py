"""Two sides beside each other: nights, images or boards, series by series. It compares, it does not judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.compare.baseline import BaselineOutcome, RepetitionChange, Shift, difference, median_shift, p99_shift
from hil.measure.figures import FIGURES
from hil.measure.units import shown
from hil.plots import series as plots
from hil.review import pages
from hil.review.sides import SeriesKey, Side, side

if TYPE_CHECKING:
    from hil.measure.series import Series

PAGE = "compare.html"
SHOWN = ("p50", "p99", "max")
EQUAL, DIFFERS = "equal", "differs"  # by an exact clock
WORDS = {  # by others
    BaselineOutcome.SAME: "same",
    BaselineOutcome.DIFFERENT: "B is larger",
    BaselineOutcome.BETTER: "B is smaller",
    BaselineOutcome.INCONCLUSIVE: "cannot be told",
}


@dataclass(frozen=True)
class ComparisonRow:
    """A figure of both: values in the series' unit; `shift` from A to B with its limits where there are some."""

    figure: str
    a: float
    b: float
    shift: Shift | None
    verdict: str

    @property
    def share(self) -> str:
        """By how much of A B is more."""
        return f"{(self.b - self.a) / abs(self.a):+.1%}".replace("%", " %") if self.a else ""


@dataclass(frozen=True)
class Pair:
    """A series of A and the one of B. `why` tells why they are not compared; `first` what differs by an exact clock."""

    key: SeriesKey
    a: Series
    b: Series
    rows: tuple[ComparisonRow, ...]
    why: str = ""
    first: RepetitionChange | None = None

    @property
    def title(self) -> str:
        seed = f", seed {self.key.seed}" if self.key.seed else ""
        seed += f", {self.key.number + 1}. from the last" if self.key.number else ""
        return f"{self.key.quantity} of {self.key.subject}{seed}{f', {self.boards}' if self.boards else ''}"

    @property
    def boards(self) -> str:
        """The board of both, or A's and B's."""
        a, b = (one.provenance.get("board", "") for one in (self.a, self.b))
        return a if a == b else f"{a or '(not told)'} and {b or '(not told)'}"

    @property
    def drawable(self) -> bool:
        """Whether a picture shows more than the table."""
        return self.a.unit == self.b.unit and max(len(self.a), len(self.b)) > 1

    @property
    def told(self) -> str:
        """What there is to say of the pair as a whole."""
        if self.why:
            return f"not compared: {self.why}"
        if not self.a.clock.exact:
            return ""
        if self.first is None:
            return "equal to the bit"
        old, new = ("none" if one is None else shown(one, self.a.unit) for one in (self.first.old, self.first.new))
        count, most = self.first.count, max(len(self.a), len(self.b))
        return f"{count} of {most} values differ, the first is #{self.first.repetition}: {old}, {new}"

    def lines(self) -> Iterator[dict[str, str]]:
        """The rows of a table."""
        unit = self.a.unit
        for row in self.rows:
            yield {
                "quantity": self.key.quantity,
                "subject": self.key.subject,
                "board": self.boards,
                "clock": self.key.clock + (f", seed {self.key.seed}" if self.key.seed else ""),
                "figure": row.figure,
                "A": shown(row.a, unit),
                "B": shown(row.b, self.b.unit),
                "B - A": _shift(row, unit) if not self.why else "",
                "verdict": row.verdict if not self.why else self.told,
            }

    @property
    def facts(self) -> dict[str, Any]:
        return {
            **asdict(self.key),
            "unit": self.a.unit,
            "clock": [self.a.clock.name, self.b.clock.name],
            "n": [len(self.a), len(self.b)],
            "told": self.told,
            "figures": [
                {
                    "figure": row.figure,
                    "A": row.a,
                    "B": row.b,
                    "shift": row.shift.value if row.shift else None,
                    "lower": row.shift.lower if row.shift else None,
                    "upper": row.shift.upper if row.shift else None,
                    "verdict": row.verdict,
                }
                for row in self.rows
            ],
        }


def _shift(row: ComparisonRow, unit: str) -> str:
    shift = row.shift
    if shift is None:
        return row.share
    told = shown(shift.value, unit) + (f" ({shift.value / abs(row.a):+.1%})".replace("%", " %") if row.a else "")
    if shift.lower is None or shift.upper is None:
        return f"{told}, too few samples for limits"
    return f"{told}, {shown(shift.lower, unit)} .. {shown(shift.upper, unit)}"


@dataclass(frozen=True)
class Comparison:
    """All pairs, and the series that only one of the sides has."""

    a: Side
    b: Side
    pairs: tuple[Pair, ...]
    only_a: tuple[SeriesKey, ...]
    only_b: tuple[SeriesKey, ...]

    @property
    def counted(self) -> str:
        """How many series' medians differ, in words."""
        verdicts = Counter(pair.rows[0].verdict or "not compared" for pair in self.pairs)
        told = ", ".join(f"{verdict}: {count}" for verdict, count in verdicts.most_common())
        return f"{len(self.pairs)} series; by their medians {told}" if told else "no series of A has its like in B"

    @property
    def ranked(self) -> list[tuple[int, Pair]]:
        """The pairs with their numbers, those whose medians differ first."""
        order = [
            WORDS[BaselineOutcome.DIFFERENT],
            WORDS[BaselineOutcome.BETTER],
            DIFFERS,
            WORDS[BaselineOutcome.INCONCLUSIVE],
        ]
        places = {verdict: place for place, verdict in enumerate(order)}
        return sorted(enumerate(self.pairs, 1), key=lambda one: places.get(one[1].rows[0].verdict, len(order)))

    @property
    def facts(self) -> dict[str, Any]:
        """All of it but the samples, as JSON has it."""
        return {
            **{side: {"name": one.name, "found": one.found} for side, one in (("A", self.a), ("B", self.b))},
            "pairs": [pair.facts for pair in self.pairs],
            "only A": [asdict(key) for key in self.only_a],
            "only B": [asdict(key) for key in self.only_b],
        }


def compare(a: str, b: str, history: Path) -> Comparison:
    """Hold `a` against `b`: nights, files, directories, images or boards. Raises `ConfigurationError`."""
    one, other = side(a, history), side(b, history)
    matches = dict(_matches(one, other))
    pairs = tuple(_pair(key, one.series[key], other.series[match]) for key, match in matches.items())
    taken = set(matches.values())
    return Comparison(
        one,
        other,
        pairs,
        tuple(key for key in one.series if key not in matches),
        tuple(key for key in other.series if key not in taken),
    )


def _matches(one: Side, other: Side) -> Iterator[tuple[SeriesKey, SeriesKey]]:
    """Yield each series of A with its like in B: of the same board, else test, else the only one."""
    left, right = list(one.series), list(other.series)
    for way in range(len(left[0].ways)):
        ours, theirs = ({key: key.ways[way] for key in keys} for keys in (left, right))
        counts, others = Counter(ours.values()), {like: key for key, like in theirs.items()}
        single = Counter(theirs.values())
        for key, like in ours.items():
            if counts[like] == 1 and single[like] == 1:
                left.remove(key)
                right.remove(others[like])
                yield key, others[like]


def _pair(key: SeriesKey, a: Series, b: Series) -> Pair:
    why = _obstacle(a, b)
    values = {name: (float(FIGURES[name].value(a)), float(FIGURES[name].value(b))) for name in SHOWN}
    if why or a.clock.exact:
        exact = not why
        rows = [
            ComparisonRow(name, *both, None, (EQUAL if both[0] == both[1] else DIFFERS) if exact else "")
            for name, both in values.items()
        ]
        return Pair(key, a, b, tuple(rows), why, None if why else difference(a, b))
    if difference(a, b) is None:  # the same samples, by whichever clock and however few
        return Pair(
            key,
            a,
            b,
            tuple(ComparisonRow(name, *both, None, WORDS[BaselineOutcome.SAME]) for name, both in values.items()),
        )
    shifts = {"p50": median_shift(a, b), "p99": p99_shift(a, b)}
    rows = [
        ComparisonRow(name, *both, shift := shifts.get(name), WORDS[shift.outcome] if shift else "")
        for name, both in values.items()
    ]
    return Pair(key, a, b, tuple(rows))


def _obstacle(a: Series, b: Series) -> str:
    if a.unit != b.unit:
        return f"their units are {a.unit!r} and {b.unit!r}"
    if a.clock.name != b.clock.name:
        return f"their clocks are {a.clock.name} and {b.clock.name}"
    if a.clock.exact != b.clock.exact:
        return f"only {'A' if a.clock.exact else 'B'} was taken in exact virtual time"
    return ""


def write(made: Comparison, directory: Path) -> Path:
    """Make the page of a comparison, with pictures where there are samples. Raises `InfrastructureError`."""
    drawn = [
        (number, pair, plots.compare([pair.a, pair.b]) if pair.drawable else "")
        for number, pair in enumerate(made.pairs, 1)
    ]
    return pages.write(directory / PAGE, "compare.html", made=made, drawn=drawn)
