"""What a labgrid environment imports (`imports: [hil.labgrid]`): registers our drivers."""

from hil.board.analyser import HilAnalyserDriver
from hil.board.drivers import HilQemuDriver, HilSerialDriver
from hil.board.replay import HilReplayDriver
from hil.board.strategy import HilStrategy

__all__ = ["HilAnalyserDriver", "HilQemuDriver", "HilReplayDriver", "HilSerialDriver", "HilStrategy"]
