"""A live console: waits for markers, writes losslessly, and knows when each byte came."""

from __future__ import annotations

import functools
import math
import os
import re
import secrets
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pexpect
from pexpect.spawnbase import SpawnBase

from hil.console import pump
from hil.console.lockstep import HostTooSlow, Lockstep
from hil.console.transcript import REDACTED, Line, Transcript
from hil.errors import Evidence, HilError, InfrastructureError
from hil.host.processes import start_script

BLOCK = 1 << 20
STOP_LIMIT = 2.0  # seconds for the pump to end by itself


class LineTimeout(HilError):
    """What was waited for did not come in time."""

    origin = "image"


class LineClosed(InfrastructureError):
    """The other end of the line is gone."""


class ExpectTimeout(LineTimeout, pexpect.TIMEOUT):  # type: ignore[misc]
    """What was expected in pexpect's way did not come in time."""


class ExpectClosed(LineClosed, pexpect.EOF):  # type: ignore[misc]
    """The other end is gone while something was expected in pexpect's way."""


@dataclass(frozen=True)
class Match:
    """A marker that was found.

    `index` is its place among those waited for; `start` and `end` are byte offsets in the transcript;
    `since` is where the wait began; `time_ns` is the monotonic stamp of its last byte.
    """

    index: int
    since: int
    start: int
    end: int
    time_ns: int


@dataclass(frozen=True)
class Pacing:
    """The pace of typing for a board that loses faster input: `chunk` bytes at a time, `pause` seconds before each."""

    chunk: int
    pause: float


@functools.lru_cache(maxsize=64)
def _alternatives(markers: tuple[bytes, ...]) -> re.Pattern[bytes]:
    return re.compile(b"|".join(b"(%s)" % re.escape(marker) for marker in markers))


class Console:
    """One open line.

    Takes over the file descriptor `port` (a connected socket, a tty or a pty), also where it fails to open. A process
    of its own reads it (see `pump`); this object follows the transcript that it writes. `explain_end` is asked
    for a sentence when the line ends, for example how QEMU died. `lockstep` is there where the line's other
    end keeps virtual time: it takes what is typed then. `token` gives what must not be guessed of what is
    typed, so many bytes in hexadecimal. `pacing` slows it down, None is as fast as the line takes it.
    A line that is one of the `secrets` is not in the transcript when it is typed, nor where it is echoed.
    """

    def __init__(
        self,
        port: int,
        transcript: Transcript,
        *,
        explain_end: Callable[[], str] | None = None,
        lockstep: Lockstep | None = None,
        token: Callable[[int], str] = secrets.token_hex,
        pacing: Pacing | None = None,
    ) -> None:
        self.transcript = transcript
        self.lockstep = lockstep
        self.token = token
        self.position = 0
        self.secrets: frozenset[bytes] = frozenset()
        self._echo: tuple[bytes, int] | None = None
        self._port = port
        self._explain_end = explain_end
        self._pacing = pacing
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._lifeline, theirs = socket.socketpair()
        os.set_blocking(port, False)
        fds = (port, theirs.fileno(), self._wake)
        try:
            self._pump = start_script(
                Path(pump.__file__),
                *map(str, fds),
                *(str(transcript.path), str(transcript.index_path), "tcp" if _is_tcp(port) else "other"),
                fds=fds,
            )
        except BaseException as error:
            self._lifeline.close()
            os.close(self._wake)
            os.close(port)
            if isinstance(error, OSError):
                raise InfrastructureError(f"cannot start the process that reads the line: {error}") from error
            raise
        finally:
            theirs.close()
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._poll.register(self._lifeline, select.POLLIN)
        if lockstep is not None:
            self._poll.register(lockstep, select.POLLIN)
        self._expecter: _Expecter | None = None
        self._given_up = False

    @property
    def reader(self) -> int:
        """The process id of the reader that stamps what comes."""
        return self._pump.pid

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the pump and close the line. What had arrived is in the transcript; harmless when repeated."""
        if self._port < 0:
            return
        self._lifeline.close()
        try:
            self._pump.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self._pump.kill()
            self._pump.wait()
        self.transcript.refresh()
        self.redact(self.transcript.size)
        for fd in (self._port, self._wake):
            os.close(fd)
        if self.lockstep is not None:
            self.lockstep.close()
        self._port = -1

    @property
    def now(self) -> float:
        """The seconds of the clock that bounds all waits on this line: virtual time where the machine keeps it, else
        the host's monotonic clock. Virtual time stands while nothing is waited for.
        """
        if self.lockstep is None:
            return time.monotonic()
        try:
            return self.lockstep.now
        except HostTooSlow as error:
            raise self._too_slow(error) from None

    @property
    def closed(self) -> bool:
        return self._port < 0

    @property
    def ended(self) -> bool:
        """Whether nothing more can come: closed by this side, or by the other as far as it is known, or given up."""
        self.transcript.refresh()
        return self.closed or self.transcript.closed is not None or self._given_up

    def fileno(self) -> int:
        """Readable when something has arrived since the last read, for select and friends."""
        return self._wake

    def evidence(self, lines: int = 20) -> Evidence:
        """The last lines and where to read on, for an error."""
        self.redact()
        return Evidence(self.transcript.path, self.transcript.tail(lines), self.transcript.size)

    def wait_for(self, *markers: bytes, timeout: float) -> Match:
        """Wait until one of the literal `markers` arrives, from `position` on, for `timeout` seconds at most.

        Moves `position` behind the marker; on a time-out leaves it. Each byte is looked at once.

        Raises `LineTimeout`, `LineClosed`.
        """
        pattern = _alternatives(markers)
        keep = max(map(len, markers)) - 1
        deadline = self.now + timeout
        since = self.position
        carry = b""
        for offset, block in self._blocks(since, deadline):
            window = carry + block
            if match := pattern.search(window):
                base = offset - len(carry)
                self.position = base + match.end()
                stamp = self.transcript.time_at(self.position - 1)
                return Match((match.lastindex or 1) - 1, since, base + match.start(), self.position, stamp)
            carry = window[-keep:] if keep else b""
        wanted = " or ".join(repr(marker.decode("utf-8", "backslashreplace")) for marker in markers)
        raise LineTimeout(
            f"waited {timeout:g} s for {wanted} on the line; {self.transcript.size - since} bytes came instead",
            evidence=self.evidence(),
        )

    def read(self, timeout: float) -> bytes:
        """Whatever has arrived since `position`, waiting for the first byte `timeout` seconds at most.

        Returns no bytes after a time-out. Raises `LineClosed`.
        """
        for offset, block in self._blocks(self.position, self.now + timeout):
            self.position = offset + len(block)
            return block
        return b""

    def skip(self) -> int:
        """Forget what has arrived so far; returns the new `position`."""
        self.transcript.refresh()
        self.position = self.transcript.size
        return self.position

    def write(self, data: bytes, *, timeout: float = 30.0) -> None:
        """Send all of `data`, waiting for the other side to take it, `timeout` seconds at most.

        In virtual time these bound how far the machine goes before somebody waits for what it says.

        Raises `LineTimeout` with the number of bytes taken, `LineClosed`.
        """
        __tracebackhide__ = data.rstrip(b"\r\n") in self.secrets
        if self.closed:
            raise self._closed("it was closed by this side")
        self.transcript.sent(self._hidden(data))
        if self.lockstep is not None:
            try:
                self.lockstep.type(data, timeout)
            except HostTooSlow as error:
                raise self._too_slow(error) from None
            except TimeoutError:
                raise self._too_slow(self.lockstep.give_up()) from None
            return
        deadline = time.monotonic() + timeout
        view = memoryview(data)
        writable = select.poll()
        writable.register(self._port, select.POLLOUT)
        while view:
            try:
                if self._pacing is None:
                    view = view[os.write(self._port, view) :]
                else:
                    time.sleep(self._pacing.pause)
                    view = view[os.write(self._port, view[: self._pacing.chunk]) :]
            except BlockingIOError:
                if not writable.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    taken = len(data) - len(view)
                    raise LineTimeout(
                        f"the line took {taken} of {len(data)} bytes in {timeout:.3g} s",
                        hint="the other side does not read: is the machine stopped or flow control on?",
                        evidence=self.evidence(),
                    ) from None
            except OSError as error:
                raise self._closed(os.strerror(error.errno or 0)) from error

    def redact(self, end: int | None = None) -> None:
        """Remove what has come of the echo of the secret typed last from the transcript; the echo ends before `end`."""
        self.transcript.refresh()
        if self._echo is not None:
            self.transcript.redact(*self._echo, self.transcript.size if end is None else end)
            self._echo = self._echo if end is None else None

    def _hidden(self, data: bytes) -> bytes:
        """Return what the transcript may have of `data`, which is about to be typed."""
        secret = data.rstrip(b"\r\n")
        if self._echo is None and secret not in self.secrets:
            return data
        self.transcript.refresh()
        self.redact(self.transcript.size)
        if secret not in self.secrets:
            return data
        self._echo = secret, self.transcript.size
        return REDACTED + data[len(secret) :]

    def stamp(self, offset: int) -> int:
        """When the byte at `offset` came, in ns: by virtual time where there is one, else by the host's monotonic."""
        virtual = self.lockstep.stamp(offset) if self.lockstep is not None else None
        return self.transcript.time_at(offset) if virtual is None else virtual

    def sendline(self, line: str) -> None:
        """Send `line` and a line feed, as the Enter key does."""
        self.write(line.encode() + b"\n")

    def expect(self, pattern: object, timeout: float = 30.0, **options: object) -> int:
        """pexpect's own `expect`, from `position` on; see `expecter` for `before`, `match`, `after`."""
        found: int = self.expecter.expect(pattern, timeout=timeout, **options)
        return found

    @property
    def expecter(self) -> _Expecter:
        """This line as a pexpect object, for those who know its ways."""
        if self._expecter is None:
            self._expecter = _Expecter(self)
        return self._expecter

    def lines(self, start: int = 0, end: int | None = None) -> Iterator[Line]:
        """The console's lines between two offsets, with their times."""
        self.transcript.refresh()
        return self.transcript.lines(start, end, first=self.transcript.line_number(start))

    def _blocks(self, offset: int, deadline: float) -> Iterable[tuple[int, bytes]]:
        """Blocks of received bytes from `offset` on, as they come, until the deadline, by the clock of `now`."""
        transcript, lockstep = self.transcript, self.lockstep
        while True:
            self._drain_wake()  # before the refresh, so that no chunk is missed
            if lockstep is not None:
                lockstep.take()
            transcript.refresh()
            while offset < transcript.size:
                block = transcript.read(offset, min(transcript.size, offset + BLOCK))
                if lockstep is not None:
                    lockstep.saw()
                yield offset, block
                offset += len(block)
            if transcript.closed is not None:
                raise self._closed(transcript.closed)
            if self.closed:
                raise self._closed("it was closed by this side")
            if lockstep is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return
            else:
                if lockstep.paused_at is not None and lockstep.paused_at <= offset:
                    if lockstep.passed(deadline):
                        return
                    lockstep.go_on(deadline)
                remaining = lockstep.patience
                if remaining <= 0:
                    raise self._too_slow(lockstep.give_up())
            ready = dict(self._poll.poll(remaining * 1000))
            if self._wake not in ready and self._lifeline.fileno() in ready and not transcript.refresh():
                raise self._closed("the process that reads it has died")

    def _too_slow(self, error: HostTooSlow) -> InfrastructureError:
        self._given_up = True
        return InfrastructureError(
            str(error),
            hint="is the host overloaded, or QEMU stopped? The board is given up; nothing was typed at it",
            evidence=self.evidence(),
        )

    def _drain_wake(self) -> None:
        if self.closed:
            return
        try:
            os.eventfd_read(self._wake)
        except BlockingIOError:
            pass

    def _closed(self, reason: str) -> LineClosed:
        told = self._explain_end() if self._explain_end else ""
        for secret in self.secrets:  # a replay quotes what was sent
            told = told.replace(secret.decode(), REDACTED.decode())
        message = f"the line has ended ({reason})" + (f": {told}" if told else "")
        return LineClosed(message, evidence=self.evidence())


def _is_tcp(port: int) -> bool:
    """Return whether the line is a TCP connection, without a duplicate, which would keep a tty locked."""
    try:
        line = socket.socket(fileno=port)
    except OSError:  # a tty
        return False
    tcp = line.type == socket.SOCK_STREAM and line.family in (socket.AF_INET, socket.AF_INET6)
    line.detach()
    return tcp


def _shown(patterns: Any) -> str:
    """Return pexpect's patterns, a list of them or one text, as they were written."""
    every = patterns if isinstance(patterns, list) else [patterns]
    return " or ".join(repr(getattr(pattern, "pattern", pattern)) for pattern in every)


class _Expecter(SpawnBase):  # type: ignore[misc]
    """pexpect over a console: its patterns, our reader."""

    def __init__(self, console: Console) -> None:
        super().__init__(timeout=30, searchwindowsize=None)
        self._console = console
        self._end = console.position
        self.delaybeforesend = None
        self._failed: LineClosed | None = None
        self._deadline = math.inf
        self.quiet = math.inf  # seconds without a byte after which a wait ends

    def expect_list(self, patterns: object, timeout: float | None = -1, *rest: object, **options: object) -> int:
        return self._synced(super().expect_list, patterns, timeout, *rest, **options)

    def expect_exact(self, patterns: object, timeout: float | None = -1, *rest: object, **options: object) -> int:
        return self._synced(super().expect_exact, patterns, timeout, *rest, **options)

    def _synced(
        self, search: Callable[..., int], patterns: object, timeout: float | None, *rest: object, **options: object
    ) -> int:
        """Begin where the console is, and leave it behind what was matched.

        pexpect counts the host's time, so in virtual time it has no limit of its own.
        """
        if self._console.lockstep is not None:
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
                f"what was expected did not come on the line: {_shown(patterns)}", evidence=self._console.evidence()
            ) from None
        except pexpect.EOF:
            if self._failed is None:
                raise
            raise ExpectClosed(self._failed.message, evidence=self._failed.evidence) from None
        finally:
            self._console.position = self._end - len(self.buffer)

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> bytes:
        now = self._console.now
        if self._console.lockstep is None:
            wait = self.timeout if timeout is None else max(0.0, timeout)
        else:
            wait = self._deadline - now
            if wait < 0:  # a line that never rests would be read for ever
                raise pexpect.TIMEOUT("no match in time")
        try:
            for offset, block in self._console._blocks(self._end, now + min(wait, self.quiet)):
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
