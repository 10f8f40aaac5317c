"""Bring timelines onto one axis."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.clock import CONSOLE
from hil.signals.edges import Edges
from hil.signals.trace.timeline import PARTS, Events, FrameOnBus, Moment, Period, Signal, Timeline, edge_times, in_ns


def merged(first: Timeline, *others: Timeline) -> Timeline:
    """Return one timeline with the parts of all, on the axis of `first`.

    Parts on the host's monotonic clock are placed by `host_zero_ns` of `first`; without it they are left out and
    counted. Raises `ConfigurationError` for another axis.
    """
    placed = [first]
    for other in others:
        if other.clock == first.clock:
            placed.append(other)
        elif other.clock != CONSOLE:
            raise ConfigurationError(
                f"timelines by {first.clock} and by {other.clock} have no common axis",
                hint="Take all parts by the same clock.",
            )
        elif first.host_zero_ns is None:
            counts = Counter({part.replace("_", " "): len(getattr(other, part)) for part in PARTS})
            placed.append(Timeline(first.clock, left_out=counts + Counter(other.left_out)))
        else:
            placed.append(shifted(other, -first.host_zero_ns, first.clock))
    parts: dict[str, Any] = {name: tuple(part for each in placed for part in getattr(each, name)) for name in PARTS}
    left_out: Counter[str] = Counter()
    for each in placed:
        left_out.update(each.left_out)
    return replace(first, **parts, left_out=dict(left_out))


def shifted(timeline: Timeline, by_ns: int, clock: str) -> Timeline:
    """Return `timeline` with `by_ns` added to all times, on the axis `clock`. What begins before 0 is left out."""
    left_out: Counter[str] = Counter(timeline.left_out)
    parts: dict[str, Any] = {}
    for name in PARTS:
        given = getattr(timeline, name)
        parts[name] = tuple(part for part in (_moved(each, by_ns) for each in given) if part is not None)
        left_out[name.replace("_", " ")] += len(given) - len(parts[name])
    return replace(timeline, clock=clock, **parts, left_out=dict(+left_out), host_zero_ns=None)


def _moved(part: Any, by_ns: int) -> Any:
    """Return a part of a timeline with all times moved; None if it begins before 0 then."""
    match part:
        case Period(begin_ns=begin, end_ns=end) | FrameOnBus(begin_ns=begin, end_ns=end):
            return None if begin + by_ns < 0 else replace(part, begin_ns=begin + by_ns, end_ns=end + by_ns)
        case Moment(at_ns=at):
            return None if at + by_ns < 0 else replace(part, at_ns=at + by_ns)
        case Events(times_ns=times) | Signal(times_ns=times):
            return None if len(times) and times[0] + by_ns < 0 else replace(part, times_ns=times + by_ns)
        case Edges():
            times = edge_times(part) + np.int64(by_ns)
            if len(times) and times[0] < 0:
                return None
            return replace(part, ticks=times, end=in_ns(part, part.end) + by_ns, rate=1e9)
    raise TypeError(f"{type(part).__name__} is no part of a timeline")
