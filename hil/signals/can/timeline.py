"""The traffic of a CAN bus on the axis of a timeline."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from hil.signals.can.frame import CanEvent, CanFrame
from hil.signals.can.port import CanPort
from hil.signals.trace import timeline
from hil.signals.trace.timeline import Period, Timeline

STATES = {"off": ("on", "is off the bus"), "open": ("closed", "is disconnected")}  # begin, end, description


def can_timeline(port: CanPort, begin_ns: int) -> Timeline:
    """Return the frames and faults of the bus since `begin_ns`, on the axis of its clock.

    In real time the zero of the axis has a time of the host, as that of the pins.
    """
    before, now, after = time.monotonic_ns(), port.now_ns(), time.monotonic_ns()
    events = [event for event in port.events() if event.at_ns >= begin_ns]
    frames = [_placed(frame) for frame in port.frames() if frame.end_ns >= begin_ns]
    frames += [_placed(event.frame, "error") for event in events if event.kind == "error" and event.frame is not None]
    return Timeline(
        port.clock.name,
        frames=sorted(frames, key=lambda frame: frame.begin_ns),
        faults=list(_faults(events, now)),
        host_zero_ns=None if port.exact else (before + after) // 2 - now,
    )


def _placed(frame: CanFrame, kind: str = "") -> timeline.FrameOnBus:
    return timeline.FrameOnBus(
        frame.begin_ns,
        frame.end_ns,
        frame.id,
        frame.data,
        frame.extended,
        frame.sender,
        kind or ("remote" if frame.remote else "data"),
    )


def _faults(events: Sequence[CanEvent], now: int) -> Iterator[Period]:
    for number, event in enumerate(events):
        if event.kind in STATES:
            last, described = STATES[event.kind]
            ends = (later.at_ns for later in events[number:] if (later.kind, later.node) == (last, event.node))
            yield Period(event.at_ns, next(ends, max(now, event.at_ns)), f"CAN: {event.node} {described}")
