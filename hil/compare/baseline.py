"""Baselines: series as they were when they were good, and what has changed since.

In virtual time figures repeat, so they are compared to the bit. By other clocks distributions are
compared: by how much median and p99 moved, with confidence limits and a smallest effect that counts.
"""

from __future__ import annotations

import collections
import enum
import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.image.store import data_root
from hil.measure import results
from hil.measure.clock import VIRTUAL
from hil.measure.figures import quantile_ranks
from hil.measure.series import Series
from hil.measure.units import NAMES, shown

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

MINIMUM = 0.05  # of the baseline's figure: a smaller shift is none
Z = 1.6448536269514722  # of the normal distribution at 95 %, one-sided
GRID = 1000  # longer series are stood for by so many of their quantiles: a million pairs are enough


class BaselineOutcome(enum.StrEnum):
    SAME = "same"
    DIFFERENT = "different"
    BETTER = "better"
    INCONCLUSIVE = "inconclusive"
    NO_BASELINE = "no baseline"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class BaselineKey:
    """What a baseline is for. Empty where the series' provenance does not say; seed and mode only in virtual time.

    `number` counts, from 0, the different series that one test took of the same with all else being equal.
    """

    board: str
    quantity: str
    subject: str
    clock: str
    test: str
    image: str
    module: str
    qemu: str
    seed: str
    mode: str
    number: int = 0

    @classmethod
    def of(cls, series: Series) -> BaselineKey:
        told = series.provenance.get
        board, test, image, module, qemu = (told(name, "") for name in ("board", "test", "image", "module", "qemu"))
        seed, mode = (told(name, "") if series.clock.name == VIRTUAL else "" for name in ("seed", "mode"))
        return cls(board, series.quantity, series.subject, series.clock.name, test, image, module, qemu, seed, mode)

    @property
    def kind(self) -> tuple[str, ...]:
        """What two series must have in common so that comparing them means something."""
        return astuple(self)[:5]

    @property
    def stem(self) -> str:
        """What the names of the files of one kind begin with."""
        return "-".join(re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.")[:40] for part in self.kind[:4])

    @property
    def name(self) -> str:
        parts = astuple(self) if self.number else astuple(self)[:-1]
        return f"{self.stem}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}.jsonl"

    def changes(self, new: BaselineKey) -> dict[str, str]:
        """What is different in `new`, in words, by the name of the part."""
        names = [one.name for one in fields(self) if one.name != "number"]
        pairs = {name: (getattr(self, name), getattr(new, name)) for name in names}
        return {name: _change(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1]}


def _change(name: str, old: str, new: str) -> str:
    (old_name, _, old_digest), (new_name, _, new_digest) = old.partition(" "), new.partition(" ")
    if name in ("image", "module") and old and new:
        if old_name == new_name:
            return f"{name} {new_name}: sha256 {old_digest[:12]} -> {new_digest[:12]}"
        return f"{name}: {old_name} {old_digest[:12]} -> {new_name} {new_digest[:12]}"
    return f"{name}: {old or '(not told)'} -> {new or '(not told)'}"


@dataclass(frozen=True)
class RepetitionChange:
    """The first repetition, from 1, whose value changed, and in how many it did; None where one has no such."""

    repetition: int
    old: float | None
    new: float | None
    count: int


@dataclass(frozen=True)
class Shift:
    """How far a figure moved, with its limits at 95 % (one-sided each), and the `least` that counts.

    The limits are None where the samples are too few to give them.
    """

    figure: str
    old: float
    value: float
    lower: float | None
    upper: float | None
    least: float

    @property
    def outcome(self) -> BaselineOutcome:
        """Different or better when the whole interval is beyond the least effect, same when within; less is better."""
        if self.lower is None or self.upper is None:
            return BaselineOutcome.INCONCLUSIVE
        if self.lower > self.least:
            return BaselineOutcome.DIFFERENT
        if self.upper < -self.least:
            return BaselineOutcome.BETTER
        return (
            BaselineOutcome.SAME
            if -self.least <= self.lower and self.upper <= self.least
            else BaselineOutcome.INCONCLUSIVE
        )


@dataclass(frozen=True, eq=False)
class BaselineComparison:
    """A series held against its baseline, or against the nearest one there is.

    `changed` names what of the key differs from that baseline; `why` tells what stood in the way of an
    answer. `first` is what changed in virtual time, `shifts` what moved by another clock.
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
        """All of it but the samples, as JSON has it."""
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
        one = self.series
        lines = [f"{self.outcome}: {one.quantity} of {one.subject}, {one.clock.name}"]
        lines += filter(None, (self.why, *self.changed))
        if self.first and self.baseline:
            lines.append(_told(self.first, self.baseline, one))
        lines += [_moved(shift, one.unit) for shift in self.shifts]
        return "\n    ".join(lines)


class Baselines:
    """The baselines in `directory`, one file each; by default among the user's data."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = directory or data_root() / "baselines"

    def record(self, series: Sequence[Series]) -> list[Path]:
        """Keep each of `series` as its key's baseline, in place of an older one; returns the files.

        Each file appears whole or not at all. Raises `ConfigurationError` for no series, `InfrastructureError` where a
        file cannot be written.
        """
        made = {self.directory / key.name: (key, one) for key, one in keyed(_some(series))}
        for path, (_, one) in made.items():
            _replace(path, results.render(one))
        return list(made)

    def compare(self, series: Sequence[Series], *, minimum: float = MINIMUM) -> list[BaselineComparison]:
        """Hold each of `series` against its baseline or, without one, the nearest of its kind.

        `minimum` is the smallest shift that counts, as a share of the baseline's figure. Raises
        `ConfigurationError` for no series, a minimum that is none, and for a baseline's file that is broken.
        """
        if not 0 <= minimum < math.inf:
            raise ConfigurationError(f"{minimum} is no smallest effect", hint="give 0 or more")
        return [self._compare(key, one, minimum) for key, one in keyed(_some(series))]

    def _compare(self, key: BaselineKey, series: Series, minimum: float) -> BaselineComparison:
        found = self._nearest(key)
        if found is None:
            return BaselineComparison(
                series,
                BaselineOutcome.NO_BASELINE,
                why="there is none of this board, test, quantity, subject and clock",
            )
        changes = BaselineKey.of(found).changes(key)
        changed = tuple(changes.values())
        if why := _obstacle(found, series):
            return BaselineComparison(series, BaselineOutcome.NOT_COMPARABLE, found, changed, why=why)
        if changes.keys() & {"seed", "mode"}:  # another run of the same software: figures differ without a cause
            return BaselineComparison(
                series, BaselineOutcome.NO_BASELINE, found, changed, why="there is none of this seed and mode"
            )
        first = difference(found, series)
        if series.clock.exact:
            before, now = (one.provenance.get("history", "") for one in (found, series))
            if first and not changes and before != now:
                why = "the board had done other things before: run the same tests in the same order"
                return BaselineComparison(
                    series, BaselineOutcome.NOT_COMPARABLE, found, (f"typed: {before} -> {now}",), first, why=why
                )
            return BaselineComparison(
                series, BaselineOutcome.DIFFERENT if first else BaselineOutcome.SAME, found, changed, first
            )
        shifts = (median_shift(found, series, minimum), p99_shift(found, series, minimum))
        outcome = _together(shifts) if first else BaselineOutcome.SAME  # the same samples are, however few they are
        why = "the limits are too wide to tell, take more samples" if outcome is BaselineOutcome.INCONCLUSIVE else ""
        return BaselineComparison(series, outcome, found, changed, shifts=shifts, why=why)

    def _nearest(self, key: BaselineKey) -> Series | None:
        """The baseline with this key, else the one with the fewest changes, else the newest of those."""
        exact = self.directory / key.name
        paths = [exact] if exact.exists() else sorted(self.directory.glob(f"{key.stem}-*.jsonl"))
        loaded = sorted((results.load(path) for path in paths), key=lambda one: one.written, reverse=True)
        near = [one for file in loaded for one in file.series if BaselineKey.of(one).kind == key.kind]

        def distance(one: Series) -> tuple[bool, int]:
            changes = BaselineKey.of(one).changes(key)
            return bool(changes.keys() & {"seed", "mode"}), len(changes)

        return min(near, key=distance, default=None)


def keyed(series: Iterable[Series]) -> list[tuple[BaselineKey, Series]]:
    """Return each series with its key; different ones that have all else in common are numbered in their order."""
    seen: dict[BaselineKey, list[str]] = {}
    made: list[tuple[BaselineKey, Series]] = []
    for one in series:
        key, digest = BaselineKey.of(one), results.digest([one])
        digests = seen.setdefault(key, [])
        if digest not in digests:
            digests.append(digest)
        made.append((replace(key, number=digests.index(digest)), one))
    return made


def difference(old: Series, new: Series) -> RepetitionChange | None:
    """What is not equal to the bit; a missing repetition counts as changed. None where all is equal."""
    import numpy as np

    common = min(len(old), len(new))
    unequal = np.flatnonzero(old.samples[:common].view(np.int64) != new.samples[:common].view(np.int64))
    count = len(unequal) + abs(len(old) - len(new))
    if not count:
        return None
    place = int(unequal[0]) if len(unequal) else common
    before, after = (float(one.samples[place]) if place < len(one) else None for one in (old, new))
    return RepetitionChange(place + 1, before, after, count)


def median_shift(old: Series, new: Series, minimum: float = MINIMUM) -> Shift:
    """The Hodges-Lehmann shift, the median of all differences of pairs, with its rank limits.

    Moses' limits: the number of pairs below the true shift has the mean mn/2 and the variance
    mn(m+n+1)/12, whatever the distribution (Hollander and Wolfe, Nonparametric Statistical Methods, 4.2-4.3).
    """
    import numpy as np

    m, n = len(old), len(new)
    pairs = np.sort(np.subtract.outer(_thin(new.ordered), _thin(old.ordered)), axis=None)
    aside = 0.5 - Z * math.sqrt((m + n + 1) / (12 * m * n)) - 1 / (m * n)  # the last for the step of a rank
    middle = float(np.median(pairs))
    lower = upper = None
    if aside >= 0:
        rank = int(aside * len(pairs))
        lower, upper = float(pairs[rank]), float(pairs[-1 - rank])
    base = float(np.median(old.ordered))
    return Shift("median", base, middle, lower, upper, _least(base, minimum, old, new))


def p99_shift(old: Series, new: Series, minimum: float = MINIMUM) -> Shift:
    """The difference of the 99th percentiles; its limits join the order-statistic limits of both.

    The limits are joined as variances are (the MOVER method of Zou and Donner, 2008).
    """
    (was, was_lower, was_upper), (now, now_lower, now_upper) = (_p99(one) for one in (old, new))
    least = _least(was, minimum, old, new)
    if was_lower is None or was_upper is None or now_lower is None or now_upper is None:
        return Shift("p99", was, now - was, None, None, least)
    lower = now - was - math.hypot(now - now_lower, was_upper - was)
    upper = now - was + math.hypot(now_upper - now, was - was_lower)
    return Shift("p99", was, now - was, lower, upper, least)


def summary(comparisons: Sequence[BaselineComparison]) -> str:
    """How many came out how, and which part changed first."""
    counts = collections.Counter(one.outcome for one in comparisons)
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in BaselineOutcome if counts[outcome])
    changed = [one for one in comparisons if one.first]
    if not changed:
        return told
    earliest = min(changed, key=lambda one: one.first.repetition if one.first else 0)
    assert earliest.first
    return f"{told}; the first change: repetition {earliest.first.repetition}, {earliest.series.quantity} of " + (
        earliest.series.subject
    )


def exit_status(comparisons: Iterable[BaselineComparison]) -> int:
    """0: all are the same or better; 1: some are different; 3: none is, but some have no answer."""
    outcomes = {one.outcome for one in comparisons}
    if BaselineOutcome.DIFFERENT in outcomes:
        return 1
    return 0 if outcomes <= {BaselineOutcome.SAME, BaselineOutcome.BETTER} else 3


def _some(series: Sequence[Series]) -> Sequence[Series]:
    if not series:
        raise ConfigurationError("there are no series in these results", hint="run tests that measure")
    return series


def _obstacle(old: Series, new: Series) -> str:
    if old.unit != new.unit:
        return f"the baseline's unit is {old.unit!r}, this one's {new.unit!r}"
    if old.clock.exact != new.clock.exact:
        exact = "the baseline" if old.clock.exact else "this series"
        return f"only {exact} was taken in exact virtual time"
    return ""


def _together(shifts: Sequence[Shift]) -> BaselineOutcome:
    """The gravest outcome; a p99 that has too few samples leaves it to the median."""
    outcomes = {shift.outcome for shift in shifts if shift.lower is not None}
    grave = (BaselineOutcome.DIFFERENT, BaselineOutcome.INCONCLUSIVE, BaselineOutcome.BETTER, BaselineOutcome.SAME)
    return next((one for one in grave if one in outcomes), BaselineOutcome.INCONCLUSIVE)


def _least(base: float, minimum: float, *series: Series) -> float:
    """The smallest effect that counts: what the clocks cannot tell apart never does."""
    blur = max(one.clock.uncertainty if one.unit == "s" else 0.0 for one in series)
    return max(abs(base) * minimum, blur)


def _thin(ordered: Floats) -> Floats:
    import numpy as np

    n = len(ordered)
    return ordered if n <= GRID else ordered[((np.arange(GRID) + 0.5) * n / GRID).astype(int)]


def _p99(series: Series) -> tuple[float, float | None, float | None]:
    ordered, n = series.ordered, len(series)
    lower, upper = quantile_ranks(n, 0.99)
    value = float(ordered[math.ceil(0.99 * n) - 1])
    return value, float(ordered[lower - 1]) if lower else None, float(ordered[upper - 1]) if upper else None


def _moved(shift: Shift, unit: str) -> str:
    of = f"{shift.figure} {shown(shift.old, unit)}"
    if shift.lower is None or shift.upper is None:
        return f"{of}: moved by {shown(shift.value, unit)}; too few samples for its limits, so it is not judged"
    share = f" ({shift.value / abs(shift.old):+.2%})" if shift.old else ""
    limits = f"95 % limits {shown(shift.lower, unit)} .. {shown(shift.upper, unit)}"
    return f"{of}: moved by {shown(shift.value, unit)}{share}, {limits}; counts from {shown(shift.least, unit)}"


def _told(first: RepetitionChange, old: Series, new: Series) -> str:
    unit = new.unit
    what = f"{_full(first.old, unit)} -> {_full(first.new, unit)}"
    if first.old is not None and first.new is not None:
        what += f" ({'+' if first.new > first.old else ''}{shown(first.new - first.old, unit)})"
    total = max(len(old), len(new))
    size = "" if len(old) == len(new) else f"; {len(new)} repetitions, were {len(old)}"
    return f"{first.count} of {total} repetitions differ, the first is #{first.repetition}: {what}{size}"


def _full(value: float | None, unit: str) -> str:
    """With all digits that a nanosecond needs: two values that differ must not look alike."""
    if value is None:
        return "none"
    if unit != "s":
        return repr(value)
    name = next((name for name in ("s", "ms", "us") if abs(value) >= NAMES[name].value), "ns")
    return f"{value / NAMES[name].value:.12g} {name}"


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            new.write_bytes(data)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise InfrastructureError(f"cannot write the baseline {path}: {error.strerror}") from error
