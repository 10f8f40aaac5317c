"""The infrastructure of a board, its place and its power switch, and their part in the board's failures."""

from __future__ import annotations

from subprocess import CalledProcessError

from labgrid.binding import BindingError, StateError
from labgrid.driver import ExecutionError
from labgrid.exceptions import NoSupplierFoundError
from labgrid.strategy import StrategyError

from hil.board.environment import BoardEnvironment
from hil.board.machine import MachineDriver
from hil.errors import ConfigurationError, HilError, InfrastructureError

LABGRID = (NoSupplierFoundError, BindingError, StateError, ExecutionError, StrategyError, OSError, CalledProcessError)
"""The exceptions with which labgrid's drivers report failures of the test bed."""


class Infrastructure:
    """The place and the power switch of a board."""

    def __init__(self, environment: BoardEnvironment) -> None:
        self._environment = environment
        self._place = environment.place

    @property
    def lost(self) -> str:
        """Why the place is not ours any more; empty if it is, and for a board without one."""
        return self._place.lost if self._place else ""

    @property
    def cut_off(self) -> bool:
        """Whether the serial line of a board at a place has ended, though the place is ours."""
        try:
            console = self._environment.line.console
            return self._place is not None and not self.lost and console.ended and not console.closed
        except InfrastructureError:
            return False

    def trouble(self) -> str:
        """Check place and power, and return what is wrong; empty if nothing is."""
        if self._place is not None:
            self._place.confirm(cut=self.cut_off)
            if self.lost:
                return self._place.error().message
        switch = self._environment.switch
        problem = switch.trouble() if switch is not None else ""
        return f"{'place' if self._place else 'board'} {self._environment.where}: {problem}" if problem else ""

    def attribute(self, error: BaseException) -> BaseException:
        """Return the error to raise for a failed boot or restore.

        It is an `InfrastructureError` if the place is lost, the power is off, or labgrid's driver failed; else `error`,
        with the place in its message.
        """
        if isinstance(error, ConfigurationError) or not isinstance(error, Exception):
            return error
        place, trouble = self._place, self.trouble()
        if place is not None and self.lost:
            return place.error()
        if isinstance(error, HilError) and trouble:
            return InfrastructureError(
                f"{error.message}; {trouble}",
                hint=error.hint,
                stage=error.stage,
                evidence=error.evidence,
                cause=f"{error.cause}; {trouble}",
            )
        if isinstance(error, HilError) and place is not None:
            error.message += f" (place {place.name})"
            error.cause += f" (place {place.name})"
        elif isinstance(error, LABGRID):
            where = f"place {place}" if place else f"board {self._environment.name}"
            hint = "check the board's power switch and serial port"
            if isinstance(self._environment.power, MachineDriver):
                hint = "check this host's free disk space, free memory and limit of processes"
            return InfrastructureError(f"{where}: {error}", hint=hint)
        return error
