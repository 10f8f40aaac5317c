"""Differences of two series: to the bit, and shifts of median and p99 with confidence limits."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np

from hil.measure.figures import p99
from hil.measure.series import Series
from hil.stats.arrays import Floats

MIN_EFFECT = 0.05  # as a share of the earlier figure
Z = 1.6448536269514722  # of the normal distribution at 95 %, one-sided
GRID = 1000  # quantiles that replace a longer series: a million pairs are enough


class BaselineOutcome(enum.StrEnum):
    """The outcome of the comparison of a series with an earlier one."""

    SAME = "same"
    DIFFERENT = "different"
    BETTER = "better"
    INCONCLUSIVE = "inconclusive"
    NO_BASELINE = "no baseline"
    NOT_COMPARABLE = "not comparable"


@dataclass(frozen=True)
class RepetitionChange:
    """The first repetition, from 1, whose value changed, and the count of changed ones; None for a missing value."""

    repetition: int
    old: float | None
    new: float | None
    count: int


@dataclass(frozen=True)
class Shift:
    """The shift of a figure by `value`, with one-sided limits at 95 %, and the `least` effect that counts.

    `old` is the figure of the earlier series. The limits are None for too few samples.
    """

    figure: str
    old: float
    value: float
    lower: float | None
    upper: float | None
    least: float

    @property
    def outcome(self) -> BaselineOutcome:
        """Different or better if the whole interval is beyond the least effect, same if within; less is better."""
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


@dataclass(frozen=True)
class SeriesComparison:
    """The differences of two series.

    - `why`: the reason why they cannot be compared.
    - `first`: the first difference to the bit.
    - `shifts`: the shifts of median and p99, by clocks that are not exact.
    """

    why: str = ""
    first: RepetitionChange | None = None
    shifts: tuple[Shift, ...] = ()

    @property
    def outcome(self) -> BaselineOutcome:
        """The gravest outcome; a p99 with too few samples does not count."""
        if self.why:
            return BaselineOutcome.NOT_COMPARABLE
        if self.first is None:  # equal samples are the same, however few
            return BaselineOutcome.SAME
        if not self.shifts:
            return BaselineOutcome.DIFFERENT
        outcomes = {shift.outcome for shift in self.shifts if shift.lower is not None}
        grave = (BaselineOutcome.DIFFERENT, BaselineOutcome.INCONCLUSIVE, BaselineOutcome.BETTER, BaselineOutcome.SAME)
        return next((outcome for outcome in grave if outcome in outcomes), BaselineOutcome.INCONCLUSIVE)


def compare_series(old: Series, new: Series, min_effect: float = MIN_EFFECT) -> SeriesComparison:
    """Compare two series: to the bit by an exact clock, else by the shifts of median and p99.

    `min_effect` is the least shift that counts, as a share of the figure of `old`.
    """
    if old.unit != new.unit:
        return SeriesComparison(f"their units are {old.unit!r} and {new.unit!r}")
    if old.clock.name != new.clock.name:
        return SeriesComparison(f"their clocks are {old.clock.name} and {new.clock.name}")
    if old.clock.exact != new.clock.exact:
        which = "first" if old.clock.exact else "second"
        return SeriesComparison(f"only the {which} was taken in exact virtual time")
    exact = old.clock.exact
    shifts = () if exact else (median_shift(old, new, min_effect), p99_shift(old, new, min_effect))
    return SeriesComparison("", difference(old, new), shifts)


def difference(old: Series, new: Series) -> RepetitionChange | None:
    """Return the differences to the bit; None if there are none. A missing repetition counts as changed."""
    common = min(len(old), len(new))
    unequal = np.flatnonzero(old.samples[:common].view(np.int64) != new.samples[:common].view(np.int64))
    count = len(unequal) + abs(len(old) - len(new))
    if not count:
        return None
    place = int(unequal[0]) if len(unequal) else common
    before, after = (float(each.samples[place]) if place < len(each) else None for each in (old, new))
    return RepetitionChange(place + 1, before, after, count)


def median_shift(old: Series, new: Series, min_effect: float = MIN_EFFECT) -> Shift:
    """Return the Hodges-Lehmann shift, the median of all differences of pairs, with its rank limits.

    Moses' limits: for any distribution the number of pairs below the true shift has the mean mn/2 and the variance
    mn(m+n+1)/12 (Hollander and Wolfe, Nonparametric Statistical Methods, 4.2-4.3).
    """
    m, n = len(old), len(new)
    pairs = np.sort(np.subtract.outer(_thin(new.ordered), _thin(old.ordered)), axis=None)
    aside = 0.5 - Z * math.sqrt((m + n + 1) / (12 * m * n)) - 1 / (m * n)  # the last term for the step of a rank
    middle = float(np.median(pairs))
    lower = upper = None
    if aside >= 0:
        rank = int(aside * len(pairs))
        lower, upper = float(pairs[rank]), float(pairs[-1 - rank])
    base = float(np.median(old.ordered))
    return Shift("median", base, middle, lower, upper, _least(base, min_effect, old, new))


def p99_shift(old: Series, new: Series, min_effect: float = MIN_EFFECT) -> Shift:
    """Return the difference of the 99th percentiles; its limits combine the order-statistic limits of both series.

    They are combined like variances (the MOVER method of Zou and Donner, 2008).
    """
    was, now = p99.estimate(old), p99.estimate(new)
    value, least = now.value - was.value, _least(was.value, min_effect, old, new)
    if was.lower is None or was.upper is None or now.lower is None or now.upper is None:
        return Shift("p99", was.value, value, None, None, least)
    lower = value - math.hypot(now.value - now.lower, was.upper - was.value)
    upper = value + math.hypot(now.upper - now.value, was.value - was.lower)
    return Shift("p99", was.value, value, lower, upper, least)


def _least(base: float, min_effect: float, *series: Series) -> float:
    """Return the least effect that counts; it is at least the uncertainty of the clocks."""
    blur = max(each.clock.uncertainty if each.unit == "s" else 0.0 for each in series)
    return max(abs(base) * min_effect, blur)


def _thin(ordered: Floats) -> Floats:
    n = len(ordered)
    return ordered if n <= GRID else ordered[((np.arange(GRID) + 0.5) * n / GRID).astype(int)]
