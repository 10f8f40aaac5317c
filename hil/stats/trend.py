"""The slope of a quantity over deployments, with confidence limits.

Points are averaged in at most `BATCHES` batches of equal size; the remainder at the start is left out. Means of batches
longer than the memory of the noise are nearly independent (Law and Kelton, Simulation Modeling and Analysis, 9.5.3).
The transient at the start is left out, at most half of the batches: the number d that minimises the sum of squares
about the mean of the m - d others over (m - d)^2 (MSER; White 1997). Of a steady slope that leaves half. The slope is
the median of the slopes of all pairs of batches (Theil 1950, Sen 1968): up to 29 % of the batches may be anything.

With N = m (m - 1) / 2 pairs of m batches the limits are order statistics of the slopes of the pairs: number (N - C) / 2
from below and from above, with C = z sqrt(Var S) for a one-sided confidence and Var S = m (m - 1) (2 m + 5) / 18, the
variance of Kendall's S without ties (Sen, J. Am. Stat. Assoc. 63, 1379; ties make it smaller, so that counters at rest
are judged cautiously). The remaining correlation of the batches makes Var S too small: it is multiplied by
(1 + r) / (1 - r), the factor for the variance of a sum of an autoregressive process with lag-one correlation r (Bayley
and Hammersley 1946). r is that of the residuals, corrected for the bias of a fitted line, E r = rho - (2 + 4 rho) / m
(Kendall 1954, Marriott and Pope 1954), and never below 0. If that leaves no rank, the limits are the extreme slopes.

A counter in steps of `quantum` can hide a step at each end: both limits are moved outwards by that. No method
distinguishes a slope from noise whose memory is as long as the series, such as a random walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.errors import ConfigurationError
from hil.stats.arrays import Floats
from hil.stats.distributions import normal_quantile
from hil.stats.ramp import pair_slopes, slope_limits

CONFIDENCE = 0.95  # one-sided
BATCHES = 50
LEAST = 10  # batches; below, the normal approximation of S is poor
MOST = 0.999  # correlation
PER = 1000  # deployments per unit of a slope


@dataclass(frozen=True)
class Trend:
    """A slope per 1,000 deployments with its lower and upper limit, each one-sided, from the means of `batches`.

    A limit is None for too few points. `start` is the number of points left out at the start.
    """

    slope: float
    lower: float | None
    upper: float | None
    batches: int
    start: int

    def grows(self, allowance: float = 0.0) -> bool:
        """Return whether the quantity surely grows, and by more than `allowance` per 1,000 deployments."""
        return self.lower is not None and self.lower > 0 and self.slope > allowance


def trend(
    samples: Floats | Sequence[float], *, every: int = 1, quantum: float = 0.0, confidence: float = CONFIDENCE
) -> Trend:
    """Return the slope of `samples`, one each `every` deployments, of a counter with steps of `quantum`.

    Raises `ConfigurationError` for fewer than two samples, `every` below 1, a negative `quantum`, and a confidence
    outside 0.5 to 1.
    """
    if every < 1 or quantum < 0 or not 0.5 <= confidence < 1:
        raise ConfigurationError(
            f"no trend of samples each {every} deployments in steps of {quantum:g} at confidence {confidence}",
            hint="Give every >= 1, quantum >= 0 and 0.5 <= confidence < 1.",
        )
    points = np.asarray(samples, dtype=np.float64)
    if len(points) < 2:
        raise ConfigurationError(f"{len(points)} samples have no trend", hint="Take at least two.")
    size = -(-len(points) // BATCHES)
    count = len(points) // size
    means = points[len(points) - count * size :].reshape(count, size).mean(axis=1)
    means = means[_transient(means) :]
    start, count = len(points) - len(means) * size, len(means)
    scale = PER / (size * every)  # from a slope per batch
    slopes = pair_slopes(means) * scale
    slope = float(np.median(slopes))
    if count < LEAST:
        return Trend(slope, None, None, count, start)
    correlation = _correlation(means - slope / scale * np.arange(count))
    inflation = (1 + correlation) / (1 - correlation)
    lower, upper = slope_limits(slopes, count, normal_quantile(confidence), inflation)
    hidden = quantum * scale / (count - 1)
    return Trend(slope, lower - hidden, upper + hidden, count, start)


def _transient(means: Any) -> int:
    """Return the number of first means to leave out; 0 if too few would be left."""
    most = len(means) // 2
    if most < LEAST:
        return 0
    left = len(means) - np.arange(most + 1)
    centred = means - means[-1]
    sums, squares = (np.cumsum(values[::-1])[::-1][: most + 1] for values in (centred, centred**2))
    return int(np.argmin((squares - sums**2 / left) / left**2))


def _correlation(residuals: Any) -> float:
    """Return the lag-one correlation, corrected for its bias; 0 for no correlation and no noise."""
    count, centred = len(residuals), residuals - residuals.mean()
    power = float((centred**2).sum())
    if power <= 1e-20 * float((residuals**2).sum()):  # a perfect line leaves rounding only
        return 0.0
    found = float((centred[1:] * centred[:-1]).sum()) / power
    return min(max(0.0, (count * found + 2) / (count - 4)), MOST)
