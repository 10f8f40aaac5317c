"""Processes on this machine: started so that they end with their owner, signalled without hitting a stranger."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO


@dataclass(frozen=True)
class Process:
    """A process, identified by pid and start time: a bare pid may belong to another process by now.

    `start` is in clock ticks since the machine booted.
    """

    pid: int
    start: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the running process with the id `pid`; None if there is none."""
        fields = _stat(pid)
        return cls(pid, int(fields[19])) if fields and fields[0] not in "ZX" else None

    @property
    def alive(self) -> bool:
        return Process.of(self.pid) == self

    @property
    def parent(self) -> int:
        """The id of its parent; 0 if it has ended."""
        fields = _stat(self.pid)
        return int(fields[1]) if fields and self.alive else 0

    @property
    def state(self) -> str:
        """Its state as in ps(1), one letter; empty if it has ended."""
        fields = _stat(self.pid)
        return fields[0] if fields and self.alive else ""

    @property
    def seconds(self) -> float:
        """The processor time it has used, in seconds; 0 if it has ended."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields and self.alive else 0.0

    @property
    def arguments(self) -> list[str]:
        """Its command line; empty if it has ended."""
        try:
            return Path(f"/proc/{self.pid}/cmdline").read_text("utf-8", "replace").split("\0")[:-1]
        except OSError:
            return []

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send it the signal, unless it has ended."""
        with suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)

    def wait(self, limit: float | None) -> bool:
        """Wait until it has ended, at most `limit` seconds (None: without limit); return whether it has."""
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


def tied(command: Sequence[str]) -> list[str]:
    """Return `command` such that it dies with the thread that starts it, also after SIGKILL.

    Without util-linux's setpriv the command is returned unchanged.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else [*command]


def start_script(
    script: Path, *arguments: str, fds: Sequence[int], output: IO[bytes] | None = None, priority: int = 0
) -> subprocess.Popen[bytes]:
    """Start the Python `script`, isolated and without site packages, with the descriptors `fds` open.

    It writes to `output` (None: this process' streams) and is in a session of its own: Ctrl-C at the terminal
    is for the test, which ends the script in order. `priority` is that of SCHED_FIFO, where permitted; 0 is none.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(script), *arguments],
        pass_fds=fds,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    if priority:
        with suppress(OSError, AttributeError):  # not permitted, or not on this system
            os.sched_setscheduler(process.pid, os.SCHED_FIFO, os.sched_param(priority))
    return process


def reap(process: subprocess.Popen[bytes], grace: float) -> None:
    """Wait until a process that is to end by itself has ended, `grace` seconds at most; then kill it."""
    if process.poll() is None:  # Popen's own wait with a limit sleeps for up to 50 ms at a time
        fd = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            if not poll.poll(grace * 1000):
                process.kill()
        finally:
            os.close(fd)
        process.wait()


def signal_group(pid: int, number: signal.Signals) -> None:
    """Send the signal to the process group that `pid` leads, if it still exists."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_group(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a process that leads its group: SIGTERM, SIGKILL after `grace` seconds, also for its children; reap it."""
    if grace and process.poll() is None:
        signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat after the name, which may hold anything; empty if there is no process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []
