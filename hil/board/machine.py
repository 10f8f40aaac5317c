"""What emulated and replayed machines share: power and console in one driver."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import attr
from labgrid.driver import Driver
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from labgrid.step import step

from hil.board.protocol import HilConsoleProtocol
from hil.console import Console, Transcript
from hil.console.transcript import default_directory
from hil.errors import InfrastructureError


@attr.s(eq=False)
class MachineDriver(Driver, HilConsoleProtocol, PowerProtocol):  # type: ignore[misc]
    """A machine that this process starts and ends; its console exists while the power is on."""

    bindings: ClassVar[dict[str, object]] = {}
    priorities = {ConsoleProtocol: 10}

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.transcripts: Path | None = None
        self._console: Console | None = None

    @abc.abstractmethod
    def start(self, transcript: Path) -> tuple[int, Callable[[], str]]:
        """Start the machine; returns its line and who explains the line's end. Others use `on`."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the machine, if it was started. Others use `off`."""

    @abc.abstractmethod
    def get(self) -> bool:
        """Whether the power is on."""

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
        name = Path(str(self.target.env.config.filename)).stem
        transcript = Transcript.create(self.transcripts or default_directory(), name)
        try:
            port, explain = self.start(transcript.path)
            port = self.tapped(port)
        except BaseException:
            transcript.close()
            self._end()
            raise
        self._console = Console(port, transcript, explain_end=explain)

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
