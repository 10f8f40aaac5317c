"""A process in the line that translates, delays or breaks what passes it."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from hil.errors import InfrastructureError
from hil.host.processes import reap, start_script

STOP_LIMIT = 2.0  # seconds for the process to end by itself
PRIORITY = 40  # of SCHED_FIFO, below the pump's: a stamp is only as good as the processes before the pump
ANSWER = 65536  # bytes read at a time


class Filter:
    """A process that runs `script` between the file descriptors `port` and `self.port`.

    The command is `python -I -S SCRIPT PORT_FD OUR_FD CONTROL_FD ARGUMENTS...`. The script must end when either side
    of the line has ended, and when the control socket reads end of file: its owner has ended. Takes over `port` in any
    case. The user of `self.port`, as a rule a `Console`, must close it.
    """

    def __init__(self, port: int, script: Path, *arguments: str) -> None:
        near, theirs = socket.socketpair()
        self._control, control = socket.socketpair()
        self._received = b""
        try:
            os.set_blocking(port, False)
            theirs.setblocking(False)
            fds = (port, theirs.fileno(), control.fileno())
            self._process = start_script(script, *map(str, fds), *arguments, fds=fds, priority=PRIORITY)
        except BaseException:
            near.close()
            self._control.close()
            raise
        finally:
            theirs.close()
            control.close()
            os.close(port)
        self.port = near.detach()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def closed(self) -> bool:
        return self._control.fileno() < 0

    def send(self, line: bytes) -> None:
        """Send the process a line; does nothing if it has ended."""
        with suppress(OSError):
            self._control.sendall(line + b"\n")

    def receive(self, timeout: float) -> bytes | None:
        """Return the next line from the process, None if it has ended.

        Raises `InfrastructureError` when none arrives within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._received:
            try:
                self._control.settimeout(max(0.0, deadline - time.monotonic()) or 1e-6)
                data = self._control.recv(ANSWER)
            except (TimeoutError, BlockingIOError):
                raise InfrastructureError(f"the process in the line did not answer in {timeout:g} s") from None
            except OSError:  # closed by this side, or reset with the process's end
                data = b""
            if not data:
                return None
            self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return line

    def finish(self) -> None:
        """Let the process end; its last lines can still be read."""
        with suppress(OSError):  # it has ended
            self._control.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End the process after it has passed on what was written; harmless when repeated."""
        self._control.close()
        reap(self._process, STOP_LIMIT)
