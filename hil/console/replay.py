"""Replay of a transcript: to a terminal, or to a console in place of the recorded machine."""

from __future__ import annotations

import os
import re
import select
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress

from hil.console.lines import ENDED, RECEIVED, SENT, LineEvent, printable
from hil.console.recording import Recording, merged
from hil.console.transcript import REDACTED
from hil.errors import ConfigurationError, HilError

STOP_LIMIT = 2.0  # seconds for the playing thread to end
MARGIN = 4096  # bytes around a chunk that are searched with it: longer than any frame mark or seal
SHOWN = 100  # characters of a line in an error

# random words of shell and runner, of 8, 16 or 64 hexadecimal digits. A word without a letter is a number, except in
# the shell's frame marks
NONCE = re.compile(
    rb"(?:(?<=[@'\"])|(?<![0-9A-Za-z])(?=[0-9]*[a-f]))(?:[0-9a-f]{64}|[0-9a-f]{16}|[0-9a-f]{8})(?![0-9A-Za-z])"
)
WORD = re.compile(rb"(?<![0-9a-f])(?:[0-9a-f]{16}|[0-9a-f]{8})(?![0-9a-f])")
HEX = re.compile(rb"[0-9a-f]*")
# the agent's seal, nonce included, with the CRC-32 of its own text
SEAL = re.compile(rb"(hil-seal [^\r\n]*?) sum=([0-9A-Fa-f]{8})(?=\r*\n)")


class _Over(Exception):
    """The end of a replay; the text is the reason."""


def paced(recording: Recording, speed: float = 1.0) -> Iterator[bytes]:
    """Yield the received chunks at their times; `speed` 2 is twice as fast as recorded, 0 without pauses."""
    begin = time.monotonic()
    for event in recording.events() if speed else merged(recording.events()):
        if event.kind != RECEIVED:
            continue
        if speed:
            due = begin + (recording.seconds(event.time_ns) or 0.0) / speed
            time.sleep(max(0.0, due - time.monotonic()))
        yield event.data


class Player:
    """A thread that plays the received side of `recording` into a socket; a `Console` takes over its other end, `port`.

    Bytes received after something was sent are played only after the same has been sent to the player. Sent bytes
    must equal the recorded ones except for nonces, which are replaced in the played bytes. A recording without an
    index is played regardless of what is sent. `speed` 1 is the recorded pace (pauses before sending are the
    sender's own), 2 is twice as fast, 0 is as fast as possible.

    The line stays open at the end of the recording unless the recorded line ended there, too.
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
        """Return why the line ended, for `Console`."""
        return self._end

    @property
    def playing(self) -> bool:
        """Whether the player still runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop playing; harmless when repeated. The console closes the port."""
        if self._far.fileno() < 0:
            return
        self._shut()
        self._thread.join(STOP_LIMIT)
        self._far.close()

    def _shut(self) -> None:
        with suppress(OSError):  # the other end was first
            self._far.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            self._play()
        except (_Over, HilError) as error:
            self._end = str(error)
        except (BrokenPipeError, ConnectionResetError):
            self._end = "the other end is closed"
        except OSError as error:
            self._end = f"the replay of {self.recording.path} failed: {os.strerror(error.errno or 0)}"
        finally:
            self._shut()

    def _play(self) -> None:
        events = self.recording.events()
        here = there = 0  # the same moment in the clock of now and in that of the recording
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
                raise _Over(f"the recording {self.recording.path} ends here ({event.data.decode()})")
        while True:
            self._listen(None)

    def _listen(self, seconds: float | None) -> None:
        """Take what is sent during `seconds`; with None wait until something is sent."""
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
                    self._take()  # otherwise both sides could wait for each other


class _Counterpart:
    """The comparison of sent bytes with recorded ones; `row` is the index line of the last complete match."""

    def __init__(self, recording: Recording) -> None:
        self.row = 0
        self._recording = recording
        self._recorded = recording.sent()
        self._next: LineEvent | None = None
        self._pending = b""
        self._nonces: dict[bytes, bytes] = {}

    def take(self, data: bytes) -> None:
        """Compare `data`. Raises `ConfigurationError` for the first difference."""
        if self._recording.index is None:
            return
        self._pending += data
        while self._pending:
            self._next = self._next or next(self._recorded, None)
            if self._next is None:
                raise self._deviation(0, b"", None)
            expected = self._next.data
            if expected == REDACTED + b"\n":  # a password: any line matches
                _, ended, rest = self._pending.partition(b"\n")
                if not ended:
                    return
                self._pending, self.row, self._next = rest, self._next.row, None
                continue
            if (at := _difference(expected, self._pending)) is not None:
                raise self._deviation(at, expected, self._next.row)
            if len(self._pending) < len(expected):
                return
            for nonce in NONCE.finditer(expected):
                live = self._pending[nonce.start() : nonce.end()]
                if self._nonces.setdefault(nonce[0], live) != live:
                    raise self._deviation(nonce.start(), expected, self._next.row)
            self._pending = self._pending[len(expected) :]
            self.row, self._next = self._next.row, None

    def rewritten(self, event: LineEvent) -> bytes:
        """Return the received bytes with the nonces of this run in place of the recorded ones."""
        if all(old == new for old, new in self._nonces.items()):
            return event.data
        # a nonce, or a seal around one, may lie across chunks
        first = max(0, event.start - MARGIN)
        window = self._recording.read(first, event.start + len(event.data) + MARGIN)
        fresh = bytearray(WORD.sub(lambda word: self._nonces.get(word[0], word[0]), window))
        for seal in SEAL.finditer(window):
            if zlib.crc32(seal[1]) == int(seal[2], 16):  # a garbled one stays garbled
                fresh[seal.start(2) : seal.end(2)] = b"%08X" % zlib.crc32(fresh[seal.start(1) : seal.end(1)])
        return bytes(fresh[event.start - first :][: len(event.data)])

    def _deviation(self, at: int, expected: bytes, row: int | None) -> ConfigurationError:
        sent = _line_at(self._pending, at)
        recorded = f'"{_line_at(expected, at)}" at {self._recording.index}:{row}' if row else "nothing more"
        return ConfigurationError(
            f'the replay of {self._recording.path} stopped: "{sent}" was sent, but the recording has {recorded}',
            hint="Send the recorded commands in the same order, or record again.",
        )


def _difference(expected: bytes, sent: bytes) -> int | None:
    """Return where `sent`, which may be incomplete, first differs from `expected`, ignoring the values of nonces."""
    if expected.startswith(sent):
        return None
    done = 0
    for nonce in NONCE.finditer(expected):
        if (at := _unequal(expected, sent, done, nonce.start())) is not None:
            return at
        if not HEX.fullmatch(sent[nonce.start() : nonce.end()]):
            return nonce.start()
        done = nonce.end()
    return _unequal(expected, sent, done, len(expected))


def _unequal(one: bytes, other: bytes, start: int, end: int) -> int | None:
    end = min(end, len(other))
    if one[start:end] == other[start:end]:
        return None
    return next(at for at in range(start, end) if one[at] != other[at])


def _line_at(data: bytes, at: int) -> str:
    """Return the line of `data` at the offset `at`, or the part around it of a long line."""
    start = data.rfind(b"\n", 0, at) + 1
    end = data.find(b"\n", at)
    line = data[start : end if end >= 0 else len(data)]
    if len(line) > SHOWN:
        first = max(0, min(at - start - SHOWN // 2, len(line) - SHOWN))
        line = b"..." * bool(first) + line[first : first + SHOWN] + b"..." * (first + SHOWN < len(line))
    return printable(line)
