"""A probabilistic worst case from peaks over a threshold, only where the samples allow one.

The excesses over a high threshold are fitted by a generalised Pareto distribution with
probability-weighted moments (Hosking and Wallis 1987). Limits, and the p value of the fit's
Kolmogorov-Smirnov distance, come from a parametric bootstrap: tables for a known distribution would be
too lenient towards a fitted one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.timing.figures import CONFIDENCE
from hil.timing.series import Series
from hil.timing.units import shown

if TYPE_CHECKING:
    import numpy as np

    from hil.timing.series import Floats

LEVEL = 0.05  # a test with a p value below refuses the series
LEAST, MOST = 50, 1000  # excesses that a fit needs and takes
SHARE = 10  # at most one sample in so many is an excess
LAGS = 20
DISTINCT = 0.9  # of the excesses must be different values; fewer are steps of a clock or of the software
HEAVIEST = 0.5  # shape from which the moments' errors have no finite variance
RESAMPLES = 999


@dataclass(frozen=True)
class Fit:
    """Generalised Pareto excesses over `threshold`: `share` of all samples, with `scale` in the series' unit."""

    threshold: float
    share: float
    shape: float
    scale: float

    def quantile(self, exceedance: float) -> float:
        """The value that a sample exceeds with probability `exceedance`, at most `share`."""
        from scipy.special import boxcox

        return float(self.threshold + self.scale * boxcox(self.share / exceedance, self.shape))


@dataclass(frozen=True)
class Tail:
    """A pWCET with its one-sided limits, or, with `value` None, the `reasons` why there is none.

    `tests` holds the p value of each acceptance test that was made, `fit` what was fitted.
    """

    exceedance: float
    value: float | None = None
    lower: float | None = None
    upper: float | None = None
    reasons: tuple[str, ...] = ()
    tests: dict[str, float] = field(default_factory=dict)
    fit: Fit | None = None
    unit: str = "s"

    def __str__(self) -> str:
        if self.value is None or self.lower is None or self.upper is None:
            return f"no pWCET at {self.exceedance:g}: {'; '.join(self.reasons)}"
        value, lower, upper = (shown(one, self.unit) for one in (self.value, self.lower, self.upper))
        return f"pWCET at {self.exceedance:g}: {value} (95 % limits {lower} .. {upper})"


def pwcet(series: Series, exceedance: float = 1e-6) -> Tail:
    """What a sample exceeds with probability `exceedance`, if the series passes each acceptance test.

    Enough excesses, a continuous clock, no correlation (Ljung-Box), no trend (runs about the median, both
    halves alike by Kolmogorov-Smirnov), excesses that fit. Raises `ConfigurationError` for an exceedance
    that is not within 0 to 1, or so large that the samples answer it themselves.
    """
    import numpy as np

    n = len(series)
    taken = min(n // SHARE, MOST)
    if not 0 < exceedance < max(taken, 1) / n:
        raise ConfigurationError(
            f"an exceedance of {exceedance:g} is not within 0 to {max(taken, 1) / n:g}",
            hint="use a percentile for what the samples show themselves",
        )
    reasons: list[str] = []
    if series.clock.exact:
        reasons.append("the clock is exact: a run repeats to the bit; enumerate seeds instead")
    if taken < LEAST:
        reasons.append(f"{n} samples, {LEAST * SHARE} are needed for {LEAST} excesses")
    excesses = series.ordered[n - taken :] - series.ordered[n - taken - 1]
    if taken and len(np.unique(excesses[excesses > 0])) < DISTINCT * taken:
        reasons.append(f"the samples are discrete: fewer than {DISTINCT:.0%} of the excesses are different values")
    elif taken and series.unit == "s" and excesses.mean() < 10 * series.clock.uncertainty:
        reasons.append(
            f"the excesses are within {shown(10 * series.clock.uncertainty)}, ten times what the clock may be off by"
        )
    if reasons:
        return Tail(exceedance, reasons=tuple(reasons), unit=series.unit)

    tests = {
        "Ljung-Box": ljung_box(series.samples),
        "runs": runs(series.samples),
        "two halves": halves(series.samples),
    }
    random = np.random.default_rng(1)  # the same answer each time
    shape, scale = (float(one[0]) for one in _fitted(excesses[np.newaxis]))
    fit = Fit(float(series.ordered[n - taken - 1]), taken / n, shape, scale)
    if shape >= HEAVIEST:
        reasons.append(f"the tail is too heavy: shape {shape:.2f}, below {HEAVIEST} is needed")
    else:
        resampled = _drawn(random, shape, scale, (RESAMPLES, taken))
        shapes, scales = _fitted(resampled)
        distance = _distance(excesses[np.newaxis], np.array([shape]), np.array([scale]))
        distances = _distance(resampled, shapes, scales)
        tests["fit"] = (1 + int((distances >= distance).sum())) / (RESAMPLES + 1)
    reasons += [f"{name}: p = {p:.2g}, at least {LEVEL} is needed" for name, p in tests.items() if p < LEVEL]
    value = fit.quantile(exceedance)
    if value < series.ordered[-1] and exceedance < 1 / n:
        reasons.append("the fit ends below the largest sample")
    if reasons:
        return Tail(exceedance, reasons=tuple(reasons), tests=tests, fit=fit, unit=series.unit)
    values = [Fit(fit.threshold, fit.share, *pair).quantile(exceedance) for pair in zip(shapes, scales, strict=True)]
    lower, upper = np.quantile(values, [1 - CONFIDENCE, CONFIDENCE])
    return Tail(exceedance, value, float(lower), float(upper), (), tests, fit, series.unit)


def ljung_box(samples: Floats, lags: int = LAGS) -> float:
    """The p value of no correlation up to `lags` (Ljung and Box 1978), of ranks: a heavy tail does not blind it."""
    import numpy as np
    from scipy.special import chdtrc
    from scipy.stats import rankdata

    n = len(samples)
    lags = min(lags, n // 5)
    ranks = rankdata(samples) - (n + 1) / 2
    if not lags or not ranks.any():
        return 0.0  # a constant says nothing of independence
    correlations = np.array([ranks[lag:] @ ranks[:-lag] for lag in range(1, lags + 1)]) / (ranks @ ranks)
    return float(chdtrc(lags, n * (n + 2) * (correlations**2 / (n - np.arange(1, lags + 1))).sum()))


def runs(samples: Floats) -> float:
    """The p value of as many runs above and below the median as chance gives (Wald and Wolfowitz 1940)."""
    import numpy as np
    from scipy.special import ndtr

    median = np.median(samples)
    above = samples[samples != median] > median
    high = int(above.sum())
    n, low = len(above), len(above) - high
    if not high or not low or n < 3:
        return 0.0
    expected = 1 + 2 * high * low / n
    variance = (expected - 1) * (expected - 2) / (n - 1)
    return float(2 * ndtr(-abs(1 + np.count_nonzero(np.diff(above)) - expected) / variance**0.5))


def halves(samples: Floats) -> float:
    """The p value of both halves having one distribution (Kolmogorov and Smirnov)."""
    from scipy.stats import ks_2samp

    middle = len(samples) // 2
    return float(ks_2samp(samples[:middle], samples[middle:], method="asymp").pvalue)


def _fitted(excesses: Floats) -> tuple[Floats, Floats]:
    """Shapes and scales, one of each row of excesses in any order."""
    import numpy as np

    ordered = np.sort(excesses, axis=1)
    k = ordered.shape[1]
    first = ordered.mean(axis=1)
    second = (ordered * ((k - 1 - np.arange(k)) / (k - 1))).mean(axis=1)
    ratio = first / (first - 2 * second)
    return 2 - ratio, 2 * second * ratio


def _drawn(random: np.random.Generator, shape: float, scale: float, size: tuple[int, int]) -> Floats:
    import numpy as np
    from scipy.special import boxcox

    return np.asarray(scale * boxcox(1 / (1 - random.random(size)), shape))


def _distance(excesses: Floats, shapes: Floats, scales: Floats) -> Floats:
    """The Kolmogorov-Smirnov distance of each row from its distribution."""
    import numpy as np
    from scipy.special import inv_boxcox

    ordered = np.sort(excesses, axis=1)
    k = ordered.shape[1]
    with np.errstate(invalid="ignore", divide="ignore"):
        survival = np.nan_to_num(1 / inv_boxcox(ordered / scales[:, np.newaxis], shapes[:, np.newaxis]), nan=0.0)
    below = 1 - survival
    steps = np.arange(k + 1) / k
    return np.asarray(np.maximum(steps[1:] - below, below - steps[:-1]).max(axis=1))
