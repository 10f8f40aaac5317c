"""A serial port behind RFC 2217 (ser2net, labgrid's exporter): opened, set up, and read as plain bytes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hil.board import telnet
from hil.console.filter import Filter
from hil.errors import InfrastructureError


class Rfc2217(Filter):
    """The line of the serial server at the other end of `connection`, which is taken over.

    Sets `speed` baud, 8 data bits, no parity, one stop bit, no flow control; waits `timeout` seconds for
    the server to agree. `self.port` is the line, then. Raises `InfrastructureError` with the server's reason.
    """

    def __init__(self, connection: socket.socket, speed: int, *, timeout: float = 10.0) -> None:
        host, port = connection.getpeername()[:2]
        self._end = ""
        super().__init__(connection.detach(), Path(telnet.__file__), str(speed))
        try:
            answer = self.hear(timeout)
        except InfrastructureError:
            answer = b"it does not answer"
        if answer != b"ready":
            self.close()
            os.close(self.port)
            said = answer.decode("utf-8", "replace") if answer else "the process that talks to it has died"
            raise InfrastructureError(
                f"the serial server {host}:{port} does not set the port up: {said}",
                hint="does it serve RFC 2217 there, as labgrid's exporter does? For raw TCP say `protocol: raw`",
            )

    def obituary(self) -> str:
        """Why the line has ended, nothing while it is open or where this side closed it."""
        if not self._end and not self.closed:
            try:
                said = self.hear(0.2)
            except InfrastructureError:
                return ""
            self._end = said.decode() if said is not None else "the process between it and the serial server has died"
        return self._end
