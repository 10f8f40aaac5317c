"""The figures that bounds can name: quantiles, extremes, moments and deadline misses.

The confidence interval of a quantile consists of order statistics: the number of samples below the true quantile q is
binomial(n, q) for any distribution (David and Nagaraja, Order Statistics, 7.1). All intervals assume independent
samples; docs/statistics.md explains the consequences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.measure.bound import CONFIDENCE, Figure, Interval
from hil.measure.series_data import SeriesData
from hil.measure.units import Amount, amount
from hil.stats.distributions import binomial_quantile, normal_quantile, student_quantile
from hil.stats.rates import lower_limit, upper_limit

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

MEAN_NEEDS, RMS_NEEDS = 100, 1000  # samples: below, a skewed distribution exceeds the upper limit too often


def quantile_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Return the ranks, from 1, of the samples that bound quantile `q` of `n` samples from below and above.

    The upper rank is the smallest r with P(Bin(n, q) < r) >= `confidence`, the lower rank the largest r with
    P(Bin(n, q) >= r) >= `confidence`; None where no rank satisfies it.
    """
    # at least r of n lie below exactly when at most n - r lie above
    lower, upper = n - binomial_quantile(n, 1 - q, confidence), binomial_quantile(n, q, confidence) + 1
    return lower or None, upper if upper <= n else None


def _quantile(permille: int) -> Figure:
    q = permille / 1000

    def value(series: SeriesData) -> float:
        return float(series.ordered[-(-len(series) * permille // 1000) - 1])

    def interval(series: SeriesData, confidence: float) -> Interval:
        lower, upper = quantile_ranks(len(series), q, confidence)
        ordered = series.ordered
        return (float(ordered[lower - 1]) if lower else None), (float(ordered[upper - 1]) if upper else None)

    # the largest sample bounds the quantile from above once 1 - q^n reaches the confidence
    def needed(confidence: float) -> int:
        return math.ceil(math.log(1 - confidence) / math.log(q))

    return Figure(f"p{permille / 10:g}".replace(".", ""), value, interval, needed)


def _moment(
    name: str, value: Callable[[SeriesData], float], interval: Callable[[Floats, float], Interval], needs: int
) -> Figure:
    def bounded(series: SeriesData, confidence: float) -> Interval:
        return interval(series.samples, confidence) if len(series) >= needs else (None, None)

    return Figure(name, value, bounded, lambda confidence: needs)


def _mean_interval(samples: Floats, confidence: float) -> Interval:
    """Return Student's interval: nearly right for skewed samples, too low an upper limit for heavy tails."""
    centre = float(samples.mean())
    half = float(student_quantile(len(samples) - 1, confidence) * samples.std(ddof=1) / math.sqrt(len(samples)))
    return centre - half, centre + half


def _rms_interval(samples: Floats, confidence: float) -> Interval:
    """Return the interval of the logarithm, with the kurtosis of the samples, so that it holds beyond the normal case.

    The variance of ln s^2 is about (kurtosis - (n - 3) / (n - 1)) / n (Bonett 2006, without his adjustments).
    """
    deviations = samples - samples.mean()
    rms = math.sqrt(float((deviations**2).mean()))
    if not rms:
        return 0.0, 0.0
    n = len(samples)
    kurtosis = float(((deviations / rms) ** 4).mean())
    half = normal_quantile(confidence) * math.sqrt(max(kurtosis - (n - 3) / (n - 1), 0.0) / n) / 2
    return rms * math.exp(-half), rms * math.exp(half)


p50, p90, p99, p999 = map(_quantile, (500, 900, 990, 999))
minimum = Figure("min", lambda series: series.ordered[0])
maximum = Figure("max", lambda series: series.ordered[-1])
peak_to_peak = Figure("peak_to_peak", lambda series: series.ordered[-1] - series.ordered[0])
mean = _moment("mean", lambda series: series.samples.mean(), _mean_interval, MEAN_NEEDS)
rms = _moment("rms", lambda series: series.samples.std(), _rms_interval, RMS_NEEDS)
"""The root mean square of the deviation from the mean."""

FIGURES = {figure.name: figure for figure in (minimum, p50, mean, p90, p99, p999, maximum, peak_to_peak, rms)}


def misses(deadline: Amount) -> Figure:
    """Return the share of samples above `deadline`: `misses(5 * ms) <= 0.1 * percent`.

    Its interval is Clopper and Pearson's for the rate of all runs: after 0 misses in n runs the upper limit is about
    3/n. A sample closer to the deadline than the clock's uncertainty counts as a miss for the upper limit only.
    """

    def interval(series: SeriesData, confidence: float) -> Interval:
        n, unsure = len(series), series.clock.uncertainty if series.unit == "s" else 0.0
        few, many = _late(series, deadline, unsure), _late(series, deadline, -unsure)
        return lower_limit(few, n, confidence), upper_limit(many, n, confidence)

    return Figure(
        f"misses({_checked(deadline)})",
        lambda series: _late(series, deadline) / len(series),
        interval,
        unit="1",
        deadline=deadline,
        ceiling=1.0,
    )


def miss_count(deadline: Amount) -> Figure:
    """Return the number of these samples above `deadline`: `miss_count(5 * ms) <= 0 * ratio`."""
    return Figure(
        f"miss_count({_checked(deadline)})",
        lambda series: _late(series, deadline),
        unit="1",
        deadline=deadline,
    )


DEADLINE_FIGURES = {"misses": misses, "miss_count": miss_count}


def _checked(deadline: Amount) -> Amount:
    if not isinstance(deadline, Amount):
        raise ConfigurationError(f"the deadline {deadline!r} has no unit", hint="Write misses(2 * ms).")
    return deadline


def _late(series: SeriesData, deadline: Amount, allowance: float = 0.0) -> int:
    limit = amount(deadline, series.unit, f"{series.quantity} of {series.subject}")
    return int((series.samples > limit + allowance).sum())
