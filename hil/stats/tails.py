"""The tail of a distribution: acceptance tests for samples, and a generalised Pareto fit of peaks over a threshold.

The fit uses probability-weighted moments (Hosking and Wallis 1987). Limits, and the p value of the Kolmogorov-Smirnov
distance of the fit, come from a parametric bootstrap: tables for a known distribution are too lenient for a fitted one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.stats.arrays import Floats
from hil.stats.distributions import chi_square_tail, kolmogorov_tail, normal_tail

LAGS = 20


@dataclass(frozen=True)
class Fit:
    """Generalised Pareto excesses over `threshold`: `share` of all samples, with `scale` in the series' unit."""

    threshold: float
    share: float
    shape: float
    scale: float

    def quantile(self, exceedance: float) -> float:
        """Return the value that a sample exceeds with probability `exceedance`, which is at most `share`."""
        return float(self.threshold + self.scale * _excess(exceedance / self.share, self.shape))


def ljung_box(samples: Floats, lags: int = LAGS) -> float:
    """Return the p value of no correlation up to `lags` (Ljung and Box 1978), of ranks because of heavy tails."""
    n = len(samples)
    lags = min(lags, n // 5)
    ranks = _ranks(samples) - (n + 1) / 2
    if not lags or not ranks.any():
        return 0.0  # a constant proves no independence
    correlations = np.array([ranks[lag:] @ ranks[:-lag] for lag in range(1, lags + 1)]) / (ranks @ ranks)
    return chi_square_tail(lags, n * (n + 2) * float((correlations**2 / (n - np.arange(1, lags + 1))).sum()))


def runs(samples: Floats) -> float:
    """Return the p value of the number of runs above and below the median (Wald and Wolfowitz 1940)."""
    median = np.median(samples)
    above = samples[samples != median] > median
    high = int(above.sum())
    n, low = len(above), len(above) - high
    if not high or not low or n < 3:
        return 0.0
    expected = 1 + 2 * high * low / n
    variance = (expected - 1) * (expected - 2) / (n - 1)
    return 2 * normal_tail(abs(1 + np.count_nonzero(np.diff(above)) - expected) / variance**0.5)


def halves(samples: Floats) -> float:
    """Return the p value of one distribution for both halves (Kolmogorov and Smirnov)."""
    middle = len(samples) // 2
    first, second = np.sort(samples[:middle]), np.sort(samples[middle:])
    shares = [np.searchsorted(part, samples, side="right") / len(part) for part in (first, second)]
    distance = float(np.abs(shares[0] - shares[1]).max())
    return kolmogorov_tail(len(first) * len(second) / len(samples), distance)


def fitted(excesses: Floats) -> tuple[Floats, Floats]:
    """Return the shape and the scale fitted to each row of excesses."""
    ordered = np.sort(excesses, axis=1)
    k = ordered.shape[1]
    first = ordered.mean(axis=1)
    second = (ordered * ((k - 1 - np.arange(k)) / (k - 1))).mean(axis=1)
    ratio = first / (first - 2 * second)
    return 2 - ratio, 2 * second * ratio


def drawn(random: np.random.Generator, shape: float, scale: float, size: tuple[int, int]) -> Floats:
    """Return random excesses in an array of `size`."""
    return np.asarray(scale * _excess(1 - random.random(size), shape))


def distances(excesses: Floats, shapes: Floats, scales: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov distance of each row from its distribution."""
    ordered = np.sort(excesses, axis=1)
    k = ordered.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        bent = np.where(shapes, shapes, 1e-12)[:, np.newaxis]  # the limit of shape 0, without its own formula
        survival = np.nan_to_num(np.exp(-np.log1p(bent * ordered / scales[:, np.newaxis]) / bent), nan=0.0)
    below = 1 - survival
    steps = np.arange(k + 1) / k
    return np.asarray(np.maximum(steps[1:] - below, below - steps[:-1]).max(axis=1))


def _excess(survival: Any, shape: float) -> Any:
    """Return the excess, in units of the scale, that is exceeded with probability `survival`."""
    logs = -np.log(survival)
    return np.expm1(shape * logs) / shape if shape else logs


def _ranks(samples: Floats) -> Floats:
    """Return the rank of each sample, from 1; equal samples have the mean of their ranks."""
    _, places, counts = np.unique(samples, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places])
