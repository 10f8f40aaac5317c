"""Figures of a series, each with its confidence limits.

A quantile's limits are order statistics: the number of samples below the true quantile q is
binomial(n, q), whatever the distribution (David and Nagaraja, Order Statistics, 7.1). All limits take
the samples for independent; docs/statistics.md says what that means.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.measure.series import Series
from hil.measure.units import Amount, amount

if TYPE_CHECKING:
    from hil.measure.bounds import Bound
    from hil.stats.arrays import Floats

CONFIDENCE = 0.95  # one-sided
MEAN_NEEDS, RMS_NEEDS = 100, 1000  # samples: with fewer a skewed distribution breaks the upper limit too often

Limits = tuple[float | None, float | None]


@dataclass(frozen=True)
class Estimate:
    """A figure's value with its lower and upper limit, each one-sided at `confidence`, in `unit` (`"s"` or `"1"`).

    A limit is None where the samples are too few to give one; `wanted` is how many give both.
    """

    value: float
    lower: float | None
    upper: float | None
    wanted: int = 1
    unit: str = "s"
    confidence: float = CONFIDENCE


@dataclass(frozen=True)
class Figure:
    """A named figure; `p99 <= 2 * ms` makes a bound of it.

    `unit` is None for a figure in the unit of its series. `limits` is None for a figure that speaks of
    the very samples and of no others. `wanted` is how many samples the limits need at a confidence.
    `deadline` is what a count of misses counts by. `most` is what the figure never exceeds, whatever the samples.
    """

    name: str
    value: Callable[[Series], float]
    limits: Callable[[Series, float], Limits] | None = None
    wanted: Callable[[float], int] = lambda confidence: 1
    unit: str | None = None
    deadline: Amount | None = None
    most: float | None = None

    def estimate(self, series: Series, confidence: float = CONFIDENCE) -> Estimate:
        """The figure of `series` with its limits; those of an exact clock are the value, it would repeat.

        Raises `ConfigurationError` for a confidence that is not within 0.5 to 1, and for a deadline in
        another unit than the series.
        """
        if not 0.5 <= confidence < 1:
            raise ConfigurationError(f"a confidence of {confidence} is not one", hint="give 0.95, or 1 - 0.05 / looks")
        value = float(self.value(series))
        unit = self.unit or series.unit
        if series.clock.exact or not self.limits:
            return Estimate(value, value, value, unit=unit, confidence=confidence)
        return Estimate(value, *self.limits(series, confidence), self.wanted(confidence), unit, confidence)

    def __le__(self, limit: Amount) -> Bound:
        from hil.measure.bounds import Bound

        return Bound(self, limit)


def quantile_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Ranks, from 1, of the order statistics that bound quantile `q` of `n` samples from below and above.

    The upper is the smallest r with P(Bin(n, q) < r) >= `confidence`, the lower the largest with
    P(Bin(n, q) >= r) >= `confidence`; None where no rank satisfies it.
    """
    from scipy.special import bdtr

    def enough(share: float) -> int:
        """The smallest k with P(Bin(n, share) <= k) >= confidence, n where only that is certain."""
        return bisect.bisect_left(range(n), confidence, key=lambda k: float(bdtr(k, n, share)))

    # at least r of n lie below exactly when at most n - r lie above
    return (n - enough(1 - q) or None), (above if (above := enough(q) + 1) <= n else None)


def _quantile(permille: int) -> Figure:
    q = permille / 1000

    def value(series: Series) -> float:
        return float(series.ordered[-(-len(series) * permille // 1000) - 1])

    def limits(series: Series, confidence: float) -> Limits:
        lower, upper = quantile_ranks(len(series), q, confidence)
        ordered = series.ordered
        return (float(ordered[lower - 1]) if lower else None), (float(ordered[upper - 1]) if upper else None)

    # the largest sample bounds the quantile from above once 1 - q^n reaches the confidence
    def wanted(confidence: float) -> int:
        return math.ceil(math.log(1 - confidence) / math.log(q))

    return Figure(f"p{permille / 10:g}".replace(".", ""), value, limits, wanted)


def _moment(
    name: str, value: Callable[[Series], float], limits: Callable[[Floats, float], Limits], needs: int
) -> Figure:
    def bounded(series: Series, confidence: float) -> Limits:
        return limits(series.samples, confidence) if len(series) >= needs else (None, None)

    return Figure(name, value, bounded, lambda confidence: needs)


def _mean_limits(samples: Floats, confidence: float) -> Limits:
    """Student's t: nearly what it says for skewed samples, too low an upper limit for heavy tails."""
    from scipy.special import stdtrit

    centre = float(samples.mean())
    half = float(stdtrit(len(samples) - 1, confidence) * samples.std(ddof=1) / math.sqrt(len(samples)))
    return centre - half, centre + half


def _rms_limits(samples: Floats, confidence: float) -> Limits:
    """Of the logarithm, with the samples' own kurtosis, so that it holds for more than the normal distribution.

    The variance of ln s^2 is about (kurtosis - (n - 3) / (n - 1)) / n (Bonett 2006, without his adjustments).
    """
    from scipy.special import ndtri

    deviations = samples - samples.mean()
    rms = math.sqrt(float((deviations**2).mean()))
    if not rms:
        return 0.0, 0.0
    n = len(samples)
    kurtosis = float(((deviations / rms) ** 4).mean())
    half = float(ndtri(confidence)) * math.sqrt(max(kurtosis - (n - 3) / (n - 1), 0.0) / n) / 2
    return rms * math.exp(-half), rms * math.exp(half)


p50, p90, p99, p999 = map(_quantile, (500, 900, 990, 999))
minimum = Figure("min", lambda series: series.ordered[0])
maximum = Figure("max", lambda series: series.ordered[-1])
peak_to_peak = Figure("peak_to_peak", lambda series: series.ordered[-1] - series.ordered[0])
mean = _moment("mean", lambda series: series.samples.mean(), _mean_limits, MEAN_NEEDS)
rms = _moment("rms", lambda series: series.samples.std(), _rms_limits, RMS_NEEDS)
"""The root mean square of the deviation from the mean."""

FIGURES = {figure.name: figure for figure in (minimum, p50, mean, p90, p99, p999, maximum, peak_to_peak, rms)}


def misses(deadline: Amount) -> Figure:
    """The share of samples above `deadline`: `misses(5 * ms) <= 0.1 * percent`.

    Its limits are Clopper and Pearson's for the rate of all runs: after 0 misses in n the upper one is about
    3/n. A sample that is nearer to the deadline than its clock can tell counts as a miss for the
    upper limit and as none for the lower.
    """

    def limits(series: Series, confidence: float) -> Limits:
        from scipy.special import betaincinv

        n, unsure = len(series), series.clock.uncertainty if series.unit == "s" else 0.0
        few, many = _late(series, deadline, unsure), _late(series, deadline, -unsure)
        lower = float(betaincinv(few, n - few + 1, 1 - confidence)) if few else 0.0
        return lower, float(betaincinv(many + 1, n - many, confidence)) if many < n else 1.0

    return Figure(
        f"misses({_checked(deadline)})",
        lambda series: _late(series, deadline) / len(series),
        limits,
        unit="1",
        deadline=deadline,
        most=1.0,
    )


def miss_count(deadline: Amount) -> Figure:
    """How many of these samples are above `deadline`: `miss_count(5 * ms) <= 0 * ratio`."""
    return Figure(
        f"miss_count({_checked(deadline)})",
        lambda series: _late(series, deadline),
        unit="1",
        deadline=deadline,
    )


DEADLINE_FIGURES = {"misses": misses, "miss_count": miss_count}
FORMER_NAMES = {
    "p99.9": "p999",
    "peak-to-peak": "peak_to_peak",
    "deadline misses": "misses",
    "deadline miss count": "miss_count",
    "maximum": "max",
    "minimum": "min",
}
"""What figures were once called in bounds files and in Python, where both had names of their own."""


def _checked(deadline: Amount) -> Amount:
    if not isinstance(deadline, Amount):
        raise ConfigurationError(f"a deadline of {deadline!r} has no unit", hint="write misses(2 * ms)")
    return deadline


def _late(series: Series, deadline: Amount, allowance: float = 0.0) -> int:
    limit = amount(deadline, series.unit, f"{series.quantity} of {series.subject}")
    return int((series.samples > limit + allowance).sum())
