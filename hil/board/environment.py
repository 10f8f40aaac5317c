"""The labgrid environment of a board: opened, with its place and its drivers, and cleaned up."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from labgrid import Environment, Target
from labgrid.exceptions import NoDriverFoundError, NoSupplierFoundError
from labgrid.protocol import PowerProtocol

from hil.board import boardfile, consoles
from hil.board.images import manifest_of
from hil.board.protocol import HilConsoleProtocol
from hil.board.seam import described, guarded
from hil.board.selection import find, name_of
from hil.board.strategy import HilStrategy
from hil.board.switch import Switch
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.image import manifest
from hil.places import selector as selectors
from hil.places.selector import PlaceFailed, PlaceSelector, Terms

if TYPE_CHECKING:
    from hil.places.acquisition import Place


class BoardEnvironment:
    """An open labgrid environment: `place` if it is of a lab, `target`, the drivers, and the image's `manifest`.

    Stock drivers of labgrid are completed with our console and strategy. Call `close` at the end.
    """

    def __init__(self, name: str, image: str | None, transcripts: Path | None, terms: Terms) -> None:
        self.place: Place | None = None
        self.switch: Switch | None = None
        self._env: Environment | None = None
        try:
            self._env = self._open(name, terms)
            if image is not None:
                path = Path(image) if image.endswith(".toml") else manifest.find(image).path
                self._env.config.data.setdefault("images", {})["main"] = str(path and path.absolute())
            self._make_target(self._env)
            self.line.transcripts = transcripts
        except BaseException as error:
            self.close()
            if self.place is not None and isinstance(error, InfrastructureError):
                raise PlaceFailed(self.place.name, error) from error
            raise

    @property
    def where(self) -> str:
        """The name of the place, or of a board without one: it identifies the board among others of its kind."""
        return self.place.name if self.place else self.name

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
            self.power = target.get_driver(PowerProtocol, activate=False)
        except (NoDriverFoundError, NoSupplierFoundError) as error:
            raise ConfigurationError(
                f"{self.path}: {error}",
                hint="a board needs a power driver and a serial port (docs/adding-a-board.md)",
            ) from error
        except HilError:
            raise
        except OSError as error:  # a device or file of a driver or resource is missing
            raise InfrastructureError(f"{self.path}: {described(error)}") from error
        except Exception as error:  # anything else that their constructors raise
            cause = f": {error.__cause__.args[0]}" if error.__cause__ and error.__cause__.args else ""
            raise ConfigurationError(f"{self.path}: {described(error)}{cause}", hint=f"correct {self.path}") from error
        consoles.check(self.target, self.strategy, self.path)
        self.switch = Switch(self.power)
        self.line: HilConsoleProtocol = self.strategy.line
        self.manifest = manifest_of(self.strategy, self.strategy.image)

    def close(self) -> None:
        """Clean up the drivers and release the place."""
        if self.switch is not None:
            self.switch.close()
            self.switch = None
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
