"""A transcript as a record: what came and what was sent, in order, read from the files alone.

Unlike `Transcript`, which follows a line that lives, this only reads, takes a `.raw` file without an
index too, and holds no more than one chunk or one line in memory.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from hil.console.transcript import Line, Transcript, printable
from hil.errors import ConfigurationError

OPENED, RECEIVED, SENT, ENDED = "@", "<", ">", "!"
NUMBERS = {OPENED: re.compile(rb"\d{1,12}(\.\d*)?"), RECEIVED: re.compile(rb"\d{1,9}")}
CHUNK = 1 << 16  # bytes
RECORD = re.compile(rb"(\d{1,19})\t([^\t\n])\t(.*)\n")


@dataclass(frozen=True)
class LineEvent:
    """Something that happened on the line.

    `kind` is one of `OPENED`, `RECEIVED`, `SENT`, `ENDED`; `time_ns` its monotonic stamp; `row` its line
    in the index, from 1. `data` are the bytes that came or were sent (else the record's value), `start`
    the offset in the `.raw` file of those that came.
    """

    kind: str
    time_ns: int
    row: int
    data: bytes
    start: int = 0


@dataclass(frozen=True)
class Sent:
    """Bytes that were sent, with their monotonic stamp."""

    time_ns: int
    data: bytes

    @property
    def lines(self) -> list[str]:
        """What was typed, line by line, fit to print."""
        return [printable(line) for line in self.data.removesuffix(b"\n").split(b"\n")]


class Recording:
    """The transcript that `path` names: `NAME.raw`, `NAME.tsv` or `NAME`.

    `index` is None where there are the received bytes alone: no `.tsv` file, or one of another make;
    nothing is known of times and of what was sent then.

    Raises `ConfigurationError` where there is no such file, and, while reading, for files that do not fit.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(str(path).removesuffix(".tsv").removesuffix(".raw") + ".raw")
        if not self.path.is_file():
            raise ConfigurationError(
                f"there is no transcript {path}", hint=f"a transcript is NAME.raw and NAME.tsv; {self.path} is no file"
            )
        index = self.path.with_suffix(".tsv")
        self.index: Path | None = index if _is_index(index) else None

    def events(self) -> Iterator[LineEvent]:
        """Everything that happened, in order. Bytes beyond the index come last, with the last stamp."""
        size, stamp, row = 0, 0, 0
        with _open(self.path) as raw:
            for record in self._records():
                stamp, row = record.time_ns, record.row
                if record.kind != RECEIVED:
                    yield record
                    continue
                data = raw.read(int(record.data))
                if len(data) < int(record.data):
                    raise ConfigurationError(
                        f"{self.path} ends at byte {size + len(data)}, before what {self.index}:{row} tells of",
                        hint="the two files do not belong together, or one was cut",
                    )
                yield LineEvent(RECEIVED, stamp, row, data, size)
                size += len(data)
            while data := raw.read(CHUNK):
                yield LineEvent(RECEIVED, stamp, row, data, size)
                size += len(data)

    def sent(self) -> Iterator[LineEvent]:
        """What was sent, in order."""
        return (record for record in self._records() if record.kind == SENT)

    def read(self, start: int, end: int) -> bytes:
        """The received bytes from offset `start` up to, not including, `end`."""
        with _open(self.path) as raw:
            raw.seek(start)
            return raw.read(end - start)

    @functools.cached_property
    def zero_ns(self) -> int:
        """The stamp of the first byte that came: where the seconds of lines count from."""
        return next((record.time_ns for record in self._records() if record.kind == RECEIVED), 0)

    @functools.cached_property
    def begun(self) -> float:
        """When the first byte came, in seconds since 1970; by the file's date where nothing tells."""
        first = next(self._records(), None)
        if first is None or first.kind != OPENED:
            return self.path.stat().st_mtime
        return float(first.data) + (self.zero_ns - first.time_ns) / 1e9

    def seconds(self, time_ns: int) -> float | None:
        """A stamp in seconds since the first byte; None where there are no times."""
        return (time_ns - self.zero_ns) / 1e9 if self.index else None

    def lines(self) -> Iterator[Line | Sent]:
        """The lines that came, as `Transcript.lines` has them, and what was sent, by the time of their first byte."""
        number, begin, since = 1, 0, 0
        carry = bytearray()
        later: list[Sent] = []  # sent while a line was under way
        for event in self.events():
            if event.kind == SENT:
                sent = Sent(event.time_ns, event.data)
                if carry:
                    later.append(sent)
                else:
                    yield sent
            elif event.kind == RECEIVED:
                offset = event.start
                for piece in pieces(event.data):
                    if not carry:
                        begin, since = offset, event.time_ns
                    carry += piece
                    offset += len(piece)
                    if piece.endswith(b"\n"):
                        yield Line(number, since, begin, printable(bytes(carry[:-1].rstrip(b"\r"))))
                        yield from later
                        number += 1
                        carry.clear()
                        later.clear()
        if carry:
            yield Line(number, since, begin, printable(bytes(carry)))
        yield from later

    def _records(self) -> Iterator[LineEvent]:
        """The index, line by line; a last one that is still being written is left out."""
        if self.index is None:
            return
        with _open(self.index) as index:
            for row, text in enumerate(index, 1):
                if not text.endswith(b"\n"):
                    return
                yield self._record(row, text)

    def _record(self, row: int, text: bytes) -> LineEvent:
        if match := RECORD.fullmatch(text):
            kind, value = match[2].decode("latin-1"), match[3]
            try:
                if kind in NUMBERS and not NUMBERS[kind].fullmatch(value):
                    raise ValueError(value)
                data = json.loads(value).encode("latin-1") if kind == SENT else value
                return LineEvent(kind, int(match[1]), row, data)
            except (ValueError, AttributeError):
                pass
        raise ConfigurationError(
            f"{self.index}:{row}: not a record of a transcript: {printable(text.rstrip())[:80]!r}",
            hint="docs/transcripts.md has the format; a .raw file can be read alone, without its .tsv file",
        )


def span(transcript: Transcript, start: int, end: int) -> Iterator[LineEvent]:
    """What came from the offset `start` up to `end`, and what was sent meanwhile, in order; `row` is 0.

    Of a transcript that is still written it is what its last `refresh` knows of.
    """
    data = transcript.read(start, end)
    at, records = transcript.since(start)
    for record in records:
        stamp, kind, value = record.split(b"\t", 2)
        if kind == b">":
            yield LineEvent(SENT, int(stamp), 0, json.loads(value).encode("latin-1"), max(at, start))
        elif kind == b"<":
            begin, at = max(at, start), at + int(value)
            if begin >= end:
                return
            yield LineEvent(RECEIVED, int(stamp), 0, data[begin - start : min(at, end) - start], begin)


def merged(events: Iterator[LineEvent], within_ns: int | None = None) -> Iterator[LineEvent]:
    """The events, with received chunks joined (up to `CHUNK` bytes) that follow within `within_ns` of the first.

    None joins them whatever their times. A joined chunk has the first one's stamp and row.
    """
    held: list[LineEvent] = []
    size = 0
    for event in events:
        if held and not (
            event.kind == RECEIVED
            and size + len(event.data) <= CHUNK
            and (within_ns is None or event.time_ns - held[0].time_ns <= within_ns)
        ):
            yield _joined(held)
            held, size = [], 0
        if event.kind == RECEIVED:
            held.append(event)
            size += len(event.data)
        else:
            yield event
    if held:
        yield _joined(held)


def _joined(events: list[LineEvent]) -> LineEvent:
    first = events[0]
    data = b"".join(event.data for event in events)
    return LineEvent(RECEIVED, first.time_ns, first.row, data, first.start)


def pieces(data: bytes) -> Iterator[bytes]:
    """The bytes cut behind each line feed, and nowhere else."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end


def _is_index(path: Path) -> bool:
    """Whether a file starts as our index does: other tools keep a .tsv file beside a .raw one, too."""
    if not path.is_file():
        return False
    with _open(path) as file:
        first = file.readline(1 << 16)
    return bool(re.match(rb"\d+\t[@<>!]\t", first))


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
