"""A recorded console that is still being written: `NAME.raw` holds the received bytes, `NAME.tsv` their times.

Each line of the index is `monotonic ns <TAB> kind <TAB> value`:

- `@` opened; value: the same moment in seconds since 1970;
- `<` received; value: the number of bytes (they follow each other in the `.raw` file);
- `>` sent; value: the bytes as a JSON string, one character per byte (Latin-1), `REDACTED` for a password;
- `!` end of the line; value: the reason (`eof` or an operating system error).

Both files are only appended to, so that a transcript can be read while it is written. The one exception: asterisks
replace an echoed password. Only the owner can read the files.
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
from dataclasses import replace
from pathlib import Path

from hil.console.lines import RECEIVED, Line, LineEvent, folded, lines, texts
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import project
from hil.host.directories import xdg

STAMPS_IN_MEMORY = 200_000  # two 8-byte numbers each; older ones are looked up in the index file
BLOCK = 1 << 20  # bytes read at a time
TAIL = 64 << 10  # bytes searched for the last lines
REDACTED = b"********"


class Transcript:
    """The two files of a recorded console, read as they grow; sent bytes are appended."""

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
        # closed with the last reference: a transcript stays readable after its console was closed
        self._closer = weakref.finalize(self, _close, opened)
        try:
            opened.append(os.open(raw, os.O_RDWR | os.O_CLOEXEC))
            opened.append(os.open(self.index_path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC))
            self._raw, self._index = opened
        except OSError as error:
            self._closer()
            raise ConfigurationError(
                f"cannot open the transcript {raw}: {error.strerror}",
                hint="Name a transcript with both files, NAME.raw and NAME.tsv.",
            ) from error

    @classmethod
    def create(cls, directory: Path, name: str) -> Transcript:
        """Create an empty transcript `directory/name-DATE-TIME[-N].raw`. Raises `InfrastructureError`."""
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
                created = cls(raw)
                created.refresh()  # the next `refresh` reports only what comes later
                return created
            raise FileExistsError(17, "a thousand transcripts in one second", str(directory))
        except OSError as error:
            raise InfrastructureError(
                f"cannot create a transcript in {directory}: {error.strerror}",
                hint="Free some space, or choose another directory (pytest: --hil-transcripts; hil: HIL_TRANSCRIPTS).",
            ) from error

    def close(self) -> None:
        """Close the files; harmless when repeated."""
        self._closer()

    def sent(self, data: bytes) -> None:
        """Record `data` as sent now."""
        # a byte of a file takes two, not six; but no line end for those who read text
        text = json.dumps(data.decode("latin-1"), ensure_ascii=False).replace("\x85", "\\u0085")
        os.write(self._index, f"{time.monotonic_ns()}\t>\t{text}\n".encode())

    def redact(self, secret: bytes, start: int, end: int) -> None:
        """Replace `secret` by asterisks where it was received between two offsets."""
        for match in re.finditer(re.escape(secret), self.read(start, end)):
            os.pwrite(self._raw, b"*" * len(secret), start + match.start())

    def refresh(self) -> bool:
        """Read the new records of the index; return whether there were any."""
        fresh = False
        # pread: `sent` moves the file's own offset past what the pump wrote in between
        while data := os.pread(self._index, BLOCK, self._taken):
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
        """Return the received bytes from offset `start` up to, not including, `end`."""
        return b"".join(block.data for block in self._blocks(start, end))

    def _blocks(self, start: int, end: int) -> Iterator[LineEvent]:
        """Yield the received bytes between two offsets in blocks, without times."""
        while start < end and (data := os.pread(self._raw, min(end - start, BLOCK), start)):
            yield LineEvent(RECEIVED, 0, 0, data, start)
            start += len(data)

    def time_at(self, offset: int) -> int:
        """Return the monotonic stamp, in ns, of the chunk that holds the byte at `offset`. Raises `IndexError`."""
        if not self._ends or offset >= self.size or offset < 0:
            raise IndexError(f"offset {offset} is outside the transcript of {self.size} bytes")
        chunk = bisect.bisect_right(self._ends, offset)
        if chunk or len(self._ends) < STAMPS_IN_MEMORY:
            return self._times[chunk]
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
        """Return the index records from the chunk with the byte at `offset` on, and the offset of that chunk.

        Bytes sent just before that chunk are among them. Reads the index from its end: a long past costs nothing.
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
        """Yield the lines between two offsets, the last one even without its end; `first` is the first's number."""
        for line in lines(self._blocks(start, self.size if end is None else min(end, self.size)), first=first):
            assert isinstance(line, Line)  # blocks hold no sent bytes
            yield replace(line, time_ns=self.time_at(line.offset))

    def line_number(self, offset: int) -> int:
        """Return the number, from 1, of the line that holds the byte at `offset`."""
        return 1 + sum(block.data.count(b"\n") for block in self._blocks(0, offset))

    def tail(self, count: int = 20, *, start: int = 0) -> tuple[str, ...]:
        """Return the last `count` lines that are not blank, of the last 64 KiB and not before offset `start`.

        A file that was transferred is one line.
        """
        data = self.read(max(start, self.size - TAIL), self.size)
        return tuple(text[:200] for text in folded(texts(data))[-count:])


class Redactor:
    """Keeps the lines that are `secrets` out of `transcript`, typed and echoed ones."""

    def __init__(self, transcript: Transcript) -> None:
        self.secrets: frozenset[bytes] = frozenset()
        self._transcript = transcript
        self._echo: tuple[bytes, int] | None = None  # the secret typed last, and the offset where its echo may begin

    def redact(self, end: int | None = None) -> None:
        """Remove what has arrived of the echo of the secret typed last; the echo ends before the offset `end`."""
        self._transcript.refresh()
        if self._echo is not None:
            self._transcript.redact(*self._echo, self._transcript.size if end is None else end)
            self._echo = self._echo if end is None else None

    def typed(self, data: bytes) -> bytes:
        """Return `data`, which is about to be typed, as the transcript may record it."""
        secret = data.rstrip(b"\r\n")
        if self._echo is None and secret not in self.secrets:
            return data
        self._transcript.refresh()
        self.redact(self._transcript.size)
        if secret not in self.secrets:
            return data
        self._echo = secret, self._transcript.size
        return REDACTED + data[len(secret) :]

    def hidden(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self.secrets:
            text = text.replace(secret.decode(), REDACTED.decode())
        return text


def _close(opened: list[int]) -> None:
    for fd in opened:
        os.close(fd)


def default_directory() -> Path:
    """Return the directory of transcripts of commands.

    It is `$HIL_TRANSCRIPTS`, else the project's setting `transcripts`, else `hil/transcripts` in the XDG state.
    """
    if chosen := os.environ.get("HIL_TRANSCRIPTS"):
        return Path(chosen)
    return project.current().path("transcripts") or xdg("XDG_STATE_HOME", ".local/state") / "transcripts"
