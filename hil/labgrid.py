"""What a labgrid environment imports (`imports: [hil.labgrid]`): registers our drivers."""

from hil.board.drivers import HilQemuDriver, HilSerialDriver
from hil.board.strategy import HilStrategy

__all__ = ["HilQemuDriver", "HilSerialDriver", "HilStrategy"]
