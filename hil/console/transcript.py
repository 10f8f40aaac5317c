"""A recorded console: `NAME.raw` holds the received bytes, `NAME.tsv` says when they came.

Each line of the index is `monotonic ns <TAB> kind <TAB> value`:

- `@` opened, value = the same moment in seconds since 1970;
- `<` received, value = number of bytes (they follow each other in the `.raw` file);
- `>` sent, value = the bytes as a JSON string, one character a byte (Latin-1), `REDACTED` for a password;
- `!` the line's end, value = why (`eof` or an operating system's error).

Both files are only ever appended to, so a transcript can be read while it is being written; where the other side has
echoed a password, asterisks are put in its place. Only their owner can read them.
"""

from __future__ import annotations

import bisect
import json
import os
import re
import time
import weakref
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import hil.text
from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import xdg

STAMPS_IN_MEMORY = 200_000  # two 8-byte numbers each; older ones are looked up in the index file
REDACTED = b"********"
LINE_END = re.compile(rb"(?<!\r)\r*\n")  # the look-behind keeps a flood of \r from costing its square


@dataclass(frozen=True)
class Line:
    """A line of the console: its number from 1, the stamp of its first byte, where it starts, its text."""

    number: int
    time_ns: int
    offset: int
    text: str


def printable(data: bytes) -> str:
    """Return the bytes of a console as `hil.text.printable` text; bytes that are not UTF-8 become `\\xNN`."""
    return hil.text.printable(data.decode("utf-8", "surrogateescape")).replace("\r", "\\r")


def split_lines(text: str) -> list[str]:
    """Return the lines of a program's output. A line ends with a line feed and with nothing else."""
    return text.removesuffix("\n").split("\n") if text else []


def _close(opened: list[int]) -> None:
    for fd in opened:
        os.close(fd)


class Transcript:
    """Reads (and, for what is sent, writes) the two files of a recorded console."""

    def __init__(self, raw: Path) -> None:
        self.path = raw
        self.index_path = raw.with_suffix(".tsv")
        self.size = 0
        self.closed: str | None = None
        self._ends = array("q")
        self._times = array("q")
        self._partial = b""
        self._taken = 0  # bytes of the index
        opened: list[int] = []
        # closed with the last user at the latest: a console's end does not end the reading
        self._closer = weakref.finalize(self, _close, opened)
        try:
            opened.append(os.open(raw, os.O_RDWR | os.O_CLOEXEC))
            opened.append(os.open(self.index_path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
            self._raw, self._index = opened
        except OSError as error:
            self._closer()
            raise ConfigurationError(
                f"cannot open the transcript {raw}: {error.strerror}",
                hint="a transcript is a pair of files, NAME.raw and NAME.tsv",
            ) from error

    @classmethod
    def create(cls, directory: Path, name: str) -> Transcript:
        """Make a new, empty transcript `directory/name-DATE-TIME[-N].raw`."""
        try:
            for private in (directory.parent, directory):
                private.mkdir(mode=0o700, parents=True, exist_ok=True)
            stamp = time.strftime("%Y%m%d-%H%M%S")
            for number in range(1000):
                raw = directory / f"{name}-{stamp}{f'-{number}' if number else ''}.raw"
                try:
                    raw.touch(mode=0o600, exist_ok=False)
                except FileExistsError:
                    continue
                opened = f"{time.monotonic_ns()}\t@\t{time.time():.3f}\n"
                index = raw.with_suffix(".tsv")
                index.touch(mode=0o600)
                index.write_text(opened)
                made = cls(raw)
                made.refresh()  # so that only what comes later is news
                return made
            raise FileExistsError(17, "a thousand transcripts in one second", str(directory))
        except OSError as error:
            raise InfrastructureError(
                f"cannot create a transcript in {directory}: {error.strerror}",
                hint="free some space there, or choose another directory (pytest: --transcripts; hil: HIL_TRANSCRIPTS)",
            ) from error

    def close(self) -> None:
        """Close the files; harmless when repeated."""
        self._closer()

    def sent(self, data: bytes) -> None:
        """Record bytes as sent now."""
        record = f"{time.monotonic_ns()}\t>\t{json.dumps(data.decode('latin-1'))}\n"
        os.write(self._index, record.encode())

    def redact(self, secret: bytes, start: int, end: int) -> None:
        """Put asterisks in the place of `secret` where it was received between two offsets."""
        for match in re.finditer(re.escape(secret), self.read(start, end)):
            os.pwrite(self._raw, b"*" * len(secret), start + match.start())

    def refresh(self) -> bool:
        """Take in what the index has gained; true if there was something new."""
        fresh = False
        # by its own offset: what `sent` appends moves the file's, past what the pump wrote in between
        while data := os.pread(self._index, 1 << 20, self._taken):
            self._taken += len(data)
            fresh = True
            records = (self._partial + data).split(b"\n")
            self._partial = records.pop()
            for record in records:
                stamp, kind, value = record.split(b"\t", 2)
                if kind == b"<":
                    self.size += int(value)
                    self._ends.append(self.size)
                    self._times.append(int(stamp))
                elif kind == b"!":
                    self.closed = value.decode()
            if len(self._ends) > 2 * STAMPS_IN_MEMORY:
                del self._ends[:-STAMPS_IN_MEMORY], self._times[:-STAMPS_IN_MEMORY]
        return fresh

    def read(self, start: int, end: int) -> bytes:
        """The received bytes from offset `start` up to, not including, `end`."""
        parts = []
        while start < end and (data := os.pread(self._raw, min(end - start, 1 << 20), start)):
            parts.append(data)
            start += len(data)
        return b"".join(parts)

    def time_at(self, offset: int) -> int:
        """The monotonic stamp, in ns, of the chunk that brought the byte at `offset`."""
        if not self._ends or offset >= self.size or offset < 0:
            raise IndexError(f"offset {offset} is outside the transcript of {self.size} bytes")
        place = bisect.bisect_right(self._ends, offset)
        if place or len(self._ends) < STAMPS_IN_MEMORY:
            return self._times[place]
        end = 0
        with self.index_path.open("rb") as index:
            for record in index:
                stamp, kind, value = record.split(b"\t", 2)
                if kind == b"<":
                    end += int(value)
                    if end > offset:
                        return int(stamp)
        raise IndexError(offset)

    def since(self, offset: int) -> tuple[int, list[bytes]]:
        """The records of the index from the one that brought the byte at `offset` on, and where what they bring begins.

        What was sent just before that byte came is among them. The index is read from its end, so that a long past
        costs nothing.
        """
        end, block = self._taken - len(self._partial), 1 << 16
        while True:
            begin = max(0, end - block)
            records = os.pread(self._index, end - begin, begin).split(b"\n")[1 if begin else 0 : -1]
            sizes = [int(record.split(b"\t", 2)[2]) if b"\t<\t" in record[:24] else 0 for record in records]
            at = self.size - sum(sizes)
            if at <= offset or not begin:
                break
            block *= 4
        first = 0
        for number, size in enumerate(sizes):
            if size:
                if at + size > offset:
                    break
                at, first = at + size, number + 1
        return at, records[first:]

    def lines(self, start: int = 0, end: int | None = None, *, first: int = 1) -> Iterator[Line]:
        """The lines between two offsets, the last one even without its end; `first` is the first's number."""
        end = self.size if end is None else min(end, self.size)
        carry = b""
        number = first
        while start < end or carry:
            block = self.read(start, min(end, start + (1 << 20)))
            data = carry + block
            offset = start - len(carry)
            start += len(block)
            done = 0
            for match in LINE_END.finditer(data):
                yield Line(number, self.time_at(offset + done), offset + done, printable(data[done : match.start()]))
                number += 1
                done = match.end()
            carry = data[done:]
            if start >= end or not block:
                if carry:
                    yield Line(number, self.time_at(start - len(carry)), start - len(carry), printable(carry))
                return

    def line_number(self, offset: int) -> int:
        """The number, from 1, of the line that holds the byte at `offset`."""
        return 1 + sum(self.read(at, min(at + (1 << 20), offset)).count(b"\n") for at in range(0, offset, 1 << 20))

    def tail(self, count: int = 20, *, start: int = 0) -> tuple[str, ...]:
        """The last `count` lines that are not blank, of the last 16 KiB and not before offset `start`."""
        data = self.read(max(start, self.size - 16384), self.size)
        texts = [printable(line) for line in LINE_END.split(data) if line.strip()]
        return tuple(text[:200] for text in texts[-count:])


def default_directory() -> Path:
    """Where transcripts go when nobody says: `$HIL_TRANSCRIPTS`, else `hil/transcripts` in the XDG state directory."""
    if chosen := os.environ.get("HIL_TRANSCRIPTS"):
        return Path(chosen)
    return xdg("XDG_STATE_HOME", ".local/state") / "transcripts"
