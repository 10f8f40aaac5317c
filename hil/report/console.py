"""The console of one test as rows: numbered, timed and classified lines, and what was typed between them."""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hil.console import Transcript
from hil.console.lines import Line, lines, printable, typed_lines
from hil.console.recording import span
from hil.image.manifest import AgentFacts, ConsoleFacts, Failures, Manifest, Stage

CONSOLE_LINES = 2000  # at the end of a test's console that its page shows; the transcript has them all
CONSOLE_BYTES = 1 << 19  # at most
LINE_CHARACTERS = 2000  # of one line
NOTE_CHARACTERS = 300  # of a note beside a line
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
KINDS = {
    "typed": "sent to the board",
    "stage": "marker of a boot stage",
    "runner": "message of the runner",
    "verdict": "end of a module's execution",
    "other": "output of others amid the shell's",
    "fatal": "fatal message",
    "fail": "where the test failed",
}
"""The kinds of lines, as shown in the margin. A line of several kinds has the last of them."""


@dataclass(frozen=True)
class Mark:
    """An event at the byte before `offset`; `kind` is one of `KINDS`."""

    offset: int
    kind: str
    text: str


@dataclass(frozen=True)
class Span:
    """A part of a transcript, from `start` up to `end`; seconds count from the monotonic stamp `zero_ns`.

    `power_on_ns` is the stamp of a power-on within it. `marks` are in any order.
    """

    transcript: Transcript
    start: int
    end: int
    zero_ns: int
    power_on_ns: int | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class ConsoleRow:
    """A received line with its number and offsets, or a sent one without a number.

    `foreign` is the index in `text` where other output begins. `virtual_ns` is the stamp of a board in virtual time.
    """

    number: int | None
    time_ns: int
    start: int
    end: int
    text: str
    kind: str = ""
    foreign: int | None = None
    virtual_ns: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Patterns:
    """The patterns that classify an image's lines, and its prompt."""

    prompt: bytes
    fatal: re.Pattern[bytes]
    noise: re.Pattern[bytes]
    verdict: re.Pattern[bytes]
    runner: re.Pattern[bytes]
    foreign: re.Pattern[bytes]

    @classmethod
    def of(cls, manifest: Manifest) -> Patterns:
        return _patterns(manifest.console, manifest.agent, manifest.failures)

    def kind(self, line: bytes, alone: bool) -> tuple[str, int | None]:
        """Return the kind of a line, and the index in it where other output begins.

        `alone` is set for a line that ends as the shell's lines do not.
        """
        foreign = self.foreign.search(line) if alone else None
        begins = foreign.start() if foreign else None
        if self.fatal.search(line) and not self.noise.search(line):
            return "fatal", None
        if self.verdict.search(line):
            return "verdict", None
        if begins == 0:
            return "other", None
        return ("runner" if self.runner.search(line) else ""), begins


@functools.lru_cache(maxsize=16)
def _patterns(console: ConsoleFacts, agent: AgentFacts | None, failures: Failures) -> Patterns:
    def any_of(*patterns: str, end: str = "") -> re.Pattern[bytes]:
        text = "|".join(f"(?:{re.sub('[(][?]P<[^>]*>', '(?:', pattern)})" for pattern in patterns)
        return re.compile((f"(?:{text}){end}" if patterns else "(?!)").encode())

    verdicts = (agent.success, agent.failed, "hil-seal v=1 ") if agent else ()
    return Patterns(
        prompt=console.prompt.encode(),
        fatal=any_of(*failures.fatal, *(agent.faults if agent else ())),
        noise=any_of(*console.noise),
        verdict=any_of(*verdicts),
        runner=any_of(*console.runner, *((agent.executing,) if agent else ())),
        foreign=any_of(*console.foreign, end="$"),
    )


def stages_of(data: bytes, start: int, stages: Sequence[Stage]) -> Iterator[Mark]:
    """Yield a mark for each stage whose marker is in `data`, in their order; `data` begins at the offset `start`."""
    at = 0
    for stage in stages:
        found = data.find(stage.marker.encode(), at)
        if found < 0:
            return
        at = found + len(stage.marker.encode())
        yield Mark(start + at, "stage", f"stage {stage.name}")


def beginning(part: Span) -> int:
    """Return the offset of the part's last `CONSOLE_LINES`, or of its last `CONSOLE_BYTES` where these are fewer."""
    start = max(part.start, part.end - CONSOLE_BYTES)
    data = part.transcript.read(start, part.end)
    at = len(data) - data.endswith(b"\n")
    for _ in range(CONSOLE_LINES):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return start
    return start + at + 1


def rows(part: Span, patterns: Patterns) -> list[ConsoleRow]:
    """Return the lines of `part` from its `beginning` on, received and typed."""
    start = beginning(part)
    virtual = _virtual_stamps(part.transcript)
    first = part.transcript.line_number(start)
    made: list[ConsoleRow] = []
    before = Line(0, 0, start, b"")
    for entry in lines(span(part.transcript, start, part.end), first=first, prompt=patterns.prompt):
        if isinstance(entry, Line):
            made.append(_row(entry, patterns, virtual))
            before = entry
        else:
            begin = before.offset if entry.start < before.end else before.end  # sent within a line, or between two
            texts = typed_lines(entry.data)
            made += [ConsoleRow(None, entry.time_ns, begin, begin, _shown(text), "typed") for text in texts]
    return made


def _row(line: Line, patterns: Patterns, virtual: Sequence[tuple[int, int]]) -> ConsoleRow:
    text = COLOURS.sub(b"", line.data.removesuffix(b"\n").rstrip(b"\r"))
    kind, foreign = patterns.kind(text[:LINE_CHARACTERS], line.data.endswith(b"\r\n"))
    if foreign is not None:  # in characters as shown
        foreign = len(printable(text[:foreign]))
    stamps = bisect_right(virtual, line.offset, key=lambda stamp: stamp[0])  # those up to the line's start
    time = virtual[stamps - 1][1] if stamps else None
    return ConsoleRow(line.number, line.time_ns, line.offset, line.end, _shown(text), kind, foreign, time)


def _shown(text: bytes) -> str:
    """Return a line with control characters as `\\xNN`, cut to `LINE_CHARACTERS`."""
    shown = printable(text[: 4 * LINE_CHARACTERS])
    left = len(text) - LINE_CHARACTERS
    return shown if left <= 0 else f"{shown[:LINE_CHARACTERS]} ... and {left} bytes more, see the transcript"


def _virtual_stamps(transcript: Transcript) -> Sequence[tuple[int, int]]:
    """Return pairs of offset and virtual time in ns; none in real time."""
    try:
        data = transcript.path.with_suffix(".virtual.tsv").read_bytes()
    except OSError:
        return ()
    stamps = (record.split(b"\t") for record in data.split(b"\n")[:-1])
    return [(int(offset), int(time)) for time, offset in stamps]


def marked(lines: Sequence[ConsoleRow], marks: Sequence[Mark]) -> list[ConsoleRow]:
    """Return the lines, each mark on the line that holds the byte before it; on the last where none does yet."""
    made = list(lines)
    places = [place for place, row in enumerate(lines) if row.number is not None]
    ends = [lines[place].end for place in places]
    order = ["", *KINDS]
    for mark in marks:
        if not places or mark.offset <= lines[places[0]].start:
            continue
        at = places[min(bisect_left(ends, mark.offset), len(places) - 1)]
        kind = max(made[at].kind, mark.kind, key=order.index)
        made[at] = replace(made[at], kind=kind, notes=(*made[at].notes, mark.text[:NOTE_CHARACTERS]))
    return made
