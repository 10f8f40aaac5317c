"""Possible samples on an idle host: the series with the delays by the host removed, window by window.

Only the total delay of a window is known, not which samples it hit. So two extreme distributions are tried: lower as
many samples as possible to the limit, the best case for percentiles and counts, and cut the peaks, the best case for
other figures. If neither keeps the bound, no delay by the host explains the failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hil.measure.host import HostWindow, total
from hil.measure.series_data import SeriesData

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

SIGNED = 4  # a release that is late by d changes the period jitter by 2 d, the cycle-to-cycle jitter by 4 d


def relieved(series: SeriesData, limit: float) -> Iterator[SeriesData]:
    """Yield the two variants of `series` without the delays by the host that are nearest to `limit`."""
    if not series.host:
        return
    windows = list(series.host)
    if sum(window.count for window in windows) != len(series):  # a derived series has other counts
        windows = [HostWindow(len(series), total(windows), windows[0].unit)]
    signed = bool(series.ordered[0] < 0)

    def with_windows(change: Callable[[Floats, float], Floats]) -> SeriesData:
        import numpy as np

        parts, begin = [], 0
        for window in windows:
            part = series.samples[begin : begin + window.count]
            parts.append(change(part, window.delay * (SIGNED if signed else 1)))
            begin += window.count
        return replace(series, samples=np.concatenate(parts), host=())

    yield with_windows(lambda part, delay: _lowered(part, limit, delay))
    if signed:
        yield with_windows(lambda part, delay: _towards(part, series.median, delay))
    else:
        yield with_windows(_cut)


def _lowered(samples: Floats, limit: float, delay: float) -> Floats:
    """Lower the samples just above `limit` to it, the nearest first, by `delay` in total."""
    import numpy as np

    made = samples.copy()
    above = np.flatnonzero(samples > limit)
    above = above[np.argsort(samples[above], kind="stable")]
    costs = np.cumsum(samples[above] - limit)
    made[above[costs <= delay]] = limit
    return made


def _cut(samples: Floats, delay: float) -> Floats:
    """Cut the largest samples to one level, by `delay` in total."""
    import numpy as np

    peaks = np.sort(samples)[::-1]
    costs = np.cumsum(peaks) - peaks * np.arange(1, len(peaks) + 1)  # of cutting all previous ones to this level
    count = int((costs <= delay).sum())
    level: float = (peaks[:count].sum() - delay) / count
    return np.minimum(samples, level)


def _towards(samples: Floats, middle: float, delay: float) -> Floats:
    """Move the samples furthest from `middle` nearer to it, by `delay` in total."""
    import numpy as np

    away = np.maximum(_cut(np.abs(samples - middle), delay), 0.0)
    made: Floats = middle + np.sign(samples - middle) * away
    return made
