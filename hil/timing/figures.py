"""Figures of a series, each with its confidence limits.

A quantile's limits are order statistics: the number of samples below the true quantile q is
binomial(n, q), whatever the distribution (David and Nagaraja, Order Statistics, 7.1).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.timing.series import Series

if TYPE_CHECKING:
    from hil.timing.bounds import Bound

CONFIDENCE = 0.95  # one-sided


@dataclass(frozen=True)
class Estimate:
    """A figure's value with its lower and upper limit at 95 % (one-sided), in seconds.

    A limit is None where the samples are too few to give one; `wanted` is how many would do.
    """

    value: float
    lower: float | None
    upper: float | None
    wanted: int = 1


@dataclass(frozen=True)
class Figure:
    """A named figure; `p99 <= 2 * ms` makes a bound of it."""

    name: str
    estimate: Callable[[Series], Estimate]

    def __le__(self, limit: float) -> Bound:
        from hil.timing.bounds import Bound

        return Bound(self, limit)


def _quantile(q: float) -> Callable[[Series], Estimate]:
    # the upper limit exists when 1 - q^n reaches the confidence, the lower when (1-q)^n leaves it
    wanted = math.ceil(math.log(1 - CONFIDENCE) / math.log(q))

    def estimate(series: Series) -> Estimate:
        ordered = series.ordered
        n = len(ordered)
        value = ordered[min(n - 1, math.ceil(q * n) - 1)]
        lower, upper = quantile_ranks(n, q)
        return Estimate(
            value,
            ordered[lower - 1] if lower else None,
            ordered[upper - 1] if upper else None,
            wanted,
        )

    return estimate


def quantile_ranks(n: int, q: float) -> tuple[int | None, int | None]:
    """Ranks, from 1, of the order statistics that bound quantile `q` of `n` samples from below and above.

    The upper is the smallest r with P(Bin(n, q) < r) >= 0.95, the lower the largest with
    P(Bin(n, q) >= r) >= 0.95; None where no rank satisfies it.
    """
    lower = upper = None
    below = 0.0  # P(Bin(n, q) < rank)
    for rank in range(1, n + 1):
        k = rank - 1
        below += math.exp(
            math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
            + k * math.log(q) + (n - k) * math.log1p(-q)
        )  # fmt: skip
        if 1 - below >= CONFIDENCE:
            lower = rank
        if below >= CONFIDENCE:
            upper = rank
            break
    return lower, upper


def _exact(function: Callable[[list[float]], float]) -> Callable[[Series], Estimate]:
    """A figure of these very samples: it says nothing of runs that were not made."""

    def estimate(series: Series) -> Estimate:
        value = function(series.ordered)
        return Estimate(value, value, value)

    return estimate


p50 = Figure("p50", _quantile(0.5))
p90 = Figure("p90", _quantile(0.9))
p99 = Figure("p99", _quantile(0.99))
p999 = Figure("p99.9", _quantile(0.999))
minimum = Figure("min", _exact(lambda ordered: ordered[0]))
maximum = Figure("max", _exact(lambda ordered: ordered[-1]))
mean = Figure("mean", _exact(statistics.fmean))
peak_to_peak = Figure("peak-to-peak", _exact(lambda ordered: ordered[-1] - ordered[0]))

FIGURES = {figure.name: figure for figure in (minimum, p50, mean, p90, p99, p999, maximum, peak_to_peak)}
