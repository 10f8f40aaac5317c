"""Jitter of periodic events: series derived from the `times` of another series.

`period_jitter(series).check(rms <= 5 * us, peak_to_peak <= 40 * us)`. White noise of sigma on each event gives a
period jitter of sqrt(2) sigma and a cycle-to-cycle jitter of sqrt(6) sigma, rms.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.measure.series import Series
from hil.measure.units import Amount, amount

if TYPE_CHECKING:
    from hil.stats.arrays import Floats


def release_jitter(series: Series, period: Amount) -> Series:
    """Return the delay of each event after its ideal time, 0 or more: the most punctual event sets the grid.

    A clock that runs faster or slower than that of the period appears as a slope.
    """
    import numpy as np

    times = _times(series, 1)
    late = times - times[0] - np.arange(len(times)) * _seconds(period)
    return _derived(series, "release jitter", late - late.min())


def period_jitter(series: Series, period: Amount | None = None) -> Series:
    """Return the signed difference of each period from `period`, by default from the mean period."""
    import numpy as np

    periods = np.diff(_times(series, 2))
    return _derived(series, "period jitter", periods - (periods.mean() if period is None else _seconds(period)))


def cycle_to_cycle_jitter(series: Series) -> Series:
    """Return the signed difference of each period from the previous one."""
    import numpy as np

    return _derived(series, "cycle-to-cycle jitter", np.diff(_times(series, 3), 2))


def interarrival_jitter(series: Series, period: Amount) -> Series:
    """Return the running estimate of RFC 3550 (6.4.1) after each event but the first: J += (|D| - J) / 16.

    D is the difference of a period from `period`. The last sample is the figure of the RFC. Samples are highly
    correlated, so bound `max`, not a quantile.
    """
    import numpy as np

    differences = np.abs(np.diff(_times(series, 2)) - _seconds(period)).tolist()
    running = accumulate(differences, lambda jitter, difference: jitter + (difference - jitter) / 16, initial=0.0)
    return _derived(series, "interarrival jitter", np.array(list(running)[1:]))


def _times(series: Series, least: int) -> Floats:
    times = series.times
    if times is None:
        raise ConfigurationError(f"{series.quantity} of {series.subject} has no times of its events")
    if len(times) < least:
        raise ConfigurationError(
            f"{series.quantity} of {series.subject} has {len(times)} events, but {least} are needed",
            hint="Take more.",
        )
    return times


def _seconds(period: Amount) -> float:
    if (seconds := amount(period, "s", "the period")) <= 0:
        raise ConfigurationError(f"the period {period} is not above 0")
    return seconds


def _derived(series: Series, quantity: str, samples: Floats) -> Series:
    first = len(series) - len(samples)
    assert series.times is not None
    return replace(
        series,
        quantity=quantity,
        samples=samples,
        unit="s",
        times=series.times[first:],
        offsets=None if series.offsets is None else series.offsets[first:],
    )
