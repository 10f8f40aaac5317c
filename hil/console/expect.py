"""pexpect on a console: its patterns, the console's reader and clock."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import pexpect
from pexpect.spawnbase import SpawnBase

from hil.console.errors import ExpectClosed, ExpectTimeout, LineClosed
from hil.errors import Evidence


class Source(Protocol):
    """The part of a console that `Expecter` uses."""

    position: int

    @property
    def now(self) -> float: ...

    @property
    def virtual(self) -> bool: ...

    def evidence(self) -> Evidence: ...

    def blocks(self, offset: int, deadline: float) -> Iterable[tuple[int, bytes]]: ...

    def write(self, data: bytes) -> None: ...


class Expecter(SpawnBase):  # type: ignore[misc]
    """A pexpect object that reads from and writes to a console.

    `quiet` is the number of seconds without a byte after which a wait ends.
    """

    def __init__(self, console: Source) -> None:
        super().__init__(timeout=30, searchwindowsize=None)
        self._console = console
        self._end = console.position
        self.delaybeforesend = None
        self._failed: LineClosed | None = None
        self._deadline = math.inf
        self.quiet = math.inf

    def expect_list(self, patterns: object, timeout: float | None = -1, *rest: object, **options: object) -> int:
        return self._synced(super().expect_list, patterns, timeout, *rest, **options)

    def expect_exact(self, patterns: object, timeout: float | None = -1, *rest: object, **options: object) -> int:
        return self._synced(super().expect_exact, patterns, timeout, *rest, **options)

    def _synced(
        self, search: Callable[..., int], patterns: object, timeout: float | None, *rest: object, **options: object
    ) -> int:
        """Search from the console's position on, and move it behind the match.

        pexpect measures timeouts in the host's time; in virtual time `read_nonblocking` keeps the deadline instead.
        """
        if self._console.virtual:
            limit = self.timeout if timeout == -1 else timeout
            self._deadline = math.inf if limit is None else self._console.now + limit
            timeout = None
        if self._end - len(self.buffer) != self._console.position:
            self._buffer = self.buffer_type()
            self._before = self.buffer_type()
            self._end = self._console.position
        self._failed = None
        try:
            return search(patterns, timeout, *rest, **options)
        except pexpect.TIMEOUT:
            raise ExpectTimeout(
                f"the line did not bring {_shown(patterns)} in time", evidence=self._console.evidence()
            ) from None
        except pexpect.EOF:
            if self._failed is None:
                raise
            raise ExpectClosed(self._failed.message, evidence=self._failed.evidence) from None
        finally:
            self._console.position = self._end - len(self.buffer)

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:
        now = self._console.now
        if not self._console.virtual:
            wait = self.timeout if timeout is None else max(0.0, timeout)
        else:
            wait = self._deadline - now
            if wait < 0:  # a busy line would otherwise be read forever
                raise pexpect.TIMEOUT("no match in time")
        try:
            for offset, block in self._console.blocks(self._end, now + min(wait, self.quiet)):
                self._end = offset + len(block)
                return block
        except LineClosed as error:
            self.flag_eof, self._failed = True, error
            raise pexpect.EOF(str(error)) from error
        raise pexpect.TIMEOUT("no output in time")

    def send(self, data: str | bytes) -> int:
        encoded = data.encode() if isinstance(data, str) else data
        self._console.write(encoded)
        return len(encoded)

    def sendline(self, line: str | bytes = "") -> int:
        return self.send((line.encode() if isinstance(line, str) else line) + b"\n")


def _shown(patterns: Any) -> str:
    """Return pexpect's patterns, a list of them or one text, as they were written."""
    every = patterns if isinstance(patterns, list) else [patterns]
    return " or ".join(repr(getattr(pattern, "pattern", pattern)) for pattern in every)
