"""Make faults on a board and judge what is left: one (the fixture `faults`), or several in a row (`hil fault`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from hil.board.board import Board
from hil.errors import HilError
from hil.faults import aftermath, catalogue
from hil.faults.catalogue import EMULATED, Fault
from hil.faults.maker import FaultMaker
from hil.faults.record import FaultRecord
from hil.guest import Guest
from hil.wasm import Runner


class Injector(FaultMaker):
    """Makes faults and judges the board afterwards. `on_record` is called with each record of `attempt`."""

    def __init__(
        self, *arguments: Any, on_record: Callable[[FaultRecord], None] = lambda record: None, **options: Any
    ) -> None:
        super().__init__(*arguments, **options)
        self._on_record = on_record

    def attempt(self, fault: Fault | str) -> FaultRecord:
        """Make a fault, given by itself or by name, judge what is left, and bring the board back: see `aftermath`.

        Raises `ConfigurationError` for an unknown name, and as the fault does.
        """
        found = catalogue.fault(fault, self.board.manifest) if isinstance(fault, str) else fault
        record = aftermath.attempt(self, found)
        self._on_record(record)
        return record


def select(board: Board, names: Sequence[str]) -> list[Fault]:
    """Return the faults of these names, or without names all that the board supports.

    Raises `ConfigurationError` for an unknown name.
    """
    if names:
        return [catalogue.fault(name, board.manifest) for name in names]
    return [known for known in catalogue.faults_for(board.manifest) if board.emulated or known.needs != EMULATED]


def inject(
    board: Board, faults: Sequence[Fault], *, seed: int, on_start: Callable[[int, Fault], None]
) -> tuple[list[FaultRecord], HilError | None]:
    """Inject the faults, each into a board that is up, and call `on_start` before each.

    Return the records, and the error that ended the campaign early, if one did. Raises it if there are no records.
    """
    records: list[FaultRecord] = []
    for number, selected in enumerate(faults, 1):
        on_start(number, selected)
        try:
            if not board.up:
                board.fresh()
            with Injector(Runner(Guest(board)), seed=seed) as injector:
                records.append(injector.attempt(selected))
        except HilError as error:
            if not records:
                raise
            return records, error
    return records, None
