"""A serial port behind RFC 2217 (ser2net, labgrid's exporter) as a line of plain bytes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hil.console import rfc2217_process
from hil.console.filter import Filter
from hil.errors import InfrastructureError

SHOWN = 200  # bytes of plain text from the server in an error


class ServerNotReady(InfrastructureError):
    """The serial server ended the connection or did not answer before the port was set up."""


class Rfc2217(Filter):
    """The line of the serial server at the other end of `connection`, which is taken over.

    Sets `speed` baud, 8 data bits, no parity, one stop bit, no flow control, and waits `timeout` seconds for the
    server to confirm. Then `self.port` is the line. Raises `ServerNotReady` where another try may succeed, and
    `InfrastructureError` where the server refuses a setting.
    """

    def __init__(self, connection: socket.socket, speed: int, *, timeout: float = 10.0) -> None:
        host, port = connection.getpeername()[:2]
        self._end: str | None = None
        super().__init__(connection.detach(), Path(rfc2217_process.__file__), str(speed))
        try:
            answer = self.receive(timeout)
        except InfrastructureError:
            answer = rfc2217_process.ENDED + b"it does not answer"
        if answer == b"ready":
            return
        self.close()
        reason = _reason(answer)
        if text := _unread(self.port):
            reason += f"; it sent {text!r}"
        os.close(self.port)
        kind = InfrastructureError if answer and answer.startswith(rfc2217_process.REFUSED) else ServerNotReady
        raise kind(
            f"the serial server {host}:{port} did not set up the port: {reason}",
            hint="Check that it serves RFC 2217 there, as labgrid's exporter does. Set `protocol: raw` for raw TCP.",
        )

    def exit_reason(self) -> str:
        """Return why the line has ended; empty while it is open or if this side closed it."""
        if self._end is None and not self.closed:
            try:
                self._end = _reason(self.receive(0.2))
            except InfrastructureError:
                return ""
        return self._end or ""


def _reason(line: bytes | None) -> str:
    """Return the reason in the last line of the process; `line` is None for a process that was killed."""
    if line is None:
        return "the process between it and the serial server has died"
    return line.partition(b" ")[2].decode("utf-8", "replace")


def _unread(port: int) -> str:
    """Return the beginning of the server's plain text, as a rule a reason."""
    os.set_blocking(port, False)
    try:
        return os.read(port, SHOWN).decode("utf-8", "replace").strip()
    except OSError:
        return ""
