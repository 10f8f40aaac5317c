"""The timeline of a test: everything that happened on one time axis, as data for traces and pictures.

All times are nanoseconds on the axis `clock`: virtual time of the machine, or the host's monotonic clock. The modules
`vcd_writer` and `perfetto` write a timeline to files. `placing` makes the parts from consoles and boots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import ConfigurationError
from hil.signals.edges import Edges

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

Times = NDArray[np.int64]

LATEST_NS = 1 << 62  # 146 years; a sum of two times still fits into 64 bits


@dataclass(frozen=True)
class Period:
    """A period with a name: a boot stage, an execution, a fault, an overrun. `detail` holds further facts by name."""

    begin_ns: int
    end_ns: int
    name: str
    detail: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.begin_ns <= self.end_ns < LATEST_NS:
            raise ConfigurationError(
                f"{self.name[:80]!r} lasts from {self.begin_ns} ns to {self.end_ns} ns",
                hint="Give a begin of 0 ns or more and an end that is not before it.",
            )


@dataclass(frozen=True)
class Moment:
    """A moment with a name, such as a console line. `detail` holds further facts by name."""

    at_ns: int
    name: str
    detail: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.at_ns < LATEST_NS:
            raise ConfigurationError(f"{self.name[:80]!r} is at {self.at_ns} ns", hint="Give a time of 0 ns or more.")


@dataclass(frozen=True, eq=False)
class Events:
    """Many moments of one kind, in ascending order: releases of a module, its deadline misses."""

    name: str
    times_ns: Times

    def __post_init__(self) -> None:
        object.__setattr__(self, "times_ns", _times(self.name, self.times_ns))


@dataclass(frozen=True, eq=False)
class Signal:
    """A value over time, which holds until the next entry: a quantity of a plant, an analogue channel.

    `unit` is text for people ("°C"). `driver` is the side that sets the value: `"bench"` or `"partition"`. Values that
    are not finite are kept: writers decide. Raises `ConfigurationError` for arrays of different lengths.
    """

    name: str
    times_ns: Times
    values: Floats
    unit: str = ""
    driver: str = "bench"

    def __post_init__(self) -> None:
        object.__setattr__(self, "times_ns", _times(self.name, self.times_ns))
        values = np.array(self.values, dtype=np.float64)
        values.setflags(write=False)
        object.__setattr__(self, "values", values)
        if self.values.shape != self.times_ns.shape:
            raise ConfigurationError(
                f"the signal {self.name[:80]!r} has {self.values.size} values, but {self.times_ns.size} times",
                hint="Give a value for each time.",
            )
        if self.driver not in DRIVERS:
            raise ConfigurationError(
                f"the signal {self.name[:80]!r} is driven by {self.driver!r}",
                hint=f"Give one of: {', '.join(DRIVERS)}.",
            )


DRIVERS = ("bench", "partition")


@dataclass(frozen=True)
class FrameOnBus:
    """A frame on a CAN bus, from its first bit to its last. `sender` is `"bench"` or `"partition"` or a node's name.

    `kind` is `"data"`, `"remote"` or `"error"`.
    """

    begin_ns: int
    end_ns: int
    identifier: int
    data: bytes = b""
    extended: bool = False
    sender: str = ""
    kind: str = "data"
    bus: str = "CAN0"

    @property
    def span(self) -> Period:
        """The frame as a span: its identifier is the name, its data a fact."""
        digits = 8 if self.extended else 3
        name = f"{self.identifier:0{digits}X}" if self.kind == "data" else f"{self.identifier:0{digits}X} {self.kind}"
        facts = {"data": self.data.hex(" ").upper(), "bytes": str(len(self.data)), "sender": self.sender}
        return Period(self.begin_ns, self.end_ns, name, {key: fact for key, fact in facts.items() if fact})


@dataclass(frozen=True, eq=False)
class Timeline:
    """What happened in a test, on one axis.

    - `clock`: the name of the axis, such as `hil.measure.clock.VIRTUAL`.
    - `stages`, `executions`, `faults`, `overruns`: spans of the boot, of modules, of injected faults and of steps of a
      loop that took longer than their time.
    - `lines`: the console, a line each.
    - `releases`, `misses`: releases of modules and missed deadlines.
    - `stimuli`, `outputs`: pins that the bench drives, and those that the partition drives.
    - `signals`: analogue channels and quantities of plants.
    - `frames`: CAN frames.
    - `left_out`: how many things have no place on the axis, by their kind.
    - `host_zero_ns`: the host's monotonic time at the zero of the axis, where it is known; things with only a host
      stamp are placed by it.
    """

    clock: str
    stages: Sequence[Period] = ()
    lines: Sequence[Moment] = ()
    executions: Sequence[Period] = ()
    releases: Sequence[Events] = ()
    misses: Sequence[Events] = ()
    stimuli: Sequence[Edges] = ()
    outputs: Sequence[Edges] = ()
    signals: Sequence[Signal] = ()
    frames: Sequence[FrameOnBus] = ()
    faults: Sequence[Period] = ()
    overruns: Sequence[Period] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    host_zero_ns: int | None = None

    @property
    def pins(self) -> Sequence[Edges]:
        return (*self.stimuli, *self.outputs)

    @property
    def empty(self) -> bool:
        """Whether the timeline has nothing but an axis."""
        return self.end_ns is None

    @property
    def has_signals(self) -> bool:
        """Whether there are pins, signals or frames, the parts that only a test with wires has."""
        return bool(self.pins or self.signals or self.frames)

    @property
    def begin_ns(self) -> int | None:
        """The first time in the timeline; None if it is empty."""
        return min(self._ends(), default=None)

    @property
    def end_ns(self) -> int | None:
        """The last time in the timeline; None if it is empty."""
        return max(self._ends(), default=None)

    def _ends(self) -> Iterable[int]:
        for span in (*self.stages, *self.executions, *self.faults, *self.overruns):
            yield from (span.begin_ns, span.end_ns)
        for frame in self.frames:
            yield from (frame.begin_ns, frame.end_ns)
        yield from (line.at_ns for line in self.lines)
        for pin in self.pins:
            if len(pin.ticks):
                yield from (edge_times(pin)[0].item(), max(edge_times(pin)[-1].item(), in_ns(pin, pin.end)))
        events: list[Events | Signal] = [*self.releases, *self.misses, *self.signals]
        for times in (several.times_ns for several in events if len(several.times_ns)):
            yield from (int(times[0]), int(times[-1]))


PARTS = (
    *("stages", "lines", "executions", "releases", "misses", "stimuli", "outputs", "signals", "frames", "faults"),
    "overruns",
)
"""The fields of a timeline that hold things."""


def in_ns(edges: Edges, tick: int) -> int:
    """Return the time of `tick` of a capture, rounded to ns."""
    return tick if edges.rate == 1e9 else round(tick * (1e9 / edges.rate))


def edge_times(edges: Edges) -> Times:
    """Return the times of all entries of `edges` in ns; a level from before the zero of the axis begins there."""
    if edges.rate == 1e9:
        return np.maximum(edges.ticks, 0)
    times: Times = np.rint(edges.ticks * (1e9 / edges.rate)).astype(np.int64)
    return times


def _times(name: str, given: Any) -> Times:
    """Return `given` as a read-only array. Raises `ConfigurationError` unless they are ascending times in ns."""
    times = np.asarray(given)
    if times.size == 0:
        times = times.astype(np.int64)
    if times.ndim != 1 or times.dtype.kind not in "iu":
        raise ConfigurationError(
            f"the times of {name[:80]!r} are not whole nanoseconds, but {times.dtype} in {times.ndim} dimensions",
            hint="Give integers: round(seconds * 1e9).",
        )
    times = np.array(times, dtype=np.int64)
    bad = np.flatnonzero((np.diff(times, prepend=0) < 0) | (times >= LATEST_NS))
    if bad.size:
        place = int(bad[0])
        raise ConfigurationError(
            f"time {place + 1} of {name[:80]!r} is {int(times[place])} ns: earlier than the one before, or not a time",
            hint="Give ascending times from 0 ns on.",
        )
    times.setflags(write=False)
    return times
