"""Console bytes as lines: all code that cuts received bytes into lines uses this module."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import hil.text

OPENED, RECEIVED, SENT, ENDED = "@", "<", ">", "!"
FOLDED = 3  # lines of base64, or of bytes that are no text, from which on they are folded
BINARY = 64  # bytes; fewer typed ones are keys

_ENCODED = re.compile(r"(?:> |# )?[A-Za-z0-9+/]{40,}={0,2}(?: \.\.\. and \d+ bytes more.*)?")  # a full line of base64
_LAST = re.compile(r"(?:> )?(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})")  # its end
_END_TYPED = re.compile(r"(?:> )?\.")  # ends a typed file
_NO_TEXT = re.compile(rb"[^\t\r\n -~]")
_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
_SHORT = 40  # characters of a line that may be text by chance, between lines that are not,
_SHORT_IN_A_ROW = 2  # and of so many together


@dataclass(frozen=True)
class LineEvent:
    """A record of a transcript.

    `kind` is `OPENED`, `RECEIVED`, `SENT` or `ENDED`; `time_ns` the monotonic stamp; `row` the line number in the
    index, from 1. `data` holds the received or sent bytes (else the record's value), `start` the offset of received
    bytes in the `.raw` file.
    """

    kind: str
    time_ns: int
    row: int
    data: bytes
    start: int = 0


@dataclass(frozen=True)
class Line:
    """A received line: its number from 1, the stamp and the offset of its first byte, and `data` with its line end."""

    number: int
    time_ns: int
    offset: int
    data: bytes

    @property
    def end(self) -> int:
        return self.offset + len(self.data)

    @property
    def text(self) -> str:
        """The printable line without its line end."""
        return printable(self.data[:-1].rstrip(b"\r") if self.data.endswith(b"\n") else self.data)


def lines(events: Iterable[LineEvent], *, first: int = 1, prompt: bytes = b"") -> Iterator[Line | LineEvent]:
    """Yield the received lines, numbered from `first`, and the sent events in order; the last line may lack its end.

    Bytes sent within a line follow that line, except after `prompt`: then they precede it.
    """
    line, since, start = bytearray(), 0, 0
    within: list[LineEvent] = []
    for event in events:
        if event.kind == SENT:
            if line and line != prompt:
                within.append(event)
            else:
                yield event
        elif event.kind == RECEIVED:
            done = 0
            while done < len(event.data):
                if not line:
                    since, start = event.time_ns, event.start + done
                end = event.data.find(b"\n", done) + 1
                line += event.data[done : end or None]
                if not end:
                    break
                yield Line(first, since, start, bytes(line))
                yield from within
                first += 1
                line.clear()
                within.clear()
                done = end
    if line:
        yield Line(first, since, start, bytes(line))
    yield from within


def texts(data: bytes) -> list[str]:
    """Return the printable lines of `data` that are not blank."""
    found = (line for line in lines([LineEvent(RECEIVED, 0, 0, data)]) if isinstance(line, Line))
    return [line.text for line in found if line.data.strip()]


def split_lines(text: str) -> list[str]:
    """Return the lines of a program's output. Only a line feed ends a line."""
    return text.removesuffix("\n").split("\n") if text else []


def printable(data: bytes) -> str:
    """Return console bytes as `hil.text.printable` text; bytes that are not UTF-8 become `\\xNN`."""
    return hil.text.printable(data.decode("utf-8", "surrogateescape")).replace("\r", "\\r")


def typed_lines(data: bytes) -> list[bytes]:
    """Return typed lines without line feeds; a file that was sent as it is, is one line that says so."""
    if len(data) >= BINARY and len(_NO_TEXT.findall(data)) > len(data) // 8:
        return [b"(%d bytes of a file as they are)" % len(data)]
    return data.removesuffix(b"\n").split(b"\n")


def transferred(shown: Iterable[str]) -> tuple[int, str]:
    """Return the number of lines at the beginning of `shown` that are a file, and in which form; 0 for other lines."""
    first, second = itertools.tee(shown)
    if count := encoded(first):
        return count, "as base64"
    return _binary(second), "as it is"


def _binary(shown: Iterable[str]) -> int:
    """Return the number of lines at the beginning of `shown` that are bytes of a file and no text."""
    count = 0
    for number, text in enumerate(shown, 1):
        escapes = _ESCAPED.findall(text)
        if 4 * len(escapes) > 0.6 * len(text) and len(set(escapes)) >= 4:  # colours have fewer
            count = number
        elif not count or len(text) > _SHORT or number - count > _SHORT_IN_A_ROW:
            break
    return count


def encoded(shown: Iterable[str]) -> int:
    """Return the number of lines at the beginning of `shown` that are a file as base64 (or a probe's record)."""
    count = 0
    patterns = [_LAST, _END_TYPED]
    for text in shown:
        if _ENCODED.fullmatch(text) and len(patterns) == 2:
            count += 1
            continue
        while patterns and count and not patterns[0].fullmatch(text):
            patterns.pop(0)
        if not patterns or not count:
            break
        patterns.pop(0)
        count += 1
    return count


def folded(shown: Sequence[str]) -> list[str]:
    """Return the lines with one line in the place of each file that was transferred."""
    found: list[str] = []
    at = 0
    while at < len(shown):
        count, form = transferred(itertools.islice(shown, at, None))
        if count < FOLDED:
            count = max(count, 1)
            found += shown[at : at + count]
        else:
            found.append(f"({count} lines of a file {form})")
        at += count
    return found
