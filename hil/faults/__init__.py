"""Faults on purpose: made on a board, judged by what is left of it."""

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from hil.faults.catalogue import Fault
    from hil.faults.proxy import FaultProxy, Faults, Tap
    from hil.faults.record import FaultRecord, Injection
else:
    __getattr__ = lazy_names(__name__)

__all__ = ["Fault", "FaultProxy", "FaultRecord", "Faults", "Injection", "Tap"]
