"""Wires with a virtual time of their own and a controller in Python, for tests of what works with wires."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np

from hil.errors import ConfigurationError
from hil.measure.clock import VIRTUAL, Clock
from hil.signals.edges import Edges
from hil.signals.wiring import INVERTED

EXACT = Clock(VIRTUAL, 1e-9, "stand-in", 0.0, exact=True)
INPUTS = ("BUTTON", "FAULT", "ENCODER_A", "ENCODER_B")
OUTPUTS = ("LED", "HEATER", "BEAT", "SPARE")


class FakeWires:
    """Exact wires. `on_edge(wires, pin, level)` is the controller: it is called at each edge of an input.

    `every(period_ns, task)` calls `task(wires)` periodically; `put` and `out` set a pin and a channel of the partition.
    """

    inputs, outputs, observed = INPUTS, OUTPUTS, (*INPUTS, *OUTPUTS)
    exact = True
    link = 0.0

    def __init__(self, on_edge: Callable[[FakeWires, str, int], None] | None = None, now: int = 0) -> None:
        self.clock = EXACT
        self.now = now
        self.log: dict[str, list[tuple[int, int]]] = {pin: [(0, 0)] for pin in (*INPUTS, *OUTPUTS)}
        self.raw = {f"{kind}{number}": 0 for kind in ("AI", "AO") for number in range(8)}
        self.driven: dict[str, int] = {}
        self.forced: dict[str, int] = {}
        self.calls: list[tuple[object, ...]] = []
        self._on_edge = on_edge
        self._order = itertools.count()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []

    def now_ns(self) -> int:
        return self.now

    def set_level(self, pin: str, level: int, at_ns: int | None = None) -> None:
        self.calls.append(("set", pin, level, at_ns))
        assert pin in INPUTS
        if at_ns is None:
            self._put(pin, level)
        elif at_ns < self.now:
            raise ConfigurationError(f"{at_ns} is in the past of {self.now}")
        else:
            self._schedule(at_ns, lambda: self._put(pin, level))

    def set_levels(self, pin: str, levels: Sequence[int], times_ns: Sequence[int], *, after_now: bool = False) -> None:
        assert list(times_ns) == sorted(times_ns)
        now = self.now_ns()
        if not after_now and times_ns[0] < now:
            raise ConfigurationError(f"{times_ns[0]} is in the past of {now}")
        for level, at in zip(levels, times_ns, strict=True):
            self.calls.append(("set", pin, level, at))
            self._schedule(at + now if after_now else at, lambda level=level: self._put(pin, level))  # type: ignore[misc]

    def force(self, pin: str, level: int | None, *, at_ns: int | None = None, width_ns: int | None = None) -> None:
        start = self.now if at_ns is None else at_ns
        assert start >= self.now
        for at, value in ((start, level), (start + (width_ns or 0), None))[: 1 if width_ns is None else 2]:
            if at == self.now:
                self._force(pin, value)
            else:
                self._schedule(at, lambda value=value: self._force(pin, value))  # type: ignore[misc]

    def _force(self, pin: str, level: int | None) -> None:
        driven = self.driven.get(pin, 0)
        self.forced.pop(pin, None)
        self._put(pin, driven if level is None else 1 - driven if level == INVERTED else level)
        self.driven[pin] = driven
        if level is not None:
            self.forced[pin] = level

    def reset(self) -> None:
        raise NotImplementedError

    @property
    def provenance(self) -> Mapping[str, str]:
        return {"board": "fake"}

    def level(self, pin: str) -> int:
        return self.log[pin][-1][1]

    def run_until(self, at_ns: int) -> None:
        while self._queue and self._queue[0][0] <= at_ns:
            self.now, _, action = heapq.heappop(self._queue)
            action()
        self.now = max(self.now, at_ns)

    def wait_edge(self, pins: Collection[str], until_ns: int) -> bool:
        raise NotImplementedError

    def edges(self, pin: str, since_ns: int = 0) -> Edges:
        before = [level for at, level in self.log[pin] if at < since_ns or not at][-1]
        found = [(since_ns - 1, before), *(each for each in self.log[pin] if each[0] >= max(since_ns, 1))]
        ticks, levels = (np.array(column) for column in zip(*found, strict=True))
        return Edges(pin, ticks, levels.astype(np.uint8), self.now, 1e9, self.clock)

    def read_analogue(self, channel: str) -> int:
        if channel not in self.raw:
            raise ConfigurationError(f"there is no analogue channel {channel!r}")
        return self.raw[channel]

    def write_analogue(self, channel: str, raw: int) -> None:
        assert channel.startswith("AI")
        assert 0 <= raw <= 65535
        self.calls.append(("write", channel, raw))
        self.raw[channel] = raw

    def put(self, pin: str, level: int) -> None:
        assert pin in OUTPUTS
        self._put(pin, level)

    def out(self, channel: str, raw: int) -> None:
        self.raw[channel] = raw

    def later(self, delay_ns: int, action: Callable[[], None]) -> None:
        self._schedule(self.now + delay_ns, action)

    def every(self, period_ns: int, task: Callable[[FakeWires], None]) -> None:
        def tick() -> None:
            self.later(period_ns, tick)
            task(self)

        self.later(period_ns, tick)

    def _schedule(self, at: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (at, next(self._order), action))

    def _put(self, pin: str, level: int) -> None:
        self.driven[pin] = level
        if pin in self.forced or level == self.level(pin):
            return
        self.log[pin].append((self.now, level))
        if pin in INPUTS and self._on_edge is not None:
            self._on_edge(self, pin, level)


class BenchWires(FakeWires):
    """Wires at the clock of the host: time passes by itself."""

    exact = False

    def __init__(self, floor: float = 20e-6) -> None:
        super().__init__()
        self.clock = Clock("host monotonic", 1e-9, "stand-in", floor)
        self._zero = time.monotonic_ns()

    def now_ns(self) -> int:
        super().run_until(time.monotonic_ns() - self._zero)  # what was scheduled has happened
        return self.now

    def set_level(self, pin: str, level: int, at_ns: int | None = None) -> None:
        self.now_ns()
        super().set_level(pin, level, at_ns)

    def run_until(self, at_ns: int) -> None:
        while (left := at_ns - self.now_ns()) > 0:
            time.sleep(left / 1e9)
