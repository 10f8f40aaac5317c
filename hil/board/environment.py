"""The labgrid environment of a board: opened, with its place and its drivers, checked for trouble, and cleaned up."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING

from labgrid import Environment, Target
from labgrid.binding import BindingError, StateError
from labgrid.driver import ExecutionError
from labgrid.exceptions import NoDriverFoundError, NoSupplierFoundError
from labgrid.protocol import PowerProtocol
from labgrid.strategy import StrategyError

from hil.board import boardfile, consoles
from hil.board.machine import MachineDriver
from hil.board.power_watch import Switch
from hil.board.protocol import HilConsoleProtocol
from hil.board.seam import described, guarded
from hil.board.selection import find, name_of
from hil.board.strategy import HilStrategy
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.image import manifest
from hil.places import selector as selectors
from hil.places.selector import PlaceFailed, PlaceSelector, Terms
from hil.text import without_credentials

if TYPE_CHECKING:
    from hil.places.acquisition import Place

LABGRID = (NoSupplierFoundError, BindingError, StateError, ExecutionError, StrategyError, OSError, CalledProcessError)
"""The exceptions with which labgrid's drivers report failures of the test bed."""


class BoardEnvironment:
    """An open labgrid environment: `place` if it is of a lab, `target`, the drivers, and the image's `manifest`.

    Stock drivers of labgrid are completed with our console and strategy. Call `clean_up` at the end.
    """

    def __init__(self, name: str, image: str | None, transcripts: Path | None, terms: Terms) -> None:
        self.place: Place | None = None
        self._switch: Switch | None = None
        self._env: Environment | None = None
        try:
            self._env = self._open(name, terms)
            if image is not None:
                path = Path(image) if image.endswith(".toml") else manifest.find(image).path
                self._env.config.data.setdefault("images", {})["main"] = str(path and path.absolute())
            self._make_target(self._env)
            self.line.transcripts = transcripts
        except BaseException as error:
            self.clean_up()
            if self.place is not None and isinstance(error, InfrastructureError):
                raise PlaceFailed(self.place.name, error) from error
            raise

    @property
    def where(self) -> str:
        """The name of the place, or of a board without one: it identifies the board among others of its kind."""
        return self.place.name if self.place else self.name

    @property
    def lost(self) -> str:
        """Why the board's place is not ours any more; empty if it is, and for a board without one."""
        return self.place.lost if self.place else ""

    @property
    def cut_off(self) -> bool:
        """Whether the serial line of a board at a place has ended, though the place is ours."""
        try:
            console = self.line.console
            return self.place is not None and not self.lost and console.ended and not console.closed
        except InfrastructureError:
            return False

    def trouble(self) -> str:
        """Check place and power, and return what is wrong; empty if nothing is.

        For failures that look like the image's: a board without power looks like an image that hangs.
        """
        if self.place is not None:
            self.place.confirm(cut=self.cut_off)
            if self.lost:
                return self.place.error().message
        problem = self._switch.trouble() if self._switch is not None else ""
        return f"{'place' if self.place else 'board'} {self.where}: {problem}" if problem else ""

    def attributed(self, error: BaseException) -> BaseException:
        """Return the error to raise for a failed boot or restore.

        It is an `InfrastructureError` if the place is lost, the power is off, or labgrid's driver failed; else `error`,
        with the place in its message.
        """
        if isinstance(error, ConfigurationError) or not isinstance(error, Exception):
            return error
        place, trouble = self.place, self.trouble()
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
            hint = "check the board's power switch and serial port"
            if isinstance(self.power, MachineDriver):
                hint = "check this host's free disk space, free memory and limit of processes"
            return InfrastructureError(
                f"{f'place {place}' if place else f'board {self.name}'}: {without_credentials(str(error))}", hint=hint
            )
        return error

    def _open(self, name: str, terms: Terms) -> Environment:
        """Read the board's file and acquire its place; return labgrid's environment."""
        selector = selectors.parse(name)
        if selector is not None:
            self.place = _acquire(selector, terms, None)
        self.path = find(self.place.board if self.place else name)
        self.name = name_of(self.path)
        env = boardfile.environment(self.path)
        if self.place is None and (remote := boardfile.remote_place(env)) is not None:
            selector = PlaceSelector(name=remote, tagless=True)
            self.place = _acquire(selector, terms, env.config.get_option("coordinator_address", ""))
        if self.place is not None:
            boardfile.put_place(env, self.place.name)
        return env

    def _make_target(self, env: Environment) -> None:
        try:
            consoles.adopt(env, self.path)
            with self.place.lent() if self.place else nullcontext():
                target = env.get_target("main")
            assert target is not None, "checked with the board file"
            self.target: Target = target
            self.strategy: HilStrategy = target.get_driver(HilStrategy, activate=False)
            self.strategy.label = self.where
            self.power = target.get_driver(PowerProtocol, activate=False)
        except (NoDriverFoundError, NoSupplierFoundError) as error:
            raise ConfigurationError(
                f"{self.path}: {error}", hint="a board needs a power driver and a serial port (docs/adding-a-board.md)"
            ) from error
        except HilError:
            raise
        except OSError as error:  # a device or file of a driver or resource is missing
            raise InfrastructureError(f"{self.path}: {described(error)}") from error
        except Exception as error:  # anything else that their constructors raise
            cause = f": {error.__cause__.args[0]}" if error.__cause__ and error.__cause__.args else ""
            raise ConfigurationError(f"{self.path}: {described(error)}{cause}", hint=f"correct {self.path}") from error
        consoles.check(self.target, self.strategy, self.path)
        self._switch = Switch(self.power)
        self.line: HilConsoleProtocol = self.strategy.line
        self.manifest = self.strategy.manifest

    def clean_up(self) -> None:
        """Clean up the drivers and release the place."""
        if self._switch is not None:
            self._switch.close()
            self._switch = None
        try:
            if self._env is not None:
                with guarded("the board's drivers cannot be cleaned up"):
                    self._env.cleanup()
        finally:
            if self.place is not None:
                self.place.close()


def _acquire(selector: PlaceSelector, terms: Terms, coordinator: str | None) -> Place:
    from hil.places.acquisition import acquire  # imports gRPC, which most boards do not need

    return acquire(selector, selectors.address(terms.coordinator, coordinator), terms)
