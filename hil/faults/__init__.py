"""What we break on purpose."""

from hil.faults.catalogue import Fault
from hil.faults.finding import FaultRecord, Injection
from hil.faults.proxy import At, Counts, Cut, Drop, Duplicate, FaultProxy, Faults, Flip, Inject, Report, Stop, Tap

__all__ = [
    "At",
    "Counts",
    "Cut",
    "Drop",
    "Duplicate",
    "Fault",
    "FaultProxy",
    "FaultRecord",
    "Faults",
    "Flip",
    "Inject",
    "Injection",
    "Report",
    "Stop",
    "Tap",
]
