"""Figures of control quality: of the response of a controlled signal y to a step of its setpoint r.

All are relative to the span S, by default the height of the step, so that they are plain shares or times. The
definitions are those of Astrom and Murray, Feedback Systems (2nd edition, 6.3: step response), and of Ogata, Modern
Control Engineering (5th edition, 5-3: transient response specifications), with r in place of the final value, which a
finite record does not have. The figures describe these samples only: they have no confidence interval. Times are known
to one sample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError
from hil.measure.bound import Figure
from hil.measure.series_data import SeriesData, StepResponse

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

__all__ = ["RESPONSE_FIGURES", "StepResponse", "iae", "overshoot", "settling_time", "steady_state_error"]


def _figure(name: str, unit: str, value: Callable[[Floats, Floats, StepResponse], float]) -> Figure:
    """Return a figure of the times since the step, the errors y - r as shares of the span, and the facts."""

    def of(series: SeriesData) -> float:
        facts, times = series.response, series.times
        if facts is None or times is None:
            raise ConfigurationError(
                f"{name} is a figure of a step response, not of {series.quantity} of {series.subject}",
                hint='Take one from a loop: result.response("temperature", setpoint=50).check(...).',
            )
        after = times >= facts.start
        return float(value(times[after] - facts.start, (series.samples[after] - facts.setpoint) / facts.span, facts))

    return Figure(name, of, unit=unit)


def _overshoot(times: Floats, errors: Floats, facts: StepResponse) -> float:
    """Return max(y - r) / S after a step upwards, max(r - y) / S after one downwards, at least 0 (Ogata's M_p).

    Without a step, after a disturbance, it is the largest deviation to either side.
    """
    beyond = errors * facts.rising if facts.rising else abs(errors)
    return max(0.0, float(beyond.max()))


def _settling_time(times: Floats, errors: Floats, facts: StepResponse) -> float:
    """Return the smallest T with |y - r| <= band S for all t >= T until the end; infinite if the end is outside."""
    outside = (abs(errors) > facts.band).nonzero()[0]
    if not len(outside):
        return 0.0
    last = int(outside[-1])
    return float(times[last + 1]) if last + 1 < len(times) else math.inf


def _steady_state_error(times: Floats, errors: Floats, facts: StepResponse) -> float:
    """Return |mean(y - r)| / S over the last part, the tail, of the time: the limit of r - y for long times."""
    tail = times >= times[-1] - facts.tail * (times[-1] - times[0])
    return abs(float(errors[tail].mean()))


def _iae(times: Floats, errors: Floats, facts: StepResponse) -> float:
    """Return the integral of |y - r| dt / S by the trapezoidal rule, in seconds (Astrom and Hagglund, Advanced PID
    Control, 4.2). Multiply by S for the unit of the signal times seconds.
    """
    sizes = abs(errors)
    return float(((sizes[1:] + sizes[:-1]) / 2 * (times[1:] - times[:-1])).sum())


overshoot = _figure("overshoot", "1", _overshoot)
settling_time = _figure("settling_time", "s", _settling_time)
steady_state_error = _figure("steady_state_error", "1", _steady_state_error)
iae = _figure("iae", "s", _iae)

RESPONSE_FIGURES = {figure.name: figure for figure in (overshoot, settling_time, steady_state_error, iae)}
