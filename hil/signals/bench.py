"""The wiring of a real board: labgrid's digital outputs drive its inputs, a logic analyser observes all pins."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import NoReturn

import numpy as np

from hil.board.live_capture import LiveCapture
from hil.board.seam import guarded
from hil.errors import ConfigurationError
from hil.guest import Guest
from hil.measure.clock import Clock
from hil.measure.provenance import provenance
from hil.measure.units import shown
from hil.signals.bench_outputs import BenchOutputs, Force
from hil.signals.bench_pins import DOCUMENT, BenchPin, analyser_of, bench_pins
from hil.signals.captures import in_ns, sampling_clock
from hil.signals.edges import AXIS, Edges, Ticks, changes_only
from hil.signals.stimuli import check_times, checked, driven_output, unknown_pin
from hil.signals.vcd import LOW, Dump, Follower

PAUSE = 0.02  # seconds between two looks at the outputs while time passes


class BenchWiring:
    """The pins of the real board of `guest`; see `hil.signals.wiring.Wiring`. Call `close` at the end.

    A capture of all channels begins with the object. Stimuli and answers are both observed by the analyser, and only
    its stamps are judged: when a level is set depends on the host and the driver. The present time is that of the
    capture. It is known within limits only; `now_ns` is the earliest one, so that no edge after a call has a stamp
    before the time of the call. Raises `ConfigurationError` for a board without an analyser or without pins.
    """

    def __init__(self, guest: Guest) -> None:
        board = guest.board
        self._name, self._analyser = board.name, analyser_of(board)
        self._pins = bench_pins(board.target, board.manifest.pins)
        if not self._pins:
            raise ConfigurationError(
                f"board {self._name} has no pins",
                hint="Name the channels of its logic analyser after the pins, such as `channels: D0=BUTTON,D1=LED` "
                f"({DOCUMENT}).",
            )
        drivers = {name: pin.driver for name, pin in self._pins.items() if pin.driver is not None}
        with guarded(f"the pins of board {self._name} cannot be used"):
            for driver in (*drivers.values(), self._analyser):
                board.target.activate(driver)
        self._facts = provenance(guest)
        self._outputs = BenchOutputs(drivers, self._host_time)
        self._capture: LiveCapture = self._analyser.start(_free(board.console.transcript.path))
        self._follower = Follower(self._capture.path)
        self._seen_ns = self.now_ns()  # where the next wait for an edge begins
        try:
            self._link = max(self._outputs.fastest.values(), default=0.0) + self._delivery()
        except BaseException:
            self.close()
            raise

    @property
    def inputs(self) -> Sequence[str]:
        return tuple(name for name, pin in self._pins.items() if pin.is_input)

    @property
    def outputs(self) -> Sequence[str]:
        return tuple(name for name, pin in self._pins.items() if not pin.is_input)

    @property
    def observed(self) -> Collection[str]:
        return [name for name, pin in self._pins.items() if pin.channel]

    @property
    def link(self) -> float:
        return self._link

    @property
    def exact(self) -> bool:
        return False

    @property
    def clock(self) -> Clock:
        return sampling_clock(self._capture.samplerate)

    @property
    def provenance(self) -> Mapping[str, str]:
        late = {"stimuli late": f"up to {shown(self._outputs.late)} after the time given"} if self._outputs.late else {}
        return {
            **self._facts,
            "capture": str(self._capture.path),
            "sample rate": f"{self._capture.samplerate} Hz",
            "start of the capture": f"within {shown(2 * self._capture.time.began.uncertainty)} on the host's clock",
            **late,
        }

    def now_ns(self) -> int:
        return self._capture.time.least(time.monotonic_ns())

    def set_level(self, pin: str, level: int, at_ns: int | None = None) -> None:
        self.set_levels(pin, [level], [at_ns or 0], after_now=at_ns is None)

    def set_levels(self, pin: str, levels: Sequence[int], times_ns: Sequence[int], *, after_now: bool = False) -> None:
        if not self._pin(pin).is_input:
            raise driven_output(pin, self.inputs)
        self._check_driven(pin)
        present = self.now_ns()
        values, times = checked(pin, levels, times_ns, present, after_now=after_now)
        self._outputs.check_pace(pin, times)
        if after_now and len(times) and times[0] == 0:  # in this thread: the call returns when the level is set
            self._seen_ns = present
            self._outputs.set(pin, int(values[0]))
            values, times = values[1:], times[1:]
        self._outputs.plan(pin, values, times + present if after_now else times)

    def force(self, pin: str, level: int | None, *, at_ns: int | None = None, width_ns: int | None = None) -> None:
        if not self._pin(pin).is_input:
            raise ConfigurationError(
                f"the wire of pin {pin} cannot be forced on board {self._name}: the partition drives it",
                hint="Give faults to inputs, or use an emulated board for faults of outputs.",
            )
        self._check_driven(pin)
        present = self.now_ns()
        start = present if at_ns is None else at_ns
        times = np.array([start] if width_ns is None else [start, start + width_ns])
        check_times(pin, times, present)
        self._outputs.check_pace(pin, times)
        forces = list(zip(times.tolist(), (Force(level), Force(None)), strict=False))
        if at_ns is None:
            self._outputs.force(pin, level)
            forces = forces[1:]
        self._outputs.plan_forces(pin, forces)

    def level(self, pin: str) -> int:
        if not self._pin(pin).channel and self._pins[pin].driver is not None:
            return self._outputs.levels[pin]
        return int(self._observed(pin).levels[-1])

    def run_until(self, at_ns: int) -> None:
        while (left := at_ns - self.now_ns()) > 0:
            self._outputs.check()
            self._capture.check()
            time.sleep(min(left / 1e9, PAUSE))
        self._outputs.check()
        self._seen_ns = max(self._seen_ns, at_ns)

    def wait_edge(self, pins: Collection[str], until_ns: int) -> bool:
        """See `hil.signals.wiring.Wiring.wait_edge`.

        The next edge is the first one after the begin of the last stimulus, or the end of the last wait: the answer to
        a stimulus may come before its driver returns. The limit is exceeded by the uncertainty of the present time.
        """
        for pin in pins:
            self._channel(pin)
        limit = self._capture.time.most(self._capture.time.host(until_ns))
        while True:
            reached = min(limit, self._capture.time.most(time.monotonic_ns()))
            self._outputs.check()
            self._capture.wait_written(reached)
            dump = self._follower.read()
            found = [int(after[0]) for pin in pins if len(after := self._after(dump, pin, limit))]
            if found:
                self._seen_ns = min(found)
                return True
            if reached == limit:
                self._seen_ns = max(self._seen_ns, until_ns)
                return False

    def edges(self, pin: str, since_ns: int = 0) -> Edges:
        whole = self._observed(pin)
        first = int(np.searchsorted(whole.ticks, since_ns, side="left"))
        before = whole.levels[max(0, first - 1)] if len(whole.levels) else LOW
        ticks = np.concatenate([[since_ns - 1], whole.ticks[first:]]).astype(np.int64)
        levels = np.concatenate([[before], whole.levels[first:]]).astype(np.uint8)
        ticks, levels = changes_only(ticks, levels)
        facts = {**self.provenance, AXIS: self.clock.name}
        return Edges(pin, ticks, levels, max(whole.end, int(ticks[-1])), 1e9, self.clock, facts)

    def read_analogue(self, channel: str) -> int:
        self._no_channel(channel)

    def write_analogue(self, channel: str, raw: int) -> None:
        self._no_channel(channel)

    def reset(self) -> None:
        self._outputs.reset()

    def close(self) -> None:
        """Forget all levels for later and end the capture; the edges so far can still be read."""
        self._outputs.close()
        self._capture.close()

    def _observed(self, pin: str) -> Edges:
        """Return all edges of a pin up to the present."""
        channel = self._channel(pin)
        if not self._capture.closed:
            self._outputs.check()
            self._capture.wait_written(self._capture.time.most(time.monotonic_ns()))
        return self._in_ns(self._follower.read(), channel)

    def _delivery(self) -> float:
        """Return the time in seconds until the level of the present can be read."""
        begin = time.monotonic()
        self._capture.wait_written(self._capture.time.most(time.monotonic_ns()))
        return time.monotonic() - begin

    def _after(self, dump: Dump, pin: str, end_ns: int) -> Ticks:
        """Return the times of the edges of `pin` that no wait has seen, up to `end_ns`."""
        ticks = self._in_ns(dump, pin).ticks[1:]
        return ticks[(ticks > self._seen_ns) & (ticks <= end_ns)]

    def _in_ns(self, dump: Dump, channel: str) -> Edges:
        return in_ns(self._capture.path, dump, channel, self._capture.samplerate, self.clock)

    def _host_time(self, at_ns: int) -> int:
        return self._capture.time.host(at_ns)

    def _pin(self, pin: str) -> BenchPin:
        if pin not in self._pins:
            raise unknown_pin(self._name, pin, self._pins)
        return self._pins[pin]

    def _check_driven(self, pin: str) -> None:
        if self._pin(pin).driver is None:
            raise ConfigurationError(
                f"nothing drives pin {pin} of board {self._name}",
                hint=f"Add a driver of a digital output with `name: {pin}` to its board file ({DOCUMENT}).",
            )

    def _channel(self, pin: str) -> str:
        if not self._pin(pin).channel:
            raise ConfigurationError(
                f"no channel of the logic analyser observes pin {pin} of board {self._name}: its edges have no stamps",
                hint=f"Connect a probe to the pin and add the channel to `channels:` of the sigrok resource, such as "
                f"D7={pin}.",
            )
        return pin

    def _no_channel(self, channel: str) -> NoReturn:
        raise ConfigurationError(
            f"board {self._name} has no analogue channel {channel!r}: labgrid has none",
            hint="Use an emulated board for tests with analogue channels.",
        )


def _free(transcript: Path) -> Path:
    """Return a path for a capture beside the board's transcript."""
    paths = (transcript.with_name(f"{transcript.stem}-pins-{number}.vcd") for number in count(1))
    return next(path for path in paths if not path.exists())
