"""Figures of growth from deployment to deployment: slopes of memory and of times."""

from __future__ import annotations

from hil.measure.bound import CONFIDENCE, Figure, Interval
from hil.measure.series_data import SeriesData
from hil.stats.trend import LEAST, Trend, trend

FASTEST = 5  # deployments in a row of which the fastest counts


def growth(*, every: int = 1, quantum: float = 0.0) -> Figure:
    """Return the slope per 1,000 deployments, in the unit of the series: `growth(every=5) <= 1 * MiB`."""

    def interval(series: SeriesData, confidence: float) -> Interval:
        found = trend(series.samples, every=every, quantum=quantum, confidence=confidence)
        return found.lower, found.upper

    return Figure(
        "growth per 1,000 deployments",
        lambda series: trend(series.samples, every=every).slope,
        interval,
        lambda confidence: LEAST,
    )


def drift(*, every: int = 1) -> Figure:
    """Return the slope of times per 1,000 deployments as a share of their median: `drift() <= 20 * percent`.

    If there are enough samples, only the fastest of each `FASTEST` counts: other work on the host slows single
    deployments, wear slows all of them.
    """

    def fastest(series: SeriesData, confidence: float = CONFIDENCE) -> Trend:
        size = FASTEST if len(series) >= FASTEST * LEAST else 1
        whole = series.samples[len(series) % size :].reshape(-1, size).min(axis=1)
        return trend(whole, every=every * size, quantum=series.clock.resolution, confidence=confidence)

    def share(series: SeriesData, value: float) -> float:
        # a busy host may stamp begin and end alike: a time below the clock's resolution counts as that
        return value / max(series.median, series.clock.resolution)

    def interval(series: SeriesData, confidence: float) -> Interval:
        found = fastest(series, confidence)
        lower, upper = (None if limit is None else share(series, limit) for limit in (found.lower, found.upper))
        return lower, upper

    return Figure(
        "drift per 1,000 deployments",
        lambda series: share(series, fastest(series).slope),
        interval,
        lambda confidence: LEAST,
        unit="1",
    )
