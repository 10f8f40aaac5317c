"""Faults on purpose: made on a board, judged by what is left of it."""

from hil.faults.catalogue import Fault
from hil.faults.proxy import FaultProxy, Faults, Tap
from hil.faults.record import FaultRecord, Injection

__all__ = ["Fault", "FaultProxy", "FaultRecord", "Faults", "Injection", "Tap"]
