"""The console protocol of our labgrid drivers: each has a `Console` with time stamps."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labgrid.protocol import ConsoleProtocol

from hil.board.selection import name_of
from hil.console import Console, ExpectTimeout, LineTimeout, Transcript
from hil.console.transcript import default_directory
from hil.errors import InfrastructureError


@dataclass(frozen=True)
class Transport:
    """The transport of a serial line.

    `kind` is `rfc2217`, `raw` (TCP), `serial` (a local port), `emulated` or `recording`; `where` its address or device,
    if any; `baud` its nominal speed, None if bytes take no time.
    """

    kind: str
    where: str = ""
    baud: int | None = None

    @property
    def remote(self) -> bool:
        """Whether the line is behind a serial server."""
        return self.kind in ("rfc2217", "raw")

    def __str__(self) -> str:
        return f"{self.kind} {self.where}".rstrip() + (f", {self.baud} baud" if self.baud else "")


class HilConsoleProtocol(ConsoleProtocol, abc.ABC):  # type: ignore[misc]
    """A labgrid console with time stamps. labgrid's own drivers work on it as on any other console.

    `tap` replaces each line that is opened by another, for example one through a fault proxy. Set it before power-on
    and before the driver is activated.
    """

    transcripts: Path | None = None
    tap: Callable[[int], int] | None = None
    _console: Console | None = None
    _deadline: float = math.inf

    @property
    def console(self) -> Console:
        """The open line. Raises `InfrastructureError` when there is none."""
        if self._console is None:
            raise InfrastructureError(
                f"{board_name(self)}: the serial line is not open: the machine is off", hint="switch it on first"
            )
        return self._console

    @property
    @abc.abstractmethod
    def transport(self) -> Transport:
        """The transport of the line."""

    def tapped(self, port: int) -> int:
        """Return the line `port`, replaced by the `tap` if there is one."""
        return port if self.tap is None else self.tap(port)

    def new_transcript(self) -> Transcript:
        """Create the transcript of a line that is to be opened."""
        return Transcript.create(self.transcripts or default_directory(), board_name(self))

    def close_console(self) -> None:
        """Close the console, if there is one."""
        if self._console is not None:
            self._console.close()
        self._console = None

    def read(self, size: int = 1, timeout: float = 0.0, max_size: int | None = None) -> bytes:
        data = self.console.read(timeout)
        if not data:
            raise ExpectTimeout(f"no output in {timeout:g} s")
        if max_size and len(data) > max_size:
            self.console.position -= len(data) - max_size
            data = data[:max_size]
        return data

    def write(self, data: bytes) -> int:
        self.console.write(data)
        return len(data)

    def sendline(self, line: str) -> None:
        self.console.sendline(line)

    def sendcontrol(self, char: str) -> None:
        self.console.write(bytes([ord(char.upper()) & 0x1F]))

    @contextmanager
    def bounded(self, limit: float, quiet: float = math.inf) -> Iterator[None]:
        """Limit all expectations of labgrid's drivers inside the block to `limit` seconds together.

        Then they raise `LineTimeout`, also on a board that resets in a loop. A wait on a line without a byte for
        `quiet` seconds raises `pexpect.TIMEOUT`.
        """
        expecter = self.console.expecter
        self._deadline, expecter.quiet = self.console.now + limit, quiet
        try:
            yield
        finally:
            self._deadline, expecter.quiet = math.inf, math.inf

    def expect(self, pattern: Any, timeout: float = -1) -> tuple[int, Any, Any, Any]:
        if self.console.now > self._deadline:
            raise LineTimeout("labgrid's driver exceeded its time limit", evidence=self.console.evidence())
        expecter = self.console.expecter
        index = expecter.expect(pattern, timeout=timeout)
        return index, expecter.before, expecter.match, expecter.after

    def settle(self, quiet_time: float, timeout: float = 120.0) -> bool:
        """Wait until the line was quiet for `quiet_time` seconds; return False after `timeout`."""
        deadline = self.console.now + timeout
        while self.console.now < deadline:
            if not self.console.read(quiet_time):
                return True
        return False

    def resolve_conflicts(self, client: Any) -> None:
        for other in list(self.clients):
            if other is not client:
                self.target.deactivate(other)


def board_name(driver: Any) -> str:
    """Return the name of the board that one of labgrid's drivers belongs to."""
    target = driver.target
    return name_of(str(target.env.config.filename)) if target.env else str(target.name)
