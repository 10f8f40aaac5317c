"""A transcript read from its files alone: received and sent bytes in order.

Unlike `Transcript` it needs no index file, never writes, and holds one chunk or one line in memory.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hil.console.lines import OPENED, RECEIVED, SENT, LineEvent, printable
from hil.console.transcript import Transcript
from hil.errors import ConfigurationError

NUMBERS = {OPENED: re.compile(rb"\d{1,12}(\.\d*)?"), RECEIVED: re.compile(rb"\d{1,9}")}
CHUNK = 1 << 16  # bytes
RECORD = re.compile(rb"(\d{1,19})\t([^\t\n])\t(.*)\n")


class Recording:
    """The transcript at `path`: `NAME.raw`, `NAME.tsv` or `NAME`.

    `index` is None without a `.tsv` file of this format; then times and sent bytes are unknown.

    Raises `ConfigurationError` for a missing file and, while reading, for files that do not match.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(str(path).removesuffix(".tsv").removesuffix(".raw") + ".raw")
        if not self.path.is_file():
            raise ConfigurationError(
                f"there is no transcript {path}: {self.path} is not a file",
                hint="Give the name of a transcript: NAME.raw, NAME.tsv or NAME.",
            )
        index = self.path.with_suffix(".tsv")
        self.index: Path | None = index if _is_index(index) else None

    def events(self) -> Iterator[LineEvent]:
        """Yield all events in order. Bytes beyond the index come last, with the last stamp."""
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
                        f"{self.path} ends at byte {size + len(data)}, but {self.index}:{row} records more",
                        hint="Check that the two files belong together and that none was cut.",
                    )
                yield LineEvent(RECEIVED, stamp, row, data, size)
                size += len(data)
            while data := raw.read(CHUNK):
                yield LineEvent(RECEIVED, stamp, row, data, size)
                size += len(data)

    def sent(self) -> Iterator[LineEvent]:
        """Yield the sent bytes in order."""
        return (record for record in self._records() if record.kind == SENT)

    def read(self, start: int, end: int) -> bytes:
        """Return the received bytes from offset `start` up to, not including, `end`."""
        with _open(self.path) as raw:
            raw.seek(start)
            return raw.read(end - start)

    @functools.cached_property
    def zero_ns(self) -> int:
        """The stamp of the first received byte; seconds count from it."""
        return next((record.time_ns for record in self._records() if record.kind == RECEIVED), 0)

    @functools.cached_property
    def begun(self) -> float:
        """The time of the first received byte in seconds since 1970; the date of the file without an index."""
        first = next(self._records(), None)
        if first is None or first.kind != OPENED:
            return self.path.stat().st_mtime
        return float(first.data) + (self.zero_ns - first.time_ns) / 1e9

    def seconds(self, time_ns: int) -> float | None:
        """Return a stamp in seconds since the first byte; None without an index."""
        return (time_ns - self.zero_ns) / 1e9 if self.index else None

    def _records(self) -> Iterator[LineEvent]:
        """Yield the records of the index, without a last one that is still being written."""
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
            hint="See docs/transcripts.md for the format, or move the .tsv file away to read the .raw file alone.",
        )


def span(transcript: Transcript, start: int, end: int) -> Iterator[LineEvent]:
    """Yield the bytes received from offset `start` up to `end` and those sent meanwhile, in order; `row` is 0.

    A transcript that is still being written is read as of its last `refresh`.
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
    """Join received chunks that follow within `within_ns` of the first, up to `CHUNK` bytes.

    None joins them whatever their times. A joined chunk has the stamp and the row of its first.
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


def _is_index(path: Path) -> bool:
    """Check that a file starts like an index: other tools write `.tsv` files, too."""
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
