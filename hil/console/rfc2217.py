"""A serial port behind RFC 2217 (ser2net, labgrid's exporter): opened, set up, and read as plain bytes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hil.console import telnet
from hil.console.filter import Filter
from hil.errors import InfrastructureError

SAID = 200  # bytes shown of what a server sent before it ended the connection


class ServerNotReady(InfrastructureError):
    """The serial server ended the connection, or did not answer, before the port was set up."""


class Rfc2217(Filter):
    """The line of the serial server at the other end of `connection`, which is taken over.

    Sets `speed` baud, 8 data bits, no parity, one stop bit, no flow control; waits `timeout` seconds for
    the server to agree. `self.port` is the line, then. Raises `ServerNotReady` where another try may succeed, and
    `InfrastructureError` where the server refuses a setting.
    """

    def __init__(self, connection: socket.socket, speed: int, *, timeout: float = 10.0) -> None:
        host, port = connection.getpeername()[:2]
        self._end: str | None = None
        super().__init__(connection.detach(), Path(telnet.__file__), str(speed))
        try:
            answer = self.hear(timeout)
        except InfrastructureError:
            answer = telnet.ENDED + b"it does not answer"
        if answer == b"ready":
            return
        self.close()
        reason = _reason(answer)
        if said := _unread(self.port):
            reason += f"; it sent {said!r}"
        os.close(self.port)
        kind = InfrastructureError if answer and answer.startswith(telnet.REFUSED) else ServerNotReady
        raise kind(
            f"the serial server {host}:{port} does not set the port up: {reason}",
            hint="does it serve RFC 2217 there, as labgrid's exporter does? For raw TCP say `protocol: raw`",
        )

    def exit_reason(self) -> str:
        """Why the line has ended, nothing while it is open or where this side closed it."""
        if self._end is None and not self.closed:
            try:
                self._end = _reason(self.hear(0.2))
            except InfrastructureError:
                return ""
        return self._end or ""


def _reason(line: bytes | None) -> str:
    """Return the reason in the last line of the process, which is None where the process died without one."""
    if line is None:
        return "the process between it and the serial server has died"
    return line.partition(b" ")[2].decode("utf-8", "replace")


def _unread(port: int) -> str:
    """Return the beginning of what the server sent as plain text, a reason as a rule."""
    os.set_blocking(port, False)
    try:
        return os.read(port, SAID).decode("utf-8", "replace").strip()
    except OSError:
        return ""
