"""The fixture `faults`: makes faults and judges what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hil.faults import aftermath, catalogue
from hil.faults.maker import FaultMaker
from hil.faults.record import FaultRecord


class Injector(FaultMaker):
    """Makes faults and judges the board afterwards. `on_record` is called with each record of `attempt`."""

    def __init__(
        self, *arguments: Any, on_record: Callable[[FaultRecord], None] = lambda record: None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._on_record = on_record

    def attempt(self, fault: catalogue.Fault | str) -> FaultRecord:
        """Make a fault, given by itself or by name, judge what is left, and bring the board back: see `aftermath`.

        Raises `ConfigurationError` for an unknown name, and as the fault does.
        """
        found = catalogue.fault(fault, self.board.manifest) if isinstance(fault, str) else fault
        record = aftermath.attempt(self, found)
        self._on_record(record)
        return record
