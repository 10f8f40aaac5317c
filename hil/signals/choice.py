"""The choice of the wiring of a board."""

from __future__ import annotations

from hil.guest import Guest
from hil.signals.bench import BenchWiring
from hil.signals.emulated import EmulatedWiring
from hil.signals.wiring import Wiring


def wiring_of(guest: Guest) -> Wiring:
    """Return the wires of the board of `guest`, those in the emulator or those of the bench. Raises as they do."""
    return EmulatedWiring(guest) if guest.board.emulated else BenchWiring(guest)
