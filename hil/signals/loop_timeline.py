"""The timeline of a loop: its signals and the steps that began too late."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from hil.measure.series_data import SeriesData
from hil.measure.units import shown
from hil.signals.timeline import Signal, Span, Timeline


class LoopSignals(Protocol):
    """A loop that has ended, such as `hil.signals.loop_result.LoopResult`; `step` is in seconds."""

    @property
    def signals(self) -> Mapping[str, SeriesData]: ...
    @property
    def step(self) -> float: ...
    @property
    def start_ns(self) -> int: ...
    @property
    def lateness(self) -> SeriesData: ...
    @property
    def overruns(self) -> Sequence[int]: ...


def loop_timeline(loop: LoopSignals) -> Timeline:
    """Return the timeline of a loop, on the axis of its wires."""
    signals = [
        Signal(name, loop.start_ns + nanoseconds(series), series.samples, getattr(series, "physical_unit", ""))
        for name, series in loop.signals.items()
    ]
    return Timeline(loop.lateness.clock.name, signals=signals, overruns=tuple(overruns(loop)))


def overruns(loop: LoopSignals) -> Iterator[Span]:
    """Yield a span for each step that began too late, from the time at which it had to begin until it began."""
    for number in loop.overruns:
        due = loop.start_ns + round(number * loop.step * 1e9)
        late = float(loop.lateness.samples[number])
        yield Span(due, due + round(late * 1e9), f"step {number}", {"late": shown(late)})


def nanoseconds(series: SeriesData) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the times of a signal of a loop in ns since the start of the loop; without times, none."""
    times = series.times if series.times is not None else np.empty(0)
    return np.rint(times * 1e9).astype(np.int64)
