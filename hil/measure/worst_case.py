"""A probabilistic worst case of a series, only where its samples allow one."""

from __future__ import annotations

from dataclasses import dataclass, field

from hil.errors import ConfigurationError
from hil.measure.figures import CONFIDENCE
from hil.measure.series import Series
from hil.measure.units import shown
from hil.stats import tails
from hil.stats.tails import Fit

LEVEL = 0.05  # a test with a p value below refuses the series
LEAST, MOST = 50, 1000  # excesses that a fit needs and takes
SHARE = 10  # at most one sample in so many is an excess
DISTINCT = 0.9  # of the excesses must be different values; fewer are steps of a clock or of the software
HEAVIEST = 0.5  # shape from which the moments' errors have no finite variance
RESAMPLES = 999


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
        "Ljung-Box": tails.ljung_box(series.samples),
        "runs": tails.runs(series.samples),
        "two halves": tails.halves(series.samples),
    }
    random = np.random.default_rng(1)  # the same answer each time
    shape, scale = (float(one[0]) for one in tails.fitted(excesses[np.newaxis]))
    fit = Fit(float(series.ordered[n - taken - 1]), taken / n, shape, scale)
    if shape >= HEAVIEST:
        reasons.append(f"the tail is too heavy: shape {shape:.2f}, below {HEAVIEST} is needed")
    else:
        resampled = tails.drawn(random, shape, scale, (RESAMPLES, taken))
        shapes, scales = tails.fitted(resampled)
        distance = tails.distances(excesses[np.newaxis], np.array([shape]), np.array([scale]))
        distances = tails.distances(resampled, shapes, scales)
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
