"""Whether a quantity grows from one deployment to the next: its slope, with limits.

The points are cut into at most `BATCHES` batches of equal size, the points left over at the start being left
out, and a line is laid through the batches' means. Means of batches longer than the noise's memory are nearly
independent (Law and Kelton, Simulation Modeling and Analysis, 9.5.3). What a system does after its start is no
growth: as many first batches are left out, at most half of them, as make the mean of the others surest, the d with
the least sum of squares about the mean over (m - d)^2 (MSER; White 1997). Of a steady slope that leaves half.
The slope is the median of the slopes of all pairs of batches (Theil 1950, Sen 1968): up to 29 % of the batches may be
anything.

With N = m (m - 1) / 2 pairs of m batches the slope's limits are order statistics of the pairs' slopes: the lower one
is number (N - C) / 2 from below, the upper one from above, with C = z sqrt(Var S) for a one-sided confidence and
Var S = m (m - 1) (2 m + 5) / 18, the variance of Kendall's S without ties (Sen, J. Am. Stat. Assoc. 63, 1379; with
ties it is smaller, so that counters that stand still are judged with care). What memory the batches have left
makes Var S too small: it is multiplied by (1 + r) / (1 - r), what an autoregressive process of lag-one correlation r
does to the variance of a sum (Bayley and Hammersley 1946). r is that of the residuals, corrected for the
bias that fitting a line gives it, E r = rho - (2 + 4 rho) / m (Kendall 1954, Marriott and Pope 1954); never below 0.
Where it leaves no rank, the limits are the extremes of all slopes.

A counter in steps of `quantum` can hide a step at each end: both limits are moved outwards by that. No method
tells a slope from noise whose memory is as long as the whole series, such as a random walk.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hil.stats.arrays import Floats

CONFIDENCE = 0.95  # one-sided
BATCHES = 50
LEAST = 10  # batches: with fewer the normal approximation of S is poor
MOST = 0.999  # correlation that can be allowed for
PER = 1000  # a slope is given per so many deployments


@dataclass(frozen=True)
class Trend:
    """A slope per 1,000 deployments with its lower and upper limit, each one-sided at `confidence`.

    A limit is None where there are too few points to give one. `correlation` is the lag-one correlation of the means
    of the `batches` beside the line, as it was allowed for; `start` is how many points at the start were left out.
    """

    slope: float
    lower: float | None
    upper: float | None
    batches: int
    start: int
    correlation: float
    confidence: float

    def grows(self, allowance: float = 0.0) -> bool:
        """Whether it surely grows, and by more than `allowance` per 1,000 deployments."""
        return self.lower is not None and self.lower > 0 and self.slope > allowance


def trend(
    samples: Floats | Sequence[float], *, every: int = 1, quantum: float = 0.0, confidence: float = CONFIDENCE
) -> Trend:
    """The slope of `samples`, one each `every` deployments, read off a counter with steps of `quantum`.

    Raises `ConfigurationError` for fewer than two samples, `every` below 1, a negative `quantum`, and a confidence
    that is not within 0.5 to 1.
    """
    import numpy as np
    from scipy.special import ndtri

    if every < 1 or quantum < 0 or not 0.5 <= confidence < 1:
        raise ConfigurationError(
            f"a trend of samples each {every} deployments in steps of {quantum:g} at a confidence of {confidence}",
            hint="give every >= 1, quantum >= 0 and 0.5 <= confidence < 1",
        )
    points = np.asarray(samples, dtype=np.float64)
    if len(points) < 2:
        raise ConfigurationError(f"{len(points)} samples have no trend", hint="take at least two")
    size = -(-len(points) // BATCHES)
    count = len(points) // size
    means = points[len(points) - count * size :].reshape(count, size).mean(axis=1)
    means = means[_transient(means) :]
    start, count = len(points) - len(means) * size, len(means)
    before, after = np.triu_indices(count, 1)
    scale = PER / (size * every)  # from a slope per batch
    slopes = np.sort((means[after] - means[before]) / (after - before)) * scale
    slope = float(np.median(slopes))
    correlation = _correlation(means - slope / scale * np.arange(count))
    if count < LEAST:
        return Trend(slope, None, None, count, start, correlation, confidence)
    variance = count * (count - 1) * (2 * count + 5) / 18 * (1 + correlation) / (1 - correlation)
    rank = max(1, math.floor((len(slopes) - float(ndtri(confidence)) * math.sqrt(variance)) / 2))
    hidden = quantum * scale / (count - 1)
    lower, upper = float(slopes[rank - 1]) - hidden, float(slopes[-rank]) + hidden
    return Trend(slope, lower, upper, count, start, correlation, confidence)


def _transient(means: Any) -> int:
    """How many of the first means are the start's; none where too few would be left."""
    import numpy as np

    most = len(means) // 2
    if most < LEAST:
        return 0
    left = len(means) - np.arange(most + 1)
    centred = means - means[-1]
    sums, squares = (np.cumsum(values[::-1])[::-1][: most + 1] for values in (centred, centred**2))
    return int(np.argmin((squares - sums**2 / left) / left**2))


def _correlation(residuals: Any) -> float:
    """Lag-one correlation, freed of its bias; 0 where there is none, or no noise."""
    count, centred = len(residuals), residuals - residuals.mean()
    power = float((centred**2).sum())
    if count < LEAST or power <= 1e-20 * float((residuals**2).sum()):  # of a perfect line rounding is left
        return 0.0
    found = float((centred[1:] * centred[:-1]).sum()) / power
    return min(max(0.0, (count * found + 2) / (count - 4)), MOST)
