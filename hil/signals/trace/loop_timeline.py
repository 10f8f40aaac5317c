"""The timeline of a loop: its signals and the steps that began too late."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hil.measure.units import shown
from hil.signals.loop.result import LoopResult
from hil.signals.trace.timeline import Period, Signal, Timeline


def loop_timeline(loop: LoopResult) -> Timeline:
    """Return the timeline of a loop, on the axis of its wires.

    The analogue outputs of the partition are its signals, all others those of the bench.
    """
    signals = []
    for name, signal in loop.signals.items():
        assert signal.times is not None
        times = loop.start_ns + np.rint(signal.times * 1e9).astype(np.int64)
        driver = "partition" if loop.sources.get(name, "").startswith("AO") else "bench"
        signals.append(Signal(name, times, signal.samples, signal.physical_unit, driver))
    return Timeline(loop.lateness.clock.name, signals=signals, overruns=tuple(overruns(loop)))


def overruns(loop: LoopResult) -> Iterator[Period]:
    """Yield a span for each step that began too late, from the time at which it had to begin until it began."""
    for number in loop.overruns:
        due = loop.start_ns + round(number * loop.step * 1e9)
        late = float(loop.lateness.samples[number])
        yield Period(due, due + round(late * 1e9), f"step {number}", {"late": shown(late)})
