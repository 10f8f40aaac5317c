"""A lab of emulated boards behind a real labgrid coordinator and exporter."""

from hil.lab.lab import BoardStatus, Lab, Status, take_down

__all__ = ["BoardStatus", "Lab", "Status", "take_down"]
