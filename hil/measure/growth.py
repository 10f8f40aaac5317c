"""Figures of what grows from one deployment to the next."""

from __future__ import annotations

from hil.errors import ConfigurationError
from hil.measure.figures import CONFIDENCE, Figure, Limits
from hil.measure.series import Series
from hil.stats.trend import LEAST, Trend, trend

FASTEST = 5  # of so many deployments in a row


def growth(*, every: int = 1, quantum: float = 0.0) -> Figure:
    """The slope per 1,000 deployments, in the series' unit, as a figure: `growth(every=5) <= 1 * MiB`."""

    def limits(series: Series, confidence: float) -> Limits:
        found = trend(series.samples, every=every, quantum=quantum, confidence=confidence)
        return found.lower, found.upper

    return Figure(
        "growth per 1,000 deployments",
        lambda series: trend(series.samples, every=every).slope,
        limits,
        lambda confidence: LEAST,
    )


def drift(*, every: int = 1) -> Figure:
    """The slope of times per 1,000 deployments as a share of the median: `drift() <= 20 * percent`.

    It is that of the fastest of each `FASTEST`, where there are enough: other work on the host only adds to times,
    here and there, while what wears out is slower each time.
    """

    def fastest(series: Series, confidence: float = CONFIDENCE) -> Trend:
        size = FASTEST if len(series) >= FASTEST * LEAST else 1
        whole = series.samples[len(series) % size :].reshape(-1, size).min(axis=1)
        return trend(whole, every=every * size, quantum=series.clock.resolution, confidence=confidence)

    def share(series: Series, value: float) -> float:
        middle = float(series.ordered[len(series) // 2])
        if middle <= 0:
            raise ConfigurationError(
                f"{series.quantity} of {series.subject} has no drift: its median is {middle:g}", hint="use growth()"
            )
        return value / middle

    def limits(series: Series, confidence: float) -> Limits:
        found = fastest(series, confidence)
        lower, upper = (None if limit is None else share(series, limit) for limit in (found.lower, found.upper))
        return lower, upper

    return Figure(
        "drift per 1,000 deployments",
        lambda series: share(series, fastest(series).slope),
        limits,
        lambda confidence: LEAST,
        unit="1",
    )
