"""Processes by pid and start, never by a bare pid, which may be another's by now."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process: its id, and when it started, in clock ticks since the machine did."""

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has the id `pid` now; None where none has or it has ended."""
        fields = _stat(pid)
        return cls(pid, int(fields[19])) if fields and fields[0] not in "ZX" else None

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    @property
    def parent(self) -> int:
        """The id of its parent; 0 when it has ended."""
        fields = _stat(self.pid)
        return int(fields[1]) if fields and self.alive else 0

    @property
    def state(self) -> str:
        """Its state as in ps(1), one letter; empty when it has ended."""
        fields = _stat(self.pid)
        return fields[0] if fields and self.alive else ""

    @property
    def seconds(self) -> float:
        """The processor time that it has used, in seconds; 0 when it has ended."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields and self.alive else 0.0

    @property
    def arguments(self) -> list[str]:
        """Its command line; empty when it has ended."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_text("utf-8", "replace").split("\0")[:-1]
        except OSError:
            return []

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it the signal; nothing happens when it has ended, nor to another that has its id by now."""
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)

    def wait(self, limit: float | None) -> bool:
        """Wait for its end, at most `limit` seconds where one is given, and return whether it has ended."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return True
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            return not self.alive or bool(poll.poll(None if limit is None else max(0.0, limit) * 1000))
        finally:
            os.close(fd)


def _stat(pid: int) -> list[str]:
    """The fields of the process after its name (which may hold anything); empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
