"""What we break on purpose."""

from hil.faults.proxy import At, Counts, Cut, Drop, Duplicate, FaultProxy, Faults, Flip, Inject, Report, Stop, Tap

__all__ = [
    "At",
    "Counts",
    "Cut",
    "Drop",
    "Duplicate",
    "FaultProxy",
    "Faults",
    "Flip",
    "Inject",
    "Report",
    "Stop",
    "Tap",
]
