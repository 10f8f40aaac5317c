"""A process of its own in the line: what passes it can be translated, delayed or broken."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path

from hil.errors import InfrastructureError
from hil.host.processes import start_script

STOP_LIMIT = 2.0  # seconds for the process to end by itself
ANSWER = 65536  # bytes of an answer taken at a time


class Filter:
    """Runs `script` between the file descriptor `port` and `self.port`.

    The script is started with `python -I -S SCRIPT PORT_FD OUR_FD CONTROL_FD ARGUMENTS...`. It ends
    when either side of the line has ended, and with its owner: then the control socket reads end of file.
    Takes `port` over, whatever happens. `self.port` belongs to who reads it, as a rule a `Console`.
    """

    def __init__(self, port: int, script: Path, *arguments: str) -> None:
        near, theirs = socket.socketpair()
        self._control, control = socket.socketpair()
        self._said = b""
        try:
            os.set_blocking(port, False)
            theirs.setblocking(False)
            fds = (port, theirs.fileno(), control.fileno())
            self._process = start_script(script, *map(str, fds), *arguments, fds=fds)
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

    def tell(self, line: bytes) -> None:
        """Send the process one line; nothing happens where it has ended."""
        try:
            self._control.sendall(line + b"\n")
        except OSError:
            pass

    def hear(self, timeout: float) -> bytes | None:
        """The next line from the process, None where it has ended.

        Raises `InfrastructureError` when none came within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while b"\n" not in self._said:
            try:
                self._control.settimeout(max(0.0, deadline - time.monotonic()) or 1e-6)
                data = self._control.recv(ANSWER)
            except (TimeoutError, BlockingIOError):
                raise InfrastructureError(f"the process in the line did not answer in {timeout:g} s") from None
            except OSError:  # closed by this side, or reset with the process's end
                data = b""
            if not data:
                return None
            self._said += data
        line, _, self._said = self._said.partition(b"\n")
        return line

    def hang_up(self) -> None:
        """Let the process end; what it says last can still be heard."""
        try:
            self._control.shutdown(socket.SHUT_WR)
        except OSError:  # it has ended
            pass

    def close(self) -> None:
        """End the process, after what was written has been passed on; harmless when repeated."""
        self._control.close()
        try:
            self._process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
