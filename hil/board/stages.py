"""The walk through a boot: stage by stage, each with a limit, each with its time."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hil.console import Console, LineClosed, LineTimeout
from hil.console.lines import printable
from hil.errors import BootError
from hil.image.manifest import Failures, Stage

CLOCK = "host monotonic, stamped by the console's reader"
RECENT = 1 << 16  # bytes of the line that a diagnosis looks at
SILENCE = 3.0  # seconds; the longest pause seen in good boots is 2.7 s
FLOOD = 50  # repetitions of one line, among the recent bytes of a boot whose time is over
LAST_WORDS, PAUSE = 2.0, 0.3  # seconds for what follows a fatal message, and of quiet that end it
OVERLAP = 256  # bytes before a chunk that are looked at again with it
LONGEST_LINE = 1 << 12  # bytes; what goes on without a line end is taken in pieces of so many
DISTINCT = 1000  # different lines that are counted at a time
NOTHING = "silence, not one byte"
FAILURES = Failures()
STAMP = re.compile(rb"^\[ *\d+\.\d+\] ", re.M)


@dataclass(frozen=True)
class StageTime:
    """A stage that was reached: seconds since power-on, and where its marker ends in the transcript."""

    name: str
    seconds: float
    offset: int


@dataclass(frozen=True)
class BootReport:
    """What a boot went through. Times are seconds since power-on by `clock`; `power_on_ns` is the host's stamp.

    For a board that was restored it is the boot of its snapshot, and `restored` the seconds that the restore took until
    the board was proven.
    """

    board: str
    image: str
    power_on_ns: int
    stages: tuple[StageTime, ...]
    transcript: Path
    clock: str = CLOCK
    restored: float | None = None

    @property
    def seconds(self) -> float:
        """From power-on to the last stage."""
        return self.stages[-1].seconds if self.stages else 0.0

    def __getitem__(self, name: str) -> StageTime:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r}; there are: {', '.join(stage.name for stage in self.stages)}")


def walk(
    console: Console,
    stages: Sequence[Stage],
    *,
    power_on_ns: int,
    answers: Mapping[str, str] = MappingProxyType({}),
    around: Callable[[str], AbstractContextManager[None]] = lambda name: nullcontext(),
    failures: Failures = FAILURES,
    noise: Sequence[str] = (),
    before: Sequence[StageTime] = (),
    loader: str = "",
) -> tuple[StageTime, ...]:
    """See each stage's marker in turn, time it, and type the line that `answers` has for it.

    Each wait runs within `around(name of the stage)`. `noise` are patterns of lines that are not fatal. `before` are
    the stages of what loaded the image, which come first in what is returned, and the pattern `loader` is what it says
    when it is back, at most `OVERLAP` bytes of one line.

    Raises `BootError` naming the stage that did not come, the last one that did and why: its time is
    over, a fatal message, a flood, or an earlier stage or the loader again, the last three at once; `LineClosed` with
    the same when the machine is gone.
    """
    watch = _Watch(console, failures, noise, loader)
    start = console.position
    reached: list[StageTime] = [*before]

    def so_far() -> str:
        return f"last reached: {reached[-1].name} after {reached[-1].seconds:.1f} s" if reached else "none before it"

    for number, stage in enumerate(stages):
        # a login may be asked for again: it was refused, or greets with "Last login: "
        passed = [one.marker for one in stages[:number] if not one.repeats and one.marker not in answers]
        aim = f"the boot did not reach stage {stage.name!r} (marker {stage.marker!r})"
        try:
            with around(stage.name):
                marker, end = watch.find((stage.marker, *passed), stage.limit)
                console.redact(end - len(marker.encode()))
                if marker != stage.marker:
                    again = next(one.name for one in stages if one.marker == marker)
                    raise _Trouble(f"stage {again!r} came again: the machine has started over")
        except LineTimeout:
            on_line = diagnose(console, failures, noise, start=start)
            silent = "; is the machine on, and is it this line at this speed?" if on_line == NOTHING else ""
            raise BootError(
                f"{aim} in {stage.limit:g} s; {so_far()}; on the line: {on_line}",
                cause=on_line,
                stage=stage.name,
                hint=f"the marker and limit are in the image's manifest; the transcript shows the whole boot{silent}",
                evidence=console.evidence(),
            ) from None
        except _Trouble as trouble:
            seconds = (time.monotonic_ns() - power_on_ns) / 1e9
            raise BootError(
                f"{aim} and was given up after {seconds:.1f} s; {so_far()}; on the line: {trouble}",
                cause=str(trouble),
                stage=stage.name,
                hint="what counts as fatal, as a flood and as noise is in the image's manifest",
                evidence=console.evidence(),
            ) from None
        except LineClosed as error:
            raise LineClosed(
                f"{aim}; {so_far()}; {error.message}", stage=stage.name, hint=error.hint, evidence=error.evidence
            ) from error
        zero = power_on_ns if console.lockstep is None else 0  # virtual time begins with the machine
        reached.append(StageTime(stage.name, (console.stamp(end - 1) - zero) / 1e9, end))
        if stage.marker in answers:
            console.sendline(answers[stage.marker])
    return tuple(reached)


class _Trouble(Exception):
    """Something on the line says that the boot has failed; the message is what."""


class _Watch:
    """Follows a booting machine's line, each byte once: finds markers, fatal messages and floods."""

    def __init__(self, console: Console, failures: Failures, noise: Sequence[str], loader: str = "") -> None:
        self._console = console
        self._loader = re.compile(loader.encode(), re.M) if loader else None
        self._failures = failures
        self._judge = _judge(failures, noise)
        self._carry = b""
        self._bytes = 0
        self._counts: collections.Counter[bytes] = collections.Counter()

    def find(self, markers: Sequence[str], timeout: float) -> tuple[str, int]:
        """Wait for the first of the literal `markers`; returns it and the offset behind it.

        Moves the console there. Raises `LineTimeout`, `LineClosed`, `_Trouble`.
        """
        console = self._console
        literals = [marker.encode() for marker in markers]
        pattern = re.compile(b"|".join(map(re.escape, literals)))
        keep = max(*map(len, literals), OVERLAP if self._loader else 0) - 1
        deadline = console.now + timeout
        self._carry, self._bytes = b"", 0
        self._counts.clear()
        tail = b""
        while data := console.read(max(0.0, deadline - console.now)):
            window = tail + data
            found = pattern.search(window)
            self._heed_loader(window[: found.start()] if found else window)
            self._take(window[len(tail) : found.start()] if found else data)
            if found:
                console.position += found.end() - len(window)
                return found[0].decode(), console.position
            tail = window[-keep:] if keep else b""
            if console.now > deadline:  # a line that never rests would be read for ever
                break
        raise LineTimeout("no marker in time")

    def _heed_loader(self, window: bytes) -> None:
        if self._loader is not None and (back := self._loader.search(window)):
            lines = window[: back.start()].strip().split(b"\n")
            said = f" after {printable(lines[-1].rstrip())[:200]!r}" if lines[-1] else ""
            raise _Trouble(f"the loader is back ({printable(back[0])[:80]!r}){said}")

    def _take(self, data: bytes) -> None:
        """Judge and count the lines that `data` completes."""
        data = self._carry + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > LONGEST_LINE:
            cut = len(data)
        self._carry, data = data[cut:], data[:cut].replace(b"\r\n", b"\n")
        if fatal := self._judge(data):
            self._hear_out()
            raise _Trouble(f"a fatal message: {fatal}")
        self._bytes += len(data)
        self._counts.update(filter(None, STAMP.sub(b"", data).split(b"\n")))
        if len(self._counts) > DISTINCT:
            self._counts = collections.Counter(dict(self._counts.most_common(DISTINCT // 2)))
        if self._bytes <= self._failures.flood_bytes or not self._counts:
            return
        line, count = self._counts.most_common(1)[0]
        if count > self._failures.flood_lines:
            raise _Trouble(f"a flood: {printable(line)[:200]!r} {count} times in {self._bytes} bytes")

    def _hear_out(self) -> None:
        """Let what follows a fatal message, a dump for example, arrive for the evidence."""
        deadline = self._console.now + LAST_WORDS
        with suppress(LineClosed):
            while (left := deadline - self._console.now) > 0 and self._console.read(min(PAUSE, left)):
                pass


def diagnose(console: Console, failures: Failures = FAILURES, noise: Sequence[str] = (), *, start: int = 0) -> str:
    """What the end of the line looks like: silence, a fatal message, a flood of one line, or activity.

    What came before the offset `start` has no part in it: an earlier boot, or what loaded the image.
    """
    transcript = console.transcript
    console.redact()
    if transcript.size <= start:
        return NOTHING
    recent = transcript.read(max(start, transcript.size - RECENT), transcript.size).replace(b"\r\n", b"\n")
    if fatal := _judge(failures, noise)(recent):
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


def _judge(failures: Failures, noise: Sequence[str]) -> Callable[[bytes], str]:
    """A function from whole lines to the first fatal message in them, empty where there is none."""
    fatal = re.compile("|".join(f"(?:{one})" for one in failures.fatal).encode())
    harmless = re.compile("|".join(f"(?:{one})" for one in noise).encode())

    def judge(lines: bytes) -> str:
        for match in fatal.finditer(lines) if failures.fatal else ():
            start, end = lines.rfind(b"\n", 0, match.start()) + 1, lines.find(b"\n", match.end())
            line = lines[start : end if end >= 0 else len(lines)]
            if not (noise and harmless.search(line)):
                return printable(match[0])[:300].strip()
        return ""

    return judge
