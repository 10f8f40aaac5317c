"""Plays a transcript: to a terminal, or to a console as the machine that it came from would."""

from __future__ import annotations

import os
import re
import select
import socket
import threading
import time
import zlib
from collections.abc import Iterator

from hil.console.recording import ENDED, RECEIVED, SENT, LineEvent, Recording, merged
from hil.console.transcript import REDACTED, printable
from hil.errors import ConfigurationError, HilError

STOP_LIMIT = 2.0  # seconds for the playing thread to end
MARGIN = 4096  # bytes on both sides of a chunk that are looked at with it: more than any mark or seal has
SHOWN = 100  # characters of a line in an error

# what differs from run to run: words of 8, 16 or 64 hexadecimal digits, as shell and runner draw them. One
# without a letter is a number, except where the shell has its marks
NONCE = re.compile(
    rb"(?:(?<=[@'\"])|(?<![0-9A-Za-z])(?=[0-9]*[a-f]))(?:[0-9a-f]{64}|[0-9a-f]{16}|[0-9a-f]{8})(?![0-9A-Za-z])"
)
WORD = re.compile(rb"(?<![0-9a-f])(?:[0-9a-f]{16}|[0-9a-f]{8})(?![0-9a-f])")
HEX = re.compile(rb"[0-9a-f]*")
# the agent's seal proves itself, nonce included, with the CRC-32 of its own text
SEAL = re.compile(rb"(hil-seal [^\r\n]*?) sum=([0-9A-Fa-f]{8})(?=\r*\n)")


class _Over(Exception):
    """There is nothing more to play; the text says why."""


def paced(recording: Recording, speed: float = 1.0) -> Iterator[bytes]:
    """The received chunks, each when it is due; `speed` 2 is twice as fast as recorded, 0 at once."""
    begin = time.monotonic()
    for event in recording.events() if speed else merged(recording.events()):
        if event.kind != RECEIVED:
            continue
        if speed:
            due = begin + (recording.seconds(event.time_ns) or 0.0) / speed
            time.sleep(max(0.0, due - time.monotonic()))
        yield event.data


class Player:
    """Plays the received side of `recording` into a socket whose other end, `port`, a `Console` takes over.

    What came after something was sent is played only after as much has been sent to the player; what
    is sent must be what the recording has, nonces aside: these are replaced in what is played. A
    recording without an index is played as it is, whatever is sent. `speed` 1 is the recorded pace (a
    pause before something is sent is the sender's own), 2 is twice as fast, 0 as fast as it is taken.

    The line stays open at the recording's end unless the recorded line ended there, too.
    """

    def __init__(self, recording: Recording, speed: float = 0.0) -> None:
        self.recording = recording
        self._speed = speed
        self._counterpart = _Counterpart(recording)
        self._end = ""
        near, self._far = socket.socketpair()
        self._far.setblocking(False)
        self.port = near.detach()
        self._thread = threading.Thread(target=self._run, name="hil-replay", daemon=True)
        self._thread.start()

    def explain_end(self) -> str:
        """Why the line ended, for `Console`."""
        return self._end

    @property
    def playing(self) -> bool:
        """Whether the line is open at this end."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End the playing; harmless when repeated. The port is its console's to close."""
        if self._far.fileno() < 0:
            return
        try:
            self._far.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end was first
            pass
        self._thread.join(STOP_LIMIT)
        self._far.close()

    def _run(self) -> None:
        try:
            self._play()
        except _Over as over:
            self._end = str(over)
        except HilError as error:
            self._end = str(error)
        except (BrokenPipeError, ConnectionResetError):
            self._end = "the other end is closed"
        except OSError as error:
            self._end = f"the replay of {self.recording.path} failed: {os.strerror(error.errno or 0)}"
        finally:
            try:
                self._far.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _play(self) -> None:
        events = self.recording.events()
        here = there = 0  # one moment by the clock of now and by that of the recording
        for event in events if self._speed else merged(events):
            if not there:
                here, there = time.monotonic_ns(), event.time_ns
            if event.kind == SENT:
                while self._counterpart.row < event.row:
                    self._listen(None)
                here, there = time.monotonic_ns(), event.time_ns
                continue
            due = here + (event.time_ns - there) / self._speed if self._speed else 0.0
            self._listen(max(0.0, due / 1e9 - time.monotonic()))
            if event.kind == RECEIVED:
                self._send(self._counterpart.rewritten(event))
            elif event.kind == ENDED:
                raise _Over(f"the recording {self.recording.path} ends here, too ({event.data.decode()})")
        while True:
            self._listen(None)

    def _listen(self, seconds: float | None) -> None:
        """Take in what is sent for so long, or, with None, until something is."""
        poll = select.poll()
        poll.register(self._far, select.POLLIN)
        deadline = time.monotonic() + (seconds or 0.0)
        while True:
            left = None if seconds is None else max(0.0, deadline - time.monotonic())
            if poll.poll(None if left is None else left * 1000):
                self._take()
                if seconds is None:
                    return
            elif left is not None and time.monotonic() >= deadline:
                return

    def _take(self) -> None:
        data = self._far.recv(1 << 16)
        if not data:
            raise _Over("the other end is closed")
        self._counterpart.take(data)

    def _send(self, data: bytes) -> None:
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._far, select.POLLIN | select.POLLOUT)
        while view:
            try:
                view = view[self._far.send(view) :]
            except BlockingIOError:
                if any(events & select.POLLIN for _, events in poll.poll()):
                    self._take()  # else both sides could wait for each other


class _Counterpart:
    """Holds what is sent against what the recording has; `row` is the index line of the last one that is through."""

    def __init__(self, recording: Recording) -> None:
        self.row = 0
        self._recording = recording
        self._expected = recording.sent()
        self._next: LineEvent | None = None
        self._pending = b""
        self._nonces: dict[bytes, bytes] = {}

    def take(self, data: bytes) -> None:
        """Raises `ConfigurationError` naming what was sent and what the recording has."""
        if self._recording.index is None:
            return
        self._pending += data
        while self._pending:
            self._next = self._next or next(self._expected, None)
            if self._next is None:
                raise self._deviation(0, b"", None)
            wanted = self._next.data
            if wanted == REDACTED + b"\n":  # a password: any one line
                _, ended, rest = self._pending.partition(b"\n")
                if not ended:
                    return
                self._pending, self.row, self._next = rest, self._next.row, None
                continue
            if (at := _difference(wanted, self._pending)) is not None:
                raise self._deviation(at, wanted, self._next.row)
            if len(self._pending) < len(wanted):
                return
            for nonce in NONCE.finditer(wanted):
                live = self._pending[nonce.start() : nonce.end()]
                if self._nonces.setdefault(nonce[0], live) != live:
                    raise self._deviation(nonce.start(), wanted, self._next.row)
            self._pending = self._pending[len(wanted) :]
            self.row, self._next = self._next.row, None

    def rewritten(self, event: LineEvent) -> bytes:
        """What came, with the nonces of this run in place of the recorded ones."""
        if all(old == new for old, new in self._nonces.items()):
            return event.data
        # a nonce, or a seal around one, may lie across chunks
        first = max(0, event.start - MARGIN)
        window = self._recording.read(first, event.start + len(event.data) + MARGIN)
        fresh = bytearray(WORD.sub(lambda word: self._nonces.get(word[0], word[0]), window))
        for seal in SEAL.finditer(window):
            if zlib.crc32(seal[1]) == int(seal[2], 16):  # one that was garbled stays so
                fresh[seal.start(2) : seal.end(2)] = b"%08X" % zlib.crc32(fresh[seal.start(1) : seal.end(1)])
        return bytes(fresh[event.start - first :][: len(event.data)])

    def _deviation(self, at: int, wanted: bytes, row: int | None) -> ConfigurationError:
        sent = _line_at(self._pending, at)
        recorded = f'has "{_line_at(wanted, at)}" at {self._recording.index}:{row}' if row else "has nothing more"
        return ConfigurationError(
            f'the replay of {self._recording.path} stopped: "{sent}" was sent where the recording {recorded}',
            hint="run what was recorded, in the same order, or record anew",
        )


def _difference(wanted: bytes, sent: bytes) -> int | None:
    """Where `sent`, which may be a part yet, first differs from `wanted`, a nonce for a nonce aside."""
    if wanted.startswith(sent):
        return None
    done = 0
    for nonce in NONCE.finditer(wanted):
        if (at := _unequal(wanted, sent, done, nonce.start())) is not None:
            return at
        if not HEX.fullmatch(sent[nonce.start() : nonce.end()]):
            return nonce.start()
        done = nonce.end()
    return _unequal(wanted, sent, done, len(wanted))


def _unequal(one: bytes, other: bytes, start: int, end: int) -> int | None:
    end = min(end, len(other))
    if one[start:end] == other[start:end]:
        return None
    return next(at for at in range(start, end) if one[at] != other[at])


def _line_at(data: bytes, at: int) -> str:
    """The line of `data` that holds offset `at`, or of a long one the part around it."""
    start = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    line = data[start : end if end >= 0 else len(data)]
    if len(line) > SHOWN:
        first = max(0, min(at - start - SHOWN // 2, len(line) - SHOWN))
        line = b"..." * bool(first) + line[first : first + SHOWN] + b"..." * (first + SHOWN < len(line))
    return printable(line)
