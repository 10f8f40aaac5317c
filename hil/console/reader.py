"""The process that reads a line (see `pump`), seen from its owner."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

from hil.console import pump
from hil.console.transcript import Transcript
from hil.errors import InfrastructureError
from hil.host.processes import reap, start_script

STOP_LIMIT = 2.0  # seconds for the process to end by itself
PRIORITY = 50  # of SCHED_FIFO: halves the tail of the stamps' errors


class Reader:
    """A running pump from the file descriptor `port` into `transcript`.

    Takes over `port`, also where the process cannot be started. `wake` becomes readable when something has arrived.
    """

    def __init__(self, port: int, transcript: Transcript) -> None:
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._port = port
        self._lifeline, theirs = socket.socketpair()
        os.set_blocking(port, False)
        fds = (port, theirs.fileno(), self.wake)
        try:
            files = (str(transcript.path), str(transcript.index_path))
            kind = "tcp" if _is_tcp(port) else "other"
            self._process = start_script(Path(pump.__file__), *map(str, fds), *files, kind, fds=fds, priority=PRIORITY)
        except BaseException as error:
            self._lifeline.close()
            os.close(self.wake)
            os.close(port)
            if isinstance(error, OSError):
                raise InfrastructureError(f"cannot start the process that reads the line: {error}") from error
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def register(self, poll: select.poll) -> None:
        """Have `poll` wait for what arrives and for the end of the process."""
        poll.register(self.wake, select.POLLIN)
        poll.register(self._lifeline, select.POLLIN)

    def died(self, ready: dict[int, int]) -> bool:
        """Check whether the process is gone and nothing has arrived, in a result of the registered poll."""
        return self.wake not in ready and self._lifeline.fileno() in ready

    def drain(self) -> None:
        """Reset `wake`."""
        try:
            os.eventfd_read(self.wake)
        except BlockingIOError:
            pass

    def stop(self) -> None:
        """End the process; the transcript then holds what had arrived."""
        self._lifeline.close()
        reap(self._process, STOP_LIMIT)

    def close(self) -> None:
        """Close the line, after `stop`."""
        for fd in (self._port, self.wake):
            os.close(fd)


def _is_tcp(port: int) -> bool:
    """Check whether the line is a TCP connection, without duplicating it: a duplicate would keep a tty locked."""
    try:
        line = socket.socket(fileno=port)
    except OSError:  # a tty
        return False
    tcp = line.type == socket.SOCK_STREAM and line.family in (socket.AF_INET, socket.AF_INET6)
    line.detach()
    return tcp
