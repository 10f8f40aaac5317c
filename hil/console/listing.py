"""A transcript as text: numbered, timed lines, and the lines that match a pattern."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.console.lines import Line, lines, printable, typed_lines
from hil.console.recording import Recording
from hil.errors import ConfigurationError


@dataclass(frozen=True)
class ListingRow:
    """A received line with its number, or a sent line without a number.

    `seconds` count from the first received byte, `gap` from the row before; both are None without an index.
    """

    number: int | None
    seconds: float | None
    gap: float | None
    text: str

    @property
    def facts(self) -> dict[str, Any]:
        """The row as JSON."""
        direction = {"sent": self.text} if self.number is None else {"line": self.number, "text": self.text}
        return {"seconds": self.seconds, **direction}

    @property
    def time(self) -> str:
        return "-" if self.seconds is None else f"{self.seconds:.3f}"


def rows(
    path: Path, *, begin: float | None = None, end: float | None = None, sent: bool = False
) -> Iterator[ListingRow]:
    """Yield the lines of the transcript `path` from `begin` to `end`, both included; `sent` adds the typed lines.

    An int bound is the number of a line, a float bound is in seconds since the first byte.
    Raises `ConfigurationError` for a file that cannot be read, and for seconds without an index.
    """
    recording = Recording(path)
    if recording.index is None and (isinstance(begin, float) or isinstance(end, float)):
        raise ConfigurationError(f"{recording.path} has no times", hint="Give line numbers.")
    number, before = 0, None
    for entry in lines(recording.events()):
        if isinstance(entry, Line):
            number = entry.number
        elif not sent:
            continue
        seconds = recording.seconds(entry.time_ns)
        gap = None if seconds is None or before is None else max(0.0, seconds - before)
        before = seconds
        place = {int: number, float: seconds or 0.0}
        if begin is not None and place[type(begin)] < begin:
            continue
        if end is not None and place[type(end)] > end:
            return
        if isinstance(entry, Line):
            yield ListingRow(number, seconds, gap, entry.text)
        else:
            for text in typed_lines(entry.data):
                yield ListingRow(None, seconds, gap, printable(text))


def table(found: Iterator[ListingRow], *, gaps: bool = False) -> Iterator[str]:
    """Format rows as columns: number (`>` for sent lines), seconds, with `gaps` seconds since the row before, text."""
    for row in found:
        mark = ">" if row.number is None else str(row.number)
        gap = f"{'' if row.gap is None else f'+{row.gap:.3f}':>9} " if gaps else ""
        yield f"{mark:>6} {row.time:>9} {gap} {row.text}".rstrip()


def expression(pattern: str, *, ignore_case: bool = False) -> re.Pattern[str]:
    """Compile a regular expression. Raises `ConfigurationError`."""
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except re.error as error:
        raise ConfigurationError(f"{pattern!r} is not a regular expression: {error}") from error


def grep(path: Path, pattern: re.Pattern[str], *, context: int = 0) -> Iterator[str]:
    """Yield the lines of the transcript `path` that match `pattern`, as `FILE:LINE:SECONDS:text`.

    With `context`, that many lines around each are yielded as `FILE-LINE-SECONDS-text`, and `--` marks a gap.
    """
    before: collections.deque[ListingRow] = collections.deque(maxlen=context)
    after, last = 0, 0
    for row in rows(path):
        number = row.number or 0
        if pattern.search(row.text):
            first = before[0].number if before else number
            if context and last and first and first > last + 1:
                yield "--"
            yield from (_hit(path, earlier, "-") for earlier in before)
            yield _hit(path, row, ":")
            before.clear()
            after, last = context, number
        elif after:
            yield _hit(path, row, "-")
            after, last = after - 1, number
        else:
            before.append(row)


def _hit(path: Path, row: ListingRow, mark: str) -> str:
    return mark.join((str(path), str(row.number), row.time, row.text))
