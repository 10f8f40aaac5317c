"""A campaign: several faults injected into one board, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hil.errors import HilError
from hil.faults import catalogue
from hil.faults.catalogue import EMULATED, Fault
from hil.faults.injector import Injector
from hil.guest import Guest
from hil.wasm import Runner

if TYPE_CHECKING:
    from hil.board.board import Board
    from hil.faults.record import FaultRecord


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
