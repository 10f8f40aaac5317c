"""The probabilistic worst case (pWCET) of a series, if its samples allow one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.bound import CONFIDENCE
from hil.measure.series_data import SeriesData
from hil.measure.units import shown
from hil.stats import tails
from hil.stats.tails import Fit

LEVEL = 0.05  # p value below which a test rejects the series
LEAST, MOST = 50, 1000  # excesses in a fit
SHARE = 10  # samples per excess, at least
DISTINCT = 0.9  # share of different values among the excesses; fewer are steps of a clock or of the software
HEAVIEST = 0.5  # shape from which the moments' errors have no finite variance
RESAMPLES = 999


@dataclass(frozen=True)
class Tail:
    """A pWCET with its one-sided limits, or, with `value` None, the `reasons` why there is none.

    `tests` holds the p value of each acceptance test, `fit` the fitted distribution.
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
        value, lower, upper = (shown(number, self.unit) for number in (self.value, self.lower, self.upper))
        return f"pWCET at {self.exceedance:g}: {value} (95 % limits {lower} .. {upper})"


def pwcet(series: SeriesData, exceedance: float = 1e-6) -> Tail:
    """Return the value that a sample exceeds with probability `exceedance`, if the series passes all acceptance tests.

    The tests: enough excesses, a continuous clock, no correlation (Ljung-Box), no trend (runs about the median, equal
    halves by Kolmogorov-Smirnov), excesses that fit. Raises `ConfigurationError` for an exceedance outside 0 to 1 or so
    large that a percentile of the samples answers it.
    """
    n = len(series)
    taken = min(n // SHARE, MOST)
    if not 0 < exceedance < max(taken, 1) / n:
        raise ConfigurationError(
            f"the exceedance {exceedance:g} is not within 0 to {max(taken, 1) / n:g}",
            hint="Use a percentile for larger ones.",
        )
    reasons: list[str] = []
    if series.clock.exact:
        reasons.append("the clock is exact: a run repeats to the bit; use several seeds instead")
    if taken < LEAST:
        reasons.append(f"{n} samples; {LEAST} excesses need {LEAST * SHARE}")
    excesses = series.ordered[n - taken :] - series.ordered[n - taken - 1]
    if taken and len(np.unique(excesses[excesses > 0])) < DISTINCT * taken:
        reasons.append(f"the samples are discrete: fewer than {DISTINCT:.0%} of the excesses have different values")
    elif taken and series.unit == "s" and excesses.mean() < 10 * series.clock.uncertainty:
        reasons.append(
            f"the excesses are within {shown(10 * series.clock.uncertainty)}, ten times the uncertainty of the clock"
        )
    if reasons:
        return Tail(exceedance, reasons=tuple(reasons), unit=series.unit)

    tests = {
        "Ljung-Box": tails.ljung_box(series.samples),
        "runs": tails.runs(series.samples),
        "two halves": tails.halves(series.samples),
    }
    random = np.random.default_rng(1)  # the same answer each time
    shape, scale = (float(fitted[0]) for fitted in tails.fitted(excesses[np.newaxis]))
    fit = Fit(float(series.ordered[n - taken - 1]), taken / n, shape, scale)
    if shape >= HEAVIEST:
        reasons.append(f"the tail is too heavy: shape {shape:.2f} is not below {HEAVIEST}")
    else:
        resampled = tails.drawn(random, shape, scale, (RESAMPLES, taken))
        shapes, scales = tails.fitted(resampled)
        distance = tails.distances(excesses[np.newaxis], np.array([shape]), np.array([scale]))
        distances = tails.distances(resampled, shapes, scales)
        tests["fit"] = (1 + int((distances >= distance).sum())) / (RESAMPLES + 1)
    reasons += [f"{name}: p = {p:.2g} is below {LEVEL}" for name, p in tests.items() if p < LEVEL]
    value = fit.quantile(exceedance)
    if value < series.ordered[-1] and exceedance < 1 / n:
        reasons.append("the fit ends below the largest sample")
    if reasons:
        return Tail(exceedance, reasons=tuple(reasons), tests=tests, fit=fit, unit=series.unit)
    values = [Fit(fit.threshold, fit.share, *pair).quantile(exceedance) for pair in zip(shapes, scales, strict=True)]
    lower, upper = np.quantile(values, [1 - CONFIDENCE, CONFIDENCE])
    return Tail(exceedance, value, float(lower), float(upper), (), tests, fit, series.unit)
