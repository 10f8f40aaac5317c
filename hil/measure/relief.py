"""What samples may have been on an idle host: each window of a series gives back what the host took from it.

Which sample the host delayed is not known, only how much it took from all samples of a window together. So two ways
are tried that suit a bound best: as many samples as possible are brought down to the limit, which is best for
percentiles and counts, and the peaks are cut, which is best for the other figures. Where neither keeps the bound, no
delay by the host explains the failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from hil.measure.host import HostWindow, total
from hil.measure.series import Series

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

SIGNED = 4  # a release that comes late by d changes the period jitter by 2 d, the cycle-to-cycle jitter by 4 d


def relieved(series: Series, limit: float) -> Iterator[Series]:
    """Yield what `series` may have been without the delays of its host, as near to `limit` as they allow."""
    if not series.host:
        return
    windows = list(series.host)
    if sum(window.count for window in windows) != len(series):  # of a series that was worked out of this one
        windows = [HostWindow(len(series), total(windows), windows[0].unit)]
    signed = bool(series.ordered[0] < 0)

    def with_windows(change: Callable[[Floats, float], Floats]) -> Series:
        import numpy as np

        parts, begin = [], 0
        for window in windows:
            part = series.samples[begin : begin + window.count]
            parts.append(change(part, window.delay * (SIGNED if signed else 1)))
            begin += window.count
        return replace(series, samples=np.concatenate(parts), host=())

    yield with_windows(lambda part, delay: _lowered(part, limit, delay))
    if signed:
        middle = float(series.ordered[len(series) // 2])
        yield with_windows(lambda part, delay: _towards(part, middle, delay))
    else:
        yield with_windows(_cut)


def _lowered(samples: Floats, limit: float, delay: float) -> Floats:
    """Bring the samples just above `limit` down to it, the nearest first, by `delay` in all."""
    import numpy as np

    made = samples.copy()
    above = np.flatnonzero(samples > limit)
    above = above[np.argsort(samples[above], kind="stable")]
    costs = np.cumsum(samples[above] - limit)
    made[above[costs <= delay]] = limit
    return made


def _cut(samples: Floats, delay: float) -> Floats:
    """Cut the largest samples to one level, by `delay` in all."""
    import numpy as np

    peaks = np.sort(samples)[::-1]
    costs = np.cumsum(peaks) - peaks * np.arange(1, len(peaks) + 1)  # of cutting all before each down to it
    count = int((costs <= delay).sum())
    level: float = (peaks[:count].sum() - delay) / count
    return np.minimum(samples, level)


def _towards(samples: Floats, middle: float, delay: float) -> Floats:
    """Bring the samples furthest from `middle` nearer to it, by `delay` in all."""
    import numpy as np

    away = np.maximum(_cut(np.abs(samples - middle), delay), 0.0)
    made: Floats = middle + np.sign(samples - middle) * away
    return made
