"""The base of emulated and replayed machines: power and console in one driver."""

from __future__ import annotations

import abc
from typing import ClassVar

import attr
from labgrid.driver import Driver
from labgrid.protocol import ConsoleProtocol, PowerProtocol
from labgrid.step import step

from hil.board.protocol import HilConsoleProtocol, Transport
from hil.console import Console, Transcript


@attr.s(eq=False)
class MachineDriver(Driver, HilConsoleProtocol, PowerProtocol):  # type: ignore[misc]
    """Driver of a machine that this process starts and ends. Its console exists while the power is on."""

    bindings: ClassVar[dict[str, object]] = {}
    priorities = {ConsoleProtocol: 10}

    @abc.abstractmethod
    def start(self, transcript: Transcript) -> Console:
        """Start the machine and return its console. Called by `on` only."""

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
        self.end()

    @Driver.check_active
    @step()
    def on(self) -> None:
        """Switch on, unless it is on."""
        if self.get():
            return
        self.end()
        self.begin(self.new_transcript())

    @Driver.check_active
    @step()
    def off(self) -> None:
        """Cut the power."""
        self.end()

    @Driver.check_active
    @step()
    def cycle(self) -> None:
        self.end()
        self.on()

    def begin(self, transcript: Transcript) -> None:
        """Start the machine on a line with `transcript`; nothing is left of one that does not start.

        Unlike `on` this, as `end`, is no step on labgrid's bus, which has one thread.
        """
        try:
            self._console = self.start(transcript)
            self.listened()
        except BaseException:
            self.end()
            transcript.close()
            raise

    def end(self) -> None:
        """End the machine and close its line."""
        self.stop()
        self.close_console()
