"""A live console: waits for markers, writes without loss, stamps each byte."""

from __future__ import annotations

import functools
import os
import re
import secrets
import select
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hil.console.errors import LineClosed, LineTimeout
from hil.console.expect import Expecter
from hil.console.lines import Line
from hil.console.lockstep import HostTooSlow, Lockstep
from hil.console.reader import Reader
from hil.console.trace import Trace
from hil.console.transcript import Redactor, Transcript
from hil.errors import Evidence, InfrastructureError
from hil.host.closing import Closing

BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class Match:
    """A found marker.

    `index` is its position among the markers of the wait; `start` and `end` are byte offsets in the transcript;
    `time_ns` is the monotonic stamp of the marker's last byte.
    """

    index: int
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


class Console(Closing):
    """An open line, read from `position` on.

    Takes over the file descriptor `port` (a connected socket, a tty or a pty), also where opening fails. A process of
    its own reads it (see `pump`); this object follows the transcript which that process writes.

    `explain_end` returns a sentence on why the line ended, for example how QEMU died. With `lockstep` the other end
    keeps virtual time, and typing goes through it. `token` returns that many random bytes in hexadecimal, for values
    that must not be guessed. `pacing` slows typing down. `passwords` keeps secrets out of the transcript. `typed` is
    the number of bytes that were given to `write`.
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
        self.typed = 0
        self.passwords = Redactor(transcript)
        self._trace = Trace(transcript, self.passwords)
        self._port = port
        self._explain_end = explain_end
        self._pacing = pacing
        self._reader = Reader(port, transcript)
        self._poll = select.poll()
        self._reader.register(self._poll)
        if lockstep is not None:
            self._poll.register(lockstep, select.POLLIN)
        self._expecter: Expecter | None = None
        self._given_up = False

    @property
    def reader(self) -> int:
        """The process id of the reader."""
        return self._reader.pid

    @property
    def virtual(self) -> bool:
        return self.lockstep is not None

    def close(self) -> None:
        """Stop the reader and close the line; harmless when repeated. The transcript keeps what had arrived."""
        if self._port < 0:
            return
        self._reader.stop()
        self.transcript.refresh()
        self.passwords.redact(self.transcript.size)
        self._trace(end=True)
        self._reader.close()
        if self.lockstep is not None:
            self.lockstep.close()
        self._port = -1

    @property
    def now(self) -> float:
        """The clock of all waits on this line, in seconds: virtual time with `lockstep`, else the monotonic clock.

        Virtual time stands still while nothing is waited for.
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
        """Whether nothing more can arrive: closed by either side, or given up."""
        self.transcript.refresh()
        return self.closed or self.transcript.closed is not None or self._given_up

    def fileno(self) -> int:
        """Return a file descriptor that is readable when something has arrived since the last read."""
        return self._reader.wake

    def evidence(self, lines: int = 20) -> Evidence:
        """Return the last lines and the position, for an error."""
        self.passwords.redact()
        return Evidence(self.transcript.path, self.transcript.tail(lines), self.transcript.size)

    def wait_for(self, *markers: bytes, timeout: float) -> Match:
        """Wait until one of the literal `markers` arrives after `position`, for `timeout` seconds at most.

        Moves `position` behind the marker; a timeout leaves it. Searches each byte once.

        Raises `LineTimeout`, `LineClosed`.
        """
        pattern = _alternatives(markers)
        keep = max(map(len, markers)) - 1
        deadline = self.now + timeout
        since, carry = self.position, b""
        for offset, block in self.blocks(since, deadline):
            window = carry + block
            if match := pattern.search(window):
                base = offset - len(carry)
                self.position = base + match.end()
                stamp = self.transcript.time_at(self.position - 1)
                return Match((match.lastindex or 1) - 1, base + match.start(), self.position, stamp)
            carry = window[-keep:] if keep else b""
        expected = " or ".join(repr(marker.decode("utf-8", "backslashreplace")) for marker in markers)
        raise LineTimeout(
            f"waited {timeout:g} s for {expected} on the line; {self.transcript.size - since} bytes came instead",
            evidence=self.evidence(),
        )

    def read(self, timeout: float) -> bytes:
        """Return all bytes after `position`; wait for the first one `timeout` seconds at most.

        Returns no bytes after a timeout. Raises `LineClosed`.
        """
        for offset, block in self.blocks(self.position, self.now + timeout):
            self.position = offset + len(block)
            return block
        return b""

    def skip(self) -> int:
        """Move `position` behind everything that has arrived, and return it."""
        self.transcript.refresh()
        self.position = self.transcript.size
        return self.position

    def write(self, data: bytes, *, timeout: float = 30.0) -> None:
        """Send all of `data`; wait for the other side to take it, `timeout` seconds at most.

        In virtual time `timeout` bounds how far the machine runs before the next wait.

        Raises `LineTimeout` with the number of bytes taken, `LineClosed`.
        """
        __tracebackhide__ = data.rstrip(b"\r\n") in self.passwords.secrets
        if self.closed:
            raise self._closed("it was closed by this side")
        self.typed += len(data)
        self.transcript.sent(self.passwords.typed(data))
        if self.lockstep is None:
            self._write(data, timeout)
            return
        try:
            self.lockstep.type(data, timeout)
        except HostTooSlow as error:
            raise self._too_slow(error) from None
        except TimeoutError:
            raise self._too_slow(self.lockstep.give_up()) from None

    def _write(self, data: bytes, timeout: float) -> None:
        __tracebackhide__ = data.rstrip(b"\r\n") in self.passwords.secrets
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
                    raise LineTimeout(
                        f"the line took {len(data) - len(view)} of {len(data)} bytes in {timeout:.3g} s",
                        hint="Check whether the machine is stopped or flow control is on: it does not read.",
                        evidence=self.evidence(),
                    ) from None
            except OSError as error:
                raise self._closed(os.strerror(error.errno or 0)) from error

    def stamp(self, offset: int) -> int:
        """Return the stamp of the byte at `offset` in ns: in virtual time if known, else the host's monotonic one."""
        virtual = self.lockstep.stamp(offset) if self.lockstep is not None else None
        return self.transcript.time_at(offset) if virtual is None else virtual

    def sendline(self, line: str) -> None:
        """Send `line` and a line feed."""
        self.write(line.encode() + b"\n")

    def expect(self, pattern: object, timeout: float = 30.0, **options: object) -> int:
        """Call pexpect's `expect` from `position` on; `expecter` then holds `before`, `match` and `after`."""
        found: int = self.expecter.expect(pattern, timeout=timeout, **options)
        return found

    @property
    def expecter(self) -> Expecter:
        """This line as a pexpect object."""
        if self._expecter is None:
            self._expecter = Expecter(self)
        return self._expecter

    def lines(self, start: int = 0, end: int | None = None) -> Iterator[Line]:
        """Yield the lines between two offsets."""
        self.transcript.refresh()
        return self.transcript.lines(start, end, first=self.transcript.line_number(start))

    def blocks(self, offset: int, deadline: float) -> Iterable[tuple[int, bytes]]:
        """Yield blocks of received bytes from `offset` on as they arrive, until `deadline` by the clock of `now`.

        Raises `LineClosed`.
        """
        transcript, lockstep = self.transcript, self.lockstep
        while True:
            if not self.closed:
                self._reader.drain()  # before the refresh, so that no chunk is missed
            if lockstep is not None:
                lockstep.take()
            transcript.refresh()
            self._trace()
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
            if self._reader.died(dict(self._poll.poll(remaining * 1000))) and not transcript.refresh():
                raise self._closed("the process that reads it has died")

    def _too_slow(self, error: HostTooSlow) -> InfrastructureError:
        self._given_up = True
        return InfrastructureError(
            str(error),
            hint="Check whether the host is overloaded or QEMU is stopped. The board is given up; nothing was typed.",
            evidence=self.evidence(),
        )

    def _closed(self, reason: str) -> LineClosed:
        # a replay quotes what was sent
        explanation = self.passwords.hidden(self._explain_end()) if self._explain_end else ""
        message = f"the line has ended ({reason})" + (f": {explanation}" if explanation else "")
        return LineClosed(message, evidence=self.evidence())
