"""The timeline of the pins of a test: stimuli, outputs, faults."""

from __future__ import annotations

import time

from hil.signals.pins import Pins
from hil.signals.trace.timeline import Period, Timeline


def pins_timeline(pins: Pins, *, follows_host: bool = False) -> Timeline:
    """Return the timeline of `pins` since the begin of the test, on the axis of its wires.

    With `follows_host` the wires' clock runs as fast as the host's monotonic clock, so that the zero of the axis has a
    time of the host: correct unless the machine was stopped since the begin of the test. Raises as `Pins.edges`.
    """
    wiring = pins.wiring
    zero = None
    if follows_host:
        before, now, after = time.monotonic_ns(), wiring.now_ns(), time.monotonic_ns()
        zero = (before + after) // 2 - now
    return Timeline(
        wiring.clock.name,
        stimuli=[pins.edges(pin) for pin in wiring.inputs if pin in wiring.observed],
        outputs=[pins.edges(pin) for pin in wiring.outputs if pin in wiring.observed],
        faults=[Period(fault.begin_ns, fault.end_ns, f"{fault.pin} {fault.done}") for fault in pins.faults],
        host_zero_ns=zero,
    )
