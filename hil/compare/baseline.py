"""Baselines: good series that later ones are compared with.

In virtual time figures repeat, so they are compared to the bit. By other clocks the shifts of median and p99 are
compared, with confidence limits and a least effect that counts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hil.compare.key import BaselineKey, keyed
from hil.compare.shifts import MIN_EFFECT, BaselineOutcome, RepetitionChange, Shift, compare_series
from hil.errors import ConfigurationError
from hil.host import files, project
from hil.host.directories import data_root
from hil.host.disk import disk_errors
from hil.measure import results
from hil.measure.series import Series
from hil.measure.units import NAMES, shown


@dataclass(frozen=True, eq=False)
class BaselineComparison:
    """The comparison of a series with its baseline, or with the nearest one.

    - `changed`: the differences of the keys, in words.
    - `first`: the first difference, in virtual time.
    - `shifts`: the shifts of median and p99, by other clocks.
    - `why`: the reason if there is no answer.
    """

    series: Series
    outcome: BaselineOutcome
    baseline: Series | None = None
    changed: tuple[str, ...] = ()
    first: RepetitionChange | None = None
    shifts: tuple[Shift, ...] = ()
    why: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """All but the samples, for JSON."""
        return {
            "quantity": self.series.quantity,
            "subject": self.series.subject,
            "clock": self.series.clock.name,
            "outcome": str(self.outcome),
            "why": self.why,
            "changed": list(self.changed),
            "n": len(self.series),
            "baseline n": len(self.baseline) if self.baseline else None,
            "first": asdict(self.first) if self.first else None,
            "shifts": [asdict(shift) | {"outcome": str(shift.outcome)} for shift in self.shifts],
        }

    def __str__(self) -> str:
        series = self.series
        lines = [f"{self.outcome}: {series.quantity} of {series.subject}, {series.clock.name}"]
        lines += filter(None, (self.why, *self.changed))
        if self.first and self.baseline:
            lines.append(_difference(self.first, self.baseline, series))
        lines += [_shift(shift, series.unit) for shift in self.shifts]
        return "\n    ".join(lines)


class Baselines:
    """The baselines in `directory`, one file each.

    The default is the project's setting `baselines`, else a directory among the user's data.
    """

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or project.current().path("baselines") or data_root() / "baselines"

    def record(self, series: Sequence[Series]) -> list[Path]:
        """Write each of `series` as the baseline of its key, replace an older one, and return the files.

        Each file is written atomically. Raises `ConfigurationError` for no series, `InfrastructureError` if a file
        cannot be written.
        """
        made = {self.directory / key.name: each for key, each in keyed(_some(series))}
        for path, each in made.items():
            with disk_errors(f"write the baseline {path}"):
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write(path, results.render(each))
        return list(made)

    def compare(self, series: Sequence[Series], *, min_effect: float = MIN_EFFECT) -> list[BaselineComparison]:
        """Compare each of `series` with its baseline or, without one, with the nearest of its kind.

        `min_effect` is the least shift that counts, as a share of the baseline's figure. Raises `ConfigurationError`
        for no series, a `min_effect` out of range, and a broken file of a baseline.
        """
        if not 0 <= min_effect < math.inf:
            raise ConfigurationError(f"the least effect {min_effect} is out of range", hint="Give 0 or more.")
        return [self._compare(key, each, min_effect) for key, each in keyed(_some(series))]

    def _compare(self, key: BaselineKey, series: Series, min_effect: float) -> BaselineComparison:
        found = self._nearest(key)
        if found is None:
            return BaselineComparison(
                series,
                BaselineOutcome.NO_BASELINE,
                why="no baseline of this board, test, quantity, subject and clock",
            )
        changes = BaselineKey.of(found).changes(key)
        changed = tuple(changes.values())
        compared = compare_series(found, series, min_effect)
        outcome, first, why = compared.outcome, compared.first, compared.why
        if not why and changes.keys() & {"seed", "mode"}:  # figures of other seeds differ without a cause
            return BaselineComparison(
                series, BaselineOutcome.NO_BASELINE, found, changed, why="no baseline of this seed and mode"
            )
        before, now = (each.provenance.get("history", "") for each in (found, series))
        if series.clock.exact and first and not changes and before != now:
            outcome, changed = BaselineOutcome.NOT_COMPARABLE, (f"typed: {before} -> {now}",)
            why = "other commands ran on the board before; run the same tests in the same order"
        elif outcome is BaselineOutcome.INCONCLUSIVE:
            why = "the limits are too wide; take more samples"
        shown_first = first if series.clock.exact else None
        return BaselineComparison(series, outcome, found, changed, shown_first, compared.shifts, why)

    def _nearest(self, key: BaselineKey) -> Series | None:
        """Return the baseline with this key, else the newest of those with the fewest changes."""
        exact = self.directory / key.name
        paths = [exact] if exact.exists() else sorted(self.directory.glob(f"{key.stem}-*.jsonl"))
        loaded = sorted((results.load(path) for path in paths), key=lambda file: file.written, reverse=True)
        near = [each for file in loaded for each in file.series if BaselineKey.of(each).kind == key.kind]

        def distance(series: Series) -> tuple[bool, int]:
            changes = BaselineKey.of(series).changes(key)
            return bool(changes.keys() & {"seed", "mode"}), len(changes)

        return min(near, key=distance, default=None)


def summary(comparisons: Sequence[BaselineComparison]) -> str:
    """Return the count of each outcome and the part that changed first."""
    counts = Counter(comparison.outcome for comparison in comparisons)
    text = ", ".join(f"{counts[outcome]} {outcome}" for outcome in BaselineOutcome if counts[outcome])
    changed = [(found.first.repetition, found.series) for found in comparisons if found.first]
    if not changed:
        return text
    repetition, series = min(changed, key=lambda pair: pair[0])
    return f"{text}; the first change: repetition {repetition}, {series.quantity} of {series.subject}"


def exit_status(comparisons: Iterable[BaselineComparison]) -> int:
    """Return 0 if all are the same or better, 1 if some are different, else 3: some have no answer."""
    outcomes = {comparison.outcome for comparison in comparisons}
    if BaselineOutcome.DIFFERENT in outcomes:
        return 1
    return 0 if outcomes <= {BaselineOutcome.SAME, BaselineOutcome.BETTER} else 3


def _some(series: Sequence[Series]) -> Sequence[Series]:
    if not series:
        raise ConfigurationError("there are no series in these results", hint="Run tests that measure.")
    return series


def _shift(shift: Shift, unit: str) -> str:
    of = f"{shift.figure} {shown(shift.old, unit)}"
    if shift.lower is None or shift.upper is None:
        return f"{of}: moved by {shown(shift.value, unit)}; too few samples for its limits, not judged"
    share = f" ({shift.value / abs(shift.old):+.2%})" if shift.old else ""
    limits = f"95 % limits {shown(shift.lower, unit)} .. {shown(shift.upper, unit)}"
    return f"{of}: moved by {shown(shift.value, unit)}{share}, {limits}; counts from {shown(shift.least, unit)}"


def _difference(first: RepetitionChange, old: Series, new: Series) -> str:
    unit = new.unit
    what = f"{_full(first.old, unit)} -> {_full(first.new, unit)}"
    if first.old is not None and first.new is not None:
        what += f" ({'+' if first.new > first.old else ''}{shown(first.new - first.old, unit)})"
    total = max(len(old), len(new))
    size = "" if len(old) == len(new) else f"; {len(new)} repetitions, were {len(old)}"
    return f"{first.count} of {total} repetitions differ, the first is #{first.repetition}: {what}{size}"


def _full(value: float | None, unit: str) -> str:
    """Return `value` with so many digits that different values look different."""
    if value is None:
        return "none"
    if unit != "s":
        return repr(value)
    name = next((name for name in ("s", "ms", "us") if abs(value) >= NAMES[name].value), "ns")
    return f"{value / NAMES[name].value:.12g} {name}"
