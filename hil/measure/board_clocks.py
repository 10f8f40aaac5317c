"""The clocks of a board, each with its noise floor as measured on this board in this boot."""

from __future__ import annotations

import numpy as np

from hil.guest import Guest
from hil.measure import link
from hil.measure.clock import CONSOLE, GUEST_COUNTER, MODULE, VIRTUAL, Clock
from hil.measure.probe import Probe

EMPTY_COMMANDS = 50  # whose times give the floor of the console's stamps
INSTRUCTIONS = "a count of instructions with all timers on it: no caches, no buses, no silicon"


class BoardClocks:
    """The clocks of the board of `guest`; floors are measured on first use in each boot and kept for its restores."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._probe = Probe(guest)
        self._boot: object = None
        self._floors: dict[str, tuple[float, float]] = {}  # resolution, floor

    def guest_counter(self) -> Clock:
        """Return CNTVCT_EL0 as the guest reads it: the clock of guest and partition."""
        if virtual := self._virtual(16e-9):
            return virtual
        resolution, floor = self._measured(GUEST_COUNTER)
        emulated = "; under plain emulation it follows the host's clock, so the host's scheduling shows"
        remark = "CNTVCT_EL0" + (emulated if self._guest.board.emulated else "")
        return Clock(GUEST_COUNTER, resolution, remark, floor)

    def module(self) -> Clock:
        """Return the WASI clock of a module, which is that of the partition's kernel."""
        if virtual := self._virtual(16e-9):
            return virtual
        resolution, floor = self._measured(GUEST_COUNTER)
        return Clock(MODULE, resolution, "the kernel's monotonic clock; the floor is the counter's", floor)

    def console(self) -> Clock:
        """Return the clock of the console's stamps: virtual time in lock step, otherwise the clock of the reader.

        The floor includes the uncertainty of the link: if the link delivers lines together, their spread does not show.
        """
        if virtual := self._virtual(2e-9):
            return virtual
        resolution, floor = self._measured(CONSOLE)
        remark = "stamps of the console's reader, behind the line"
        if (behind := link.of(self._guest)) is not None:
            floor, remark = max(floor, behind.uncertainty), f"{remark}: {behind}"
        return Clock(CONSOLE, resolution, remark, floor)

    def _virtual(self, resolution: float) -> Clock | None:
        virtual = self._guest.board.virtual
        if virtual is None:
            return None
        if virtual.exact:
            return Clock(VIRTUAL, resolution, INSTRUCTIONS, 0.0, exact=True)
        return Clock(VIRTUAL, resolution, f"NOT EXACT: {virtual.lost or 'not proven'}")

    def _measured(self, name: str) -> tuple[float, float]:
        boot = self._guest.board.origin
        if self._boot != boot:
            self._boot, self._floors = boot, {}
        if name not in self._floors:
            self._floors[name] = self._counter_floor() if name == GUEST_COUNTER else self._console_floor()
        return self._floors[name]

    def _counter_floor(self) -> tuple[float, float]:
        counter = self._probe.counter()
        return 1 / counter.hz, counter.floor

    def _console_floor(self) -> tuple[float, float]:
        """Return the distance from the median within which 99 of 100 times of an empty command lie."""
        times = np.array([self._guest.run(":").seconds for _ in range(EMPTY_COMMANDS)])
        return 1e-9, float(np.quantile(abs(times - np.median(times)), 0.99))
