"""The module for a labgrid environment to import (`imports: [hil.labgrid]`): it registers our drivers."""

from hil.board.analyser import HilAnalyserDriver
from hil.board.qemu_driver import HilQemuDriver
from hil.board.replay import HilReplayDriver
from hil.board.serial_driver import HilSerialDriver
from hil.board.strategy import HilStrategy

__all__ = ["HilAnalyserDriver", "HilQemuDriver", "HilReplayDriver", "HilSerialDriver", "HilStrategy"]
