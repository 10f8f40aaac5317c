"""The processes that a lab's supervisor starts. They end with it; their output is kept in logs of a bounded size."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hil.errors import InfrastructureError
from hil.host.processes import Process, tied
from hil.lab.processes import DEATH_LIMIT

LOG_SIZE = 1 << 20  # bytes; then a new file begins, and the one before becomes *.log.1
_TAIL = 12  # lines


class Child:
    """A running command. The file `log` takes its output, both streams; `ended` is called at its end.

    It dies with the thread that creates this object, so create it in the main thread. Raises `InfrastructureError` if
    it cannot be started.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.log = log
        self.exit_reason = ""  # how it ended
        self.over = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._notify = ended
        self._lines: deque[str] = deque(maxlen=_TAIL)
        self._part = b""
        self._sought: tuple[re.Pattern[str], asyncio.Future[re.Match[str]]] | None = None
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        self._file = log.open("ab")
        self._loop.add_reader(self._pipe, self._read)
        try:
            self._popen = subprocess.Popen(
                tied(command),
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            self._close()
            raise InfrastructureError(f"cannot start {command[0]}: {error.strerror}") from error
        finally:
            os.close(theirs)
        process = Process.of(self._popen.pid)
        self._pidfd = os.pidfd_open(self._popen.pid)
        self.process = process or Process(self._popen.pid, 0)  # it may have ended already
        self._loop.add_reader(self._pidfd, self._reap)

    @property
    def running(self) -> bool:
        return not self.over.is_set()

    def kill(self) -> None:
        if self.running:
            self._popen.kill()

    async def gone(self) -> None:
        """Wait for its end, at most `DEATH_LIMIT` seconds. Raises `InfrastructureError`."""
        try:
            await asyncio.wait_for(self.over.wait(), DEATH_LIMIT)
        except TimeoutError:
            raise InfrastructureError(f"{self.name} (pid {self.process.pid}) does not end") from None

    async def output(self, pattern: str, limit: float) -> re.Match[str]:
        """Wait for a line of output with `pattern`, at most `limit` seconds; earlier lines do not count.

        Raises `InfrastructureError` with its last lines after `limit`, or when it ends.
        """
        found: asyncio.Future[re.Match[str]] = self._loop.create_future()
        self._sought = re.compile(pattern), found
        try:
            await self.unless_over(found, limit)
            if found.done():
                return found.result()
            raise self.failure(f"{self.name} {self.exit_reason or f'is not ready within {limit:g} s'}")
        finally:
            self._sought = None

    async def unless_over(self, future: asyncio.Future[Any], limit: float) -> None:
        """Wait for the future, at most `limit` seconds, and at most until the process ends."""
        over = asyncio.ensure_future(self.over.wait())
        await asyncio.wait({future, over}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        over.cancel()

    def failure(self, message: str) -> InfrastructureError:
        """Return an error with the last lines of output."""
        self._read()
        last = [*self._lines, *([self._part.decode("utf-8", "replace")] if self._part else [])]
        if last:
            message += "; its last output:\n" + "\n".join(f"  | {line}" for line in last)
        return InfrastructureError(message, hint=f"see its whole output in {self.log}")

    def _read(self) -> None:
        try:
            data = os.read(self._pipe, 65536) if self._pipe >= 0 else b""
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        if self._file.tell() > LOG_SIZE:
            self._file.close()
            self.log.replace(f"{self.log}.1")
            self._file = self.log.open("ab")
        self._file.write(data)
        self._file.flush()
        *lines, self._part = (self._part + data).split(b"\n")
        self._part = self._part[-4096:]
        for line in (raw.decode("utf-8", "replace").rstrip("\r") for raw in lines):
            self._lines.append(line)
            if self._sought and (match := self._sought[0].search(line)) and not self._sought[1].done():
                self._sought[1].set_result(match)

    def _close(self) -> None:
        if self._pipe >= 0:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._file.close()
            self._pipe = -1

    def _reap(self) -> None:
        status = self._popen.wait()
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self.exit_reason = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        self.over.set()
        self._notify()
