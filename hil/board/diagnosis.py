"""The diagnosis of a boot that stops: silence, a fatal message, a flood of one line, or activity."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Sequence

from hil.console import Console
from hil.console.lines import printable
from hil.image.manifest import Failures

RECENT = 1 << 16  # bytes at the end of the line that are examined
SILENCE = 3.0  # seconds; the longest pause seen in good boots is 2.7 s
FLOOD = 50  # repetitions of one line among the recent bytes
NOTHING = "silence, not one byte"
FAILURES = Failures()
STAMP = re.compile(rb"^\[ *\d+\.\d+\] ", re.M)
"""The kernel's time stamp at the beginning of a line."""


def diagnose(console: Console, failures: Failures = FAILURES, noise: Sequence[str] = (), *, start: int = 0) -> str:
    """Describe the end of the line, from the offset `start` on.

    `noise` are patterns of lines that are not fatal.
    """
    transcript = console.transcript
    recent = _recent(console, start)
    if not recent:
        return NOTHING
    if fatal := fatal_message(failures, noise)(recent):
        return f"a fatal message: {fatal}"
    lines = STAMP.sub(b"", recent).removesuffix(b"\n").split(b"\n")
    if counts := collections.Counter(filter(None, lines)).most_common(1):
        line, count = counts[0]
        if count >= FLOOD:
            return f"a flood: {printable(line)[:200]!r} {count} times in the last {len(lines)} lines"
    quiet = console.now - console.stamp(transcript.size - 1) / 1e9
    if quiet >= SILENCE:
        return f"silence for {quiet:.1f} s after {transcript.size - start} bytes"
    return f"still active, {transcript.size - start} bytes so far"


def is_fatal(console: Console, failures: Failures, noise: Sequence[str], *, start: int) -> bool:
    """Return whether the end of the line, from the offset `start` on, holds a fatal message, such as a panic."""
    return bool(fatal_message(failures, noise)(_recent(console, start)))


def _recent(console: Console, start: int) -> bytes:
    console.passwords.redact()
    transcript = console.transcript
    if transcript.size <= start:
        return b""
    return transcript.read(max(start, transcript.size - RECENT), transcript.size).replace(b"\r\n", b"\n")


def fatal_message(failures: Failures, noise: Sequence[str]) -> Callable[[bytes], str]:
    """Return a function that finds the first fatal message in whole lines; it returns "" if there is none."""
    fatal = re.compile("|".join(f"(?:{pattern})" for pattern in failures.fatal).encode())
    harmless = re.compile("|".join(f"(?:{pattern})" for pattern in noise).encode())

    def find(lines: bytes) -> str:
        for match in fatal.finditer(lines) if failures.fatal else ():
            start, end = lines.rfind(b"\n", 0, match.start()) + 1, lines.find(b"\n", match.end())
            line = lines[start : end if end >= 0 else len(lines)]
            if not (noise and harmless.search(line)):
                return printable(match[0])[:300].strip()
        return ""

    return find
