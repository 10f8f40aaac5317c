"""Compare nights, images or boards, series by series. A comparison does not judge."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.compare.shifts import BaselineOutcome, RepetitionChange, Shift, compare_series
from hil.host.extras import MissingExtraError
from hil.measure.figures import FIGURES
from hil.measure.units import shown
from hil.plots import series as plots
from hil.review import rendering
from hil.review.comparison_sides import ComparisonSide, SeriesKey, read_side
from hil.review.finding import percent

if TYPE_CHECKING:
    from hil.measure.series import Series

PAGE = "compare.html"
SHOWN = ("p50", "p99", "max")  # the first two have shifts
EQUAL, DIFFERS = "equal", "differs"  # verdicts of exact clocks
VERDICTS = {  # of other clocks
    BaselineOutcome.SAME: "same",
    BaselineOutcome.DIFFERENT: "B is larger",
    BaselineOutcome.BETTER: "B is smaller",
    BaselineOutcome.INCONCLUSIVE: "inconclusive",
}
ORDER = ("B is larger", "B is smaller", DIFFERS, "inconclusive")


@dataclass(frozen=True)
class ComparisonRow:
    """One figure of both sides, in the series' unit, and the `shift` from A to B, where it was estimated."""

    figure: str
    a: float
    b: float
    shift: Shift | None
    verdict: str

    @property
    def share(self) -> str:
        """The difference as a percentage of A."""
        return percent((self.b - self.a) / abs(self.a)) if self.a else ""


@dataclass(frozen=True)
class Pair:
    """A series of A and its counterpart of B.

    `why` is the reason why they are not compared; `first` is the first difference by an exact clock.
    """

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
        """The board of both, or those of A and B."""
        a, b = (series.provenance.get("board", "") for series in (self.a, self.b))
        return a if a == b else f"{a or '(unknown)'} and {b or '(unknown)'}"

    @property
    def drawable(self) -> bool:
        """Whether a picture shows more than the table."""
        return self.a.unit == self.b.unit and max(len(self.a), len(self.b)) > 1

    @property
    def summary(self) -> str:
        """The result for the pair as a whole; empty where the rows say it all."""
        if self.why:
            return f"not compared: {self.why}"
        if not self.a.clock.exact:
            return ""
        if self.first is None:
            return "equal to the bit"
        first, values = self.first, (self.first.old, self.first.new)
        old, new = ("none" if value is None else shown(value, self.a.unit) for value in values)
        most = max(len(self.a), len(self.b))
        return f"{first.count} of {most} values differ, the first is #{first.repetition}: {old}, {new}"

    def lines(self) -> Iterator[dict[str, str]]:
        """Yield the rows of a table."""
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
                "verdict": row.verdict if not self.why else self.summary,
            }

    @property
    def facts(self) -> dict[str, Any]:
        return {
            **asdict(self.key),
            "unit": self.a.unit,
            "clock": [self.a.clock.name, self.b.clock.name],
            "n": [len(self.a), len(self.b)],
            "told": self.summary,
            "figures": [
                {
                    "figure": row.figure,
                    "A": row.a,
                    "B": row.b,
                    "verdict": row.verdict,
                    "shift": row.shift and row.shift.value,
                    **{limit: row.shift and getattr(row.shift, limit) for limit in ("lower", "upper")},
                }
                for row in self.rows
            ],
        }


def _shift(row: ComparisonRow, unit: str) -> str:
    shift = row.shift
    if shift is None:
        return row.share
    text = shown(shift.value, unit) + (f" ({percent(shift.value / abs(row.a))})" if row.a else "")
    if shift.lower is None or shift.upper is None:
        return f"{text}, too few samples for a confidence interval"
    return f"{text}, {shown(shift.lower, unit)} .. {shown(shift.upper, unit)}"


@dataclass(frozen=True)
class Comparison:
    """All pairs, and the series that only one of the sides has."""

    a: ComparisonSide
    b: ComparisonSide
    pairs: tuple[Pair, ...]
    only_a: tuple[SeriesKey, ...]
    only_b: tuple[SeriesKey, ...]

    @property
    def counted(self) -> str:
        """The number of series by the verdict on their medians."""
        verdicts = Counter(pair.rows[0].verdict or "not compared" for pair in self.pairs)
        text = ", ".join(f"{verdict}: {count}" for verdict, count in verdicts.most_common())
        return f"{len(self.pairs)} series; by their medians {text}" if text else "no series of A has a counterpart in B"

    @property
    def ranked(self) -> list[tuple[int, Pair]]:
        """The pairs with their numbers, those whose medians differ first."""
        places = {verdict: place for place, verdict in enumerate(ORDER)}
        return sorted(enumerate(self.pairs, 1), key=lambda pair: places.get(pair[1].rows[0].verdict, len(ORDER)))

    @property
    def facts(self) -> dict[str, Any]:
        """The comparison as JSON data, without the samples."""
        return {
            **{name: {"name": side.name, "found": side.found} for name, side in (("A", self.a), ("B", self.b))},
            "pairs": [pair.facts for pair in self.pairs],
            "only A": [asdict(key) for key in self.only_a],
            "only B": [asdict(key) for key in self.only_b],
        }


def compare(a: str, b: str, history: Path) -> Comparison:
    """Compare nights, files, directories, images or boards. Raises `ConfigurationError` for a wrong name."""
    left, right = read_side(a, history), read_side(b, history)
    counterparts = dict(_counterparts(left, right))
    taken = set(counterparts.values())
    return Comparison(
        left,
        right,
        tuple(_pair(key, left.series[key], right.series[other]) for key, other in counterparts.items()),
        tuple(key for key in left.series if key not in counterparts),
        tuple(key for key in right.series if key not in taken),
    )


def _counterparts(a: ComparisonSide, b: ComparisonSide) -> Iterator[tuple[SeriesKey, SeriesKey]]:
    """Yield each series of A with the one of B that alone has the same pairing key, the strictest key first."""
    left, right = list(a.series), list(b.series)
    for way in range(len(left[0].pairings)):
        ours, theirs = ({key: key.pairings[way] for key in keys} for keys in (left, right))
        our_counts, their_counts = Counter(ours.values()), Counter(theirs.values())
        others = {pairing: key for key, pairing in theirs.items()}
        for key, pairing in ours.items():
            if our_counts[pairing] == 1 and their_counts[pairing] == 1:
                left.remove(key)
                right.remove(others[pairing])
                yield key, others[pairing]


def _pair(key: SeriesKey, a: Series, b: Series) -> Pair:
    compared = compare_series(a, b)
    exact, same = a.clock.exact and not compared.why, not compared.why and compared.first is None
    shifts = {} if same else dict(zip(SHOWN, compared.shifts, strict=False))
    rows = []
    for name in SHOWN:
        values = float(FIGURES[name].value(a)), float(FIGURES[name].value(b))
        shift = shifts.get(name)
        verdict = VERDICTS[shift.outcome] if shift else VERDICTS[BaselineOutcome.SAME] if same else ""
        if exact:
            verdict = EQUAL if values[0] == values[1] else DIFFERS
        rows.append(ComparisonRow(name, *values, shift, verdict))
    return Pair(key, a, b, tuple(rows), compared.why, compared.first if exact else None)


def write(made: Comparison, directory: Path) -> Path:
    """Write the page of a comparison, with pictures, or a note where they need a package that is not installed.

    Raises `InfrastructureError` for disk errors.
    """
    pictures, note = [""] * len(made.pairs), ""
    try:
        pictures = [plots.compare([pair.a, pair.b]) if pair.drawable else "" for pair in made.pairs]
    except MissingExtraError as error:
        note = f"{error.message}. Install it: {error.hint}"
    drawn = list(zip(itertools.count(1), made.pairs, pictures, strict=False))
    return rendering.write(directory / PAGE, "compare.html", made=made, drawn=drawn, note=note)
