"""The base of emulated and replayed machines: power and console in one driver."""

from __future__ import annotations

import abc
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import attr
from labgrid.driver import Driver
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from labgrid.step import step

from hil.board.protocol import HilConsoleProtocol, Transport
from hil.board.selection import name_of
from hil.console import Console, Transcript
from hil.console.lockstep import Lockstep
from hil.console.transcript import default_directory
from hil.errors import InfrastructureError


@dataclass(frozen=True)
class Connection:
    """The serial line of a started machine: the arguments of its `Console`."""

    port: int
    explain_end: Callable[[], str]
    lockstep: Lockstep | None = None
    token: Callable[[int], str] = secrets.token_hex


@attr.s(eq=False)
class MachineDriver(Driver, HilConsoleProtocol, PowerProtocol):  # type: ignore[misc]
    """Driver of a machine that this process starts and ends. Its console exists while the power is on."""

    bindings: ClassVar[dict[str, object]] = {}
    priorities = {ConsoleProtocol: 10}

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.transcripts: Path | None = None
        self._console: Console | None = None

    @abc.abstractmethod
    def start(self, transcript: Path) -> Connection:
        """Start the machine and return its line. Called by `on` only."""

    @property
    def transport(self) -> Transport:
        return Transport("emulated")

    def listened(self) -> None:
        """Let the machine execute, now that its console is read. Called by `on` only."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the machine, if it was started. Called by `off` only."""

    @abc.abstractmethod
    def get(self) -> bool:
        """Return whether the power is on."""

    def on_deactivate(self) -> None:
        self._end()

    @property
    def console(self) -> Console:
        if self._console is None:
            raise InfrastructureError("the machine is off: no console", hint="switch it on first")
        return self._console

    @Driver.check_active
    @step()
    def on(self) -> None:
        """Switch on, unless it is on."""
        if self.get():
            return
        self._end()
        name = name_of(str(self.target.env.config.filename))
        transcript = Transcript.create(self.transcripts or default_directory(), name)
        try:
            line = self.start(transcript.path)
            self._console = Console(
                self.tapped(line.port),
                transcript,
                explain_end=line.explain_end,
                lockstep=line.lockstep,
                token=line.token,
            )
            self.listened()
        except BaseException:
            self._end()
            transcript.close()
            raise

    @Driver.check_active
    @step()
    def off(self) -> None:
        """Cut the power."""
        self._end()

    @Driver.check_active
    @step()
    def cycle(self) -> None:
        self._end()
        self.on()

    def _end(self) -> None:
        self.stop()
        if self._console is not None:
            self._console.close()
        self._console = None
