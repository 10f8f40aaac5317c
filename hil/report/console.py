"""The console of one test as a page: numbered, timed lines that say whose they are, to be searched."""

from __future__ import annotations

import functools
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hil.console import Transcript
from hil.console.recording import SENT, pieces, span
from hil.console.transcript import printable
from hil.image.manifest import AgentFacts, ConsoleFacts, Failures, Manifest, Stage
from hil.report.markup import asset, escaped, page

CONSOLE_LINES = 2000  # the last so many lines of a test's console go into its page; the file has them all
CONSOLE_BYTES = 1 << 19  # and no more than so many bytes
LINE_CHARACTERS = 2000  # of one line
NOTE_CHARACTERS = 300  # of what is put beside a line
COLOURS = re.compile(rb"\x1b\[[0-9;]*m")
SEAL = rb"hil-seal v=1 "
WORDS = {
    "typed": "what was typed",
    "stage": "a stage of the boot",
    "runner": "the runner's words",
    "verdict": "what became of a module",
    "other": "others than the shell, in the middle of its output",
    "fatal": "a fatal message",
    "fail": "where the test failed",
}
"""What a line is, in its margin, the later ones before the earlier where it is several things."""


@dataclass(frozen=True)
class Mark:
    """Something that happened once the byte before `offset` was there; `kind` is one of `WORDS`."""

    offset: int
    kind: str
    text: str


@dataclass(frozen=True)
class Span:
    """A part of a transcript, from `start` up to `end`; seconds count from the monotonic stamp `zero_ns`.

    Where a boot is in it `power_on_ns` is its beginning. `marks` are in any order.
    """

    transcript: Transcript
    start: int
    end: int
    zero_ns: int
    power_on_ns: int | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class ConsoleRow:
    """A line that came, with its number and offsets, or that was sent, without; `foreign` is where others' text begins.

    `virtual_ns` is there on a board in virtual time.
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
    """By which an image's lines are told apart, and the prompt that what is typed stands behind."""

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
        """What the line is, and where in it others' text begins; `alone` where it ends as the shell's do not."""
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
        text = "|".join(f"(?:{re.sub('[(][?]P<[^>]*>', '(?:', one)})" for one in patterns)
        return re.compile((f"(?:{text}){end}" if patterns else "(?!)").encode())

    told = (agent.success, agent.failed, SEAL.decode()) if agent else ()
    return Patterns(
        prompt=console.prompt.encode(),
        fatal=any_of(*failures.fatal, *(agent.faults if agent else ())),
        noise=any_of(*console.noise),
        verdict=any_of(*told),
        runner=any_of(*console.runner, *((agent.executing,) if agent else ())),
        foreign=any_of(*console.foreign, end="$"),
    )


def stages_of(data: bytes, start: int, stages: Sequence[Stage]) -> Iterator[Mark]:
    """The stages whose markers are in `data`, which begins at the offset `start`, each behind the one before."""
    at = 0
    for stage in stages:
        found = data.find(stage.marker.encode(), at)
        if found < 0:
            return
        at = found + len(stage.marker.encode())
        yield Mark(start + at, "stage", f"stage {stage.name}")


def beginning(part: Span) -> int:
    """Where of `part` its last `CONSOLE_LINES` begin, or its last `CONSOLE_BYTES` where these are fewer."""
    start = max(part.start, part.end - CONSOLE_BYTES)
    data = part.transcript.read(start, part.end)
    at = len(data) - data.endswith(b"\n")
    for _ in range(CONSOLE_LINES):
        at = data.rfind(b"\n", 0, at)
        if at < 0:
            return start
    return start + at + 1


def rows(part: Span, patterns: Patterns) -> list[ConsoleRow]:
    """The lines of `part`, from its `beginning` on, and what was typed meanwhile."""
    start = beginning(part)
    virtual = _virtual(part.transcript)
    number = part.transcript.line_number(start)
    made: list[ConsoleRow] = []
    line, begin, since = bytearray(), start, 0
    later: list[ConsoleRow] = []  # typed while a line was under way

    def came(end: int) -> None:
        nonlocal number, begin
        made.append(_row(bytes(line), number, since, begin, end, patterns, virtual))
        made.extend(later)
        number, begin = number + 1, end
        line.clear()
        later.clear()

    for event in span(part.transcript, start, part.end):
        if event.kind == SENT:
            texts = event.data.removesuffix(b"\n").split(b"\n")
            typed = [ConsoleRow(None, event.time_ns, begin, begin, _shown(text), "typed") for text in texts]
            (later if line and line != patterns.prompt else made).extend(typed)
            continue
        at = event.start
        for piece in pieces(event.data):
            if not line:
                since = event.time_ns
            line += piece
            at += len(piece)
            if piece.endswith(b"\n"):
                came(at)
    if line:
        came(part.end)
    made.extend(later)
    return made


def _row(
    line: bytes, number: int, since: int, begin: int, end: int, patterns: Patterns, virtual: VirtualStamps | None
) -> ConsoleRow:
    alone = line.endswith(b"\r\n")
    text = COLOURS.sub(b"", line.removesuffix(b"\n").rstrip(b"\r"))
    kind, foreign = patterns.kind(text[:LINE_CHARACTERS], alone)
    if foreign is not None:  # in characters of what is shown
        foreign = len(printable(text[:foreign]))
    return ConsoleRow(number, since, begin, end, _shown(text), kind, foreign, virtual.at(begin) if virtual else None)


def _shown(text: bytes) -> str:
    """Fit to be read: control characters as `\\xNN`, and no more of the line than anybody reads."""
    shown = printable(text[: 4 * LINE_CHARACTERS])
    left = len(text) - LINE_CHARACTERS
    return shown if left <= 0 else f"{shown[:LINE_CHARACTERS]} ... and {left} bytes more, see the transcript"


@dataclass(frozen=True)
class VirtualStamps:
    """The virtual stamps of a transcript, ns, and the offsets that they are for."""

    times: tuple[int, ...]
    offsets: tuple[int, ...]

    def at(self, offset: int) -> int | None:
        place = bisect_right(self.offsets, offset)
        return self.times[place - 1] if place else None


def _virtual(transcript: Transcript) -> VirtualStamps | None:
    try:
        data = transcript.path.with_suffix(".virtual.tsv").read_bytes()
    except OSError:  # in real time there is none
        return None
    stamps = [record.split(b"\t") for record in data.split(b"\n")[:-1]]
    return VirtualStamps(tuple(int(time) for time, _ in stamps), tuple(int(offset) for _, offset in stamps))


def marked(lines: Sequence[ConsoleRow], marks: Sequence[Mark]) -> list[ConsoleRow]:
    """The lines with each of the `marks` on the one that holds the byte before it; on the last where none does yet."""
    made = list(lines)
    places = [place for place, row in enumerate(lines) if row.number is not None]
    ends = [lines[place].end for place in places]
    order = ["", *WORDS]
    for mark in marks:
        if not places or mark.offset <= lines[places[0]].start:
            continue
        at = places[min(bisect_left(ends, mark.offset), len(places) - 1)]
        kind = max(made[at].kind, mark.kind, key=order.index)
        made[at] = replace(made[at], kind=kind, notes=(*made[at].notes, mark.text[:NOTE_CHARACTERS]))
    return made


def render(part: Span, manifest: Manifest, *, failed: bool = False) -> str | None:
    """The page of `part`; None where nothing was typed and nothing came, except of a test that `failed`."""
    every = rows(part, Patterns.of(manifest))
    if not every and not failed:
        return None
    shown = every[-CONSOLE_LINES:]
    cut = len(shown) < len(every) or beginning(part) > part.start
    begin = shown[0].start if shown else part.start
    marks = [one if cut else replace(one, offset=max(one.offset, begin + 1)) for one in part.marks]
    lines = marked(shown, marks)
    body = [f"<p>{_head(part, lines, cut)}"]
    for mark in marks if not any(row.kind == "fail" for row in lines) else ():
        if mark.kind == "fail":
            where = f"at line {part.transcript.line_number(mark.offset)}, which is not shown" if shown else "here"
            body.append(f'<p id="fail" class="bad">The test failed {where}: {escaped(mark.text[:NOTE_CHARACTERS])}')
    used = [word for word in WORDS if any(row.kind == word for row in lines)]
    if used:
        body.append(f'<p class="faint">{"; ".join(f"{word}: {WORDS[word]}" for word in used)}')
    body.append(
        '<p id="still" class="faint">To search it with / and n and N, download it and open it; Ctrl-F does here.'
        '<div id="bar"><input id="find" type="search" placeholder="search ( / )" aria-label="search the console"> '
        '<button id="back" title="N">back</button> <button id="next" title="n">next</button> '
        '<label><input id="only" type="checkbox"> only these lines</label> <span id="told" role="status"></span></div>'
    )
    if any(row.kind == "fail" for row in lines):
        body.append('<p><a href="#fail">where it failed</a>')
    body.append(f'<div class="log{" end" if failed else ""}" tabindex="0"><table>{_table(part, lines)}</table></div>')
    return page("console", "".join(body), styles=[asset("console.css")], script=asset("console.js"))


def _head(part: Span, lines: Sequence[ConsoleRow], cut: bool) -> str:
    path = escaped(part.transcript.path)
    first, last = (part.transcript.line_number(at) for at in (part.start, max(part.start, part.end - 1)))
    numbers = [row.number for row in lines if row.number is not None]
    if not numbers:
        return f"{path}, at line {first}: nothing came during this test"
    text = f"{path}, lines {numbers[0]} to {numbers[-1]}"
    if cut:
        text += f"; the test began in line {first} and ended in line {last}, the transcript has them all"
    return text


def _table(part: Span, lines: Sequence[ConsoleRow]) -> str:
    if not lines:
        return ""
    booted = part.power_on_ns is not None and any(row.kind == "stage" for row in lines)
    virtual = any(row.virtual_ns is not None for row in lines)
    columns = ["line", "seconds", *(["since power-on"] if booted else []), *(["virtual time"] if virtual else [])]
    head = "".join(f'<th class="n">{name}' for name in columns) + "<th><th>text"
    failed = False
    made = [f"<thead><tr>{head}<tbody>"]
    for row in lines:
        times = [f"{(row.time_ns - part.zero_ns) / 1e9:.3f}"]
        if booted:
            times.append(f"{(row.time_ns - (part.power_on_ns or 0)) / 1e9:.3f}")
        if virtual:
            times.append("" if row.virtual_ns is None else f"{row.virtual_ns / 1e9:.6f}")
        names = f' class="{row.kind}"' if row.kind else ""
        if row.kind == "fail" and not failed:
            failed, anchor = True, ' id="fail"'
        else:
            anchor = f' id="L{row.number}"' if row.number is not None else ""
        cells = "".join(f'<td class="n">{text}' for text in ("" if row.number is None else row.number, *times))
        made.append(f"<tr{anchor}{names}>{cells}<td>{row.kind}<td>{_text(row)}")
    return "".join(made)


def _text(row: ConsoleRow) -> str:
    text = escaped(row.text)
    if row.foreign is not None:
        text = f"{escaped(row.text[: row.foreign])}<b>{escaped(row.text[row.foreign :])}</b>"
    return text + "".join(f" <i>&larr; {escaped(note)}</i>" for note in row.notes)
