"""The clocks of a board, each with its noise floor as measured on this board in this boot."""

from __future__ import annotations

from hil.guest import Guest
from hil.measure import link
from hil.measure.probe import Probe
from hil.measure.series import VIRTUAL, Clock

EMPTY_COMMANDS = 50  # whose times tell the floor of the console's stamps
CONSOLE = "host monotonic"
INSTRUCTIONS = "a count of instructions with all timers on it: no caches, no buses, no silicon"


class Clocks:
    """The clocks of `guest`'s board; floors are measured when first needed in each boot, and hold for its restores."""

    def __init__(self, guest: Guest) -> None:
        self._guest = guest
        self._probe = Probe(guest)
        self._boot: object = None
        self._floors: dict[str, tuple[float, float]] = {}  # resolution, floor

    def guest_counter(self) -> Clock:
        """CNTVCT_EL0 as the guest reads it: of the guest's own code and of the partition's."""
        if virtual := self._virtual(16e-9):
            return virtual
        resolution, floor = self._measured("guest counter")
        emulated = "; under plain emulation it follows the host's clock, so the host's scheduling shows"
        remark = "CNTVCT_EL0" + (emulated if self._guest.board.emulated else "")
        return Clock("guest counter", resolution, remark, floor)

    def module(self) -> Clock:
        """The WASI clock of a module, which the runner takes from the partition's kernel."""
        if virtual := self._virtual(16e-9):
            return virtual
        resolution, floor = self._measured("guest counter")
        return Clock("module (WASI)", resolution, "the kernel's monotonic clock; the floor is the counter's", floor)

    def console(self) -> Clock:
        """Stamps of the console's lines: virtual time where the line keeps it, else the reader's.

        What the link may shift a stamp by is in the floor: where it brings lines together, their spread tells nothing.
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
            self._floors[name] = self._counter_floor() if name == "guest counter" else self._console_floor()
        return self._floors[name]

    def _counter_floor(self) -> tuple[float, float]:
        counter = self._probe.counter()
        return 1 / counter.hz, counter.floor

    def _console_floor(self) -> tuple[float, float]:
        """How far the times of a command that does nothing lie from their median, 99 of 100 of them."""
        import numpy as np

        times = np.array([self._guest.run(":").seconds for _ in range(EMPTY_COMMANDS)])
        return 1e-9, float(np.quantile(abs(times - np.median(times)), 0.99))
