"""The processes of a lab: known by a mark in their environment, and by pid and start, never by a bare pid."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hil.errors import InfrastructureError

MARK = "HIL_LAB"
"""The variable that all of a lab's processes have in their environment: the lab's directory."""

DEATH_LIMIT = 10.0  # seconds for killed processes to be gone (a QEMU unmaps some GB)


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


def marked(directory: Path) -> Iterator[Process]:
    """All processes of the lab in `directory` (ours is none of them), whoever their parents are now."""
    mark = f"{MARK}={directory}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        process = Process.of(int(entry.name))
        with suppress(OSError):  # it has ended, or it is another user's
            if process and mark in (entry / "environ").read_bytes().split(b"\0") and process.alive:
                yield process


def sweep(directory: Path) -> int:
    """Kill all that is left of the lab in `directory`, and return how many there were.

    Raises `InfrastructureError` where some do not end within `DEATH_LIMIT` seconds.
    """
    limit = time.monotonic() + DEATH_LIMIT
    seen: set[Process] = set()
    while found := set(marked(directory)):
        seen |= found
        for process in found:
            process.kill()
        if stubborn := [process for process in found if not process.wait(limit - time.monotonic())]:
            pids = ", ".join(str(process.pid) for process in stubborn)
            raise InfrastructureError(
                f"processes of the lab in {directory} do not end: {pids}", hint="see what they wait for, and try again"
            )
    return len(seen)


def _stat(pid: int) -> list[str]:
    """The fields of the process after its name (which may hold anything); empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
