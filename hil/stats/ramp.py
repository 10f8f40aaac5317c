"""The best flat-slope-flat line through a series, and the median slope of pairs with its limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from hil.stats.arrays import Floats

Z95 = 1.6449  # of the normal distribution, one-sided


@dataclass(frozen=True)
class Ramp:
    """A flat line to `begin`, a slope to `end`, a flat line; `cost` is the sum of squared residuals."""

    begin: int
    end: int
    old: float
    new: float
    cost: float


def best_ramp(values: Floats, shortest: int, longest: int | None = None) -> Ramp | None:
    """Return the ramp of `shortest` to `longest` nights with the least squares; None for too few values.

    The shape of a ramp rises from 0 at its begin to 1 at its end; height and rise come from a regression on it, whose
    sums are differences of cumulative sums.
    """
    count = len(values)
    if count <= shortest:
        return None
    mean = values.mean()
    centred = values - mean
    sums, moments = np.cumsum(centred), np.cumsum(centred * np.arange(count))
    begin, end = np.triu_indices(count, shortest)
    if longest is not None:
        begin, end = (ends[end - begin <= longest] for ends in (begin, end))
    length, after = end - begin, count - 1 - end
    shape = (length + 1) / 2 + after
    square = (length + 1) * (2 * length + 1) / (6 * length) + after
    product = (moments[end] - moments[begin] - begin * (sums[end] - sums[begin])) / length - sums[end]
    power = square - shape**2 / count
    best = int(np.argmax(product**2 / power))
    rise = float(product[best] / power[best])
    old = float(mean - rise * shape[best] / count)
    place = int(begin[best]), int(end[best])
    fitted = old + rise * np.clip((np.arange(count) - place[0]) / (place[1] - place[0]), 0, 1)
    return Ramp(*place, old, old + rise, float(((values - fitted) ** 2).sum()))


def median_slope(values: Floats) -> tuple[float, float, float]:
    """Return the median slope of all pairs with its limits, without a correction for correlation."""
    slopes = pair_slopes(values)
    return float(np.median(slopes)), *slope_limits(slopes, len(values), Z95)


def pair_slopes(values: Floats) -> Floats:
    """Return the slopes of all pairs of values, in ascending order."""
    before, after = np.triu_indices(len(values), 1)
    return np.sort((values[after] - values[before]) / (after - before))


def slope_limits(slopes: Floats, count: int, z: float, inflation: float = 1.0) -> tuple[float, float]:
    """Return the limits of the slope of `count` values, as `hil.stats.trend` explains; `inflation` is of Var S."""
    variance = count * (count - 1) * (2 * count + 5) / 18 * inflation
    rank = max(1, math.floor((len(slopes) - z * math.sqrt(variance)) / 2))
    return float(slopes[rank - 1]), float(slopes[-rank])
