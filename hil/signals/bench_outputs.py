"""The bench's digital outputs: they drive the inputs of the partition, now or at times that the host keeps."""

from __future__ import annotations

import heapq
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hil.board.seam import guarded
from hil.errors import ConfigurationError, HilError
from hil.measure.units import shown
from hil.signals.edges import Levels, Ticks
from hil.signals.wiring import INVERTED

TRIALS = 3  # settings of a pin at the begin, whose shortest time counts
JOIN_LIMIT = 10.0  # seconds for the setting of a level that is under way


@dataclass(frozen=True)
class Force:
    """A forced level of a pin: 0, 1 or `INVERTED`; None ends it."""

    level: int | None


class BenchOutputs:
    """The outputs `drivers`, labgrid drivers by the name of the pin that they drive. All are set to 0 at the begin.

    Levels for later are set by a thread. `host_time` converts a time of the wires to the host's monotonic clock, both
    in ns. `late` is the longest time in seconds from a planned time until the driver had set the level. `fastest` is,
    by pin, the shortest time in seconds that its driver has taken so far.
    """

    def __init__(self, drivers: Mapping[str, Any], host_time: Callable[[int], int]) -> None:
        self.late = 0.0
        self.fastest: dict[str, float] = {}
        self.levels = dict.fromkeys(drivers, 0)  # as requested, whatever is forced
        self._drivers, self._host_time = dict(drivers), host_time
        self._forced: dict[str, int] = {}
        self._plans: list[tuple[int, int, str, int | Force, Iterator[tuple[int, int | Force]]]] = []
        self._number = 0
        self._failure: HilError | None = None
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False
        for _ in range(TRIALS):
            self.reset()

    def set(self, pin: str, level: int) -> None:
        """Set `pin` to `level` now, unless it is forced."""
        with self._wake:
            self.check()
            self.levels[pin] = level
            if pin not in self._forced:
                self._drive(pin, level)

    def check_pace(self, pin: str, times_ns: Ticks) -> None:
        """Raise `ConfigurationError` for levels that follow each other faster than the pin's driver can set them."""
        least = int(np.diff(times_ns).min()) if len(times_ns) > 1 else None
        if least is not None and least < self.fastest[pin] * 1e9:
            raise ConfigurationError(
                f"pin {pin} cannot change twice within {shown(least / 1e9)}: {self._drivers[pin].display_name} takes "
                f"{shown(self.fastest[pin])} or more for one level",
                hint="Give longer pulses, or drive the pin by faster hardware, such as a signal generator.",
            )

    def plan(self, pin: str, levels: Levels, times_ns: Ticks) -> None:
        """Set `pin` to each of `levels` at the ascending `times_ns`."""
        if not len(times_ns):
            return
        self._plan(pin, iter(zip(times_ns.tolist(), levels.tolist(), strict=True)))

    def _plan(self, pin: str, entries: Iterator[tuple[int, int | Force]]) -> None:
        with self._wake:
            self.check()
            self._push(pin, entries)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stimuli", daemon=True)
                self._thread.start()
            self._wake.notify()

    def force(self, pin: str, level: int | None) -> None:
        """Keep `pin` at `level`, whatever is set; None returns to what was set last."""
        with self._wake:
            self.check()
            self._force(pin, Force(level))

    def plan_forces(self, pin: str, forces: Sequence[tuple[int, Force]]) -> None:
        """Force `pin` at times in ns, in ascending order."""
        self._plan(pin, iter(forces))

    def reset(self) -> None:
        """Forget the levels for later, end what is forced, and set all pins to 0. Raises the first error after that."""
        with self._wake:
            self._plans.clear()
            self._forced.clear()
            errors = []
            for pin in self._drivers:
                self.levels[pin] = 0
                try:
                    self._drive(pin, 0)
                except HilError as error:
                    errors.append(error)
            if errors:
                raise errors[0]

    def check(self) -> None:
        """Raise the error of a driver that could not set a level at its time."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the thread; levels for later are forgotten."""
        with self._wake:
            self._closed = True
            self._plans.clear()
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(JOIN_LIMIT)

    def _force(self, pin: str, force: Force) -> None:
        if force.level is None:
            self._forced.pop(pin, None)
        else:
            self._forced[pin] = 1 - self.levels[pin] if force.level == INVERTED else force.level
        self._drive(pin, self._forced.get(pin, self.levels[pin]))

    def _push(self, pin: str, rest: Iterator[tuple[int, int | Force]]) -> None:
        """Plan the next level of `rest`, if there is one."""
        if (entry := next(rest, None)) is not None:
            self._number += 1  # of two at one time the one planned first comes first
            heapq.heappush(self._plans, (entry[0], self._number, pin, entry[1], rest))

    def _run(self) -> None:
        with self._wake:
            while not self._closed:
                if not self._plans:
                    self._wake.wait()
                    continue
                due = self._host_time(self._plans[0][0])
                if (ahead := due - time.monotonic_ns()) > 0:
                    self._wake.wait(ahead / 1e9)
                    continue
                _, _, pin, level, rest = heapq.heappop(self._plans)
                self._push(pin, rest)
                if not isinstance(level, Force):
                    self.levels[pin] = level
                    if pin in self._forced:
                        continue
                try:
                    if isinstance(level, Force):
                        self._force(pin, level)
                    else:
                        self._drive(pin, level)
                except HilError as error:
                    self._failure = error
                    self._plans.clear()
                self.late = max(self.late, (time.monotonic_ns() - due) / 1e9)

    def _drive(self, pin: str, level: int) -> None:
        driver = self._drivers[pin]
        begin = time.monotonic()
        with guarded(f"pin {pin} cannot be set to {level} by {driver.display_name}", "check the digital output"):
            if threading.current_thread() is self._thread:
                # labgrid's stack of steps belongs to the main thread
                inspect.unwrap(type(driver).set)(driver, bool(level))
            else:
                driver.set(bool(level))
        took = time.monotonic() - begin
        self.fastest[pin] = min(self.fastest.get(pin, took), took)
