"""The stages of a boot: each is waited for, with a limit, and timed."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from types import MappingProxyType

from hil.board.boot_report import StageTime
from hil.board.diagnosis import FAILURES, NOTHING, STAMP, diagnose, fatal_message
from hil.console import Console, LineClosed, LineTimeout
from hil.console.lines import printable
from hil.errors import BootError
from hil.image.manifest import Failures, Stage

LAST_WORDS, PAUSE = 2.0, 0.3  # seconds for output after a fatal message, and of quiet that end it
OVERLAP = 256  # bytes before a chunk that are searched again with it
LONGEST_LINE = 1 << 12  # bytes; longer lines are taken in pieces
DISTINCT = 1000  # different lines that are counted at a time


def walk(
    console: Console,
    stages: Sequence[Stage],
    *,
    power_on_ns: int,
    answers: Mapping[str, str] = MappingProxyType({}),
    around: Callable[[str, float], AbstractContextManager[None]] = lambda name, limit: nullcontext(),
    failures: Failures = FAILURES,
    noise: Sequence[str] = (),
    before: Sequence[StageTime] = (),
    loader: str = "",
) -> tuple[StageTime, ...]:
    """Wait for each stage's marker in turn, time it, and type its line of `answers`.

    Each wait runs within `around(name of the stage, its limit in seconds)`. `noise` are patterns of lines that are not
    fatal. `before` are the stages of the loader, which the result begins with. `loader` is a pattern of the loader's
    prompt, at most `OVERLAP` bytes of one line.

    Raises `BootError` with the missing stage, the last one reached, and the cause: its limit has passed, or, at once, a
    fatal message, a flood, an earlier stage or the loader again. Raises `LineClosed` if the machine has ended.
    """
    watch = _Watch(console, failures, noise, loader)
    start = console.position
    reached: list[StageTime] = [*before]

    def so_far() -> str:
        return f"last reached: {reached[-1].name} after {reached[-1].seconds:.1f} s" if reached else "none before it"

    for number, stage in enumerate(stages):
        # a login may come again: it was refused, or its greeting is "Last login: "
        passed = [one.marker for one in stages[:number] if not one.repeats and one.marker not in answers]
        aim = f"the boot did not reach stage {stage.name!r} (marker {stage.marker!r})"
        try:
            with around(stage.name, stage.limit):
                marker, end = watch.find((stage.marker, *passed), stage.limit)
                console.passwords.redact(end - len(marker.encode()))
                if marker != stage.marker:
                    again = next(one.name for one in stages if one.marker == marker)
                    raise _BootFailed(f"stage {again!r} came again: the machine has started over")
        except (LineTimeout, _BootFailed) as error:
            if isinstance(error, _BootFailed):
                end_of_wait = f"and was given up after {(time.monotonic_ns() - power_on_ns) / 1e9:.1f} s"
                cause, hint = str(error), "the image's manifest defines fatal messages, floods and noise"
            else:
                end_of_wait, cause = f"in {stage.limit:g} s", diagnose(console, failures, noise, start=start)
                hint = "the marker and limit are in the image's manifest; the transcript shows the whole boot"
                if cause == NOTHING:
                    hint += "; check that the machine is on and that line and speed are right"
            raise BootError(
                f"{aim} {end_of_wait}; {so_far()}; on the line: {cause}",
                cause=cause,
                stage=stage.name,
                hint=hint,
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


class _BootFailed(Exception):
    """Output that shows that the boot has failed."""


class _Watch:
    """The reader of a booting machine's line: finds markers, fatal messages and floods, reading each byte once."""

    def __init__(self, console: Console, failures: Failures, noise: Sequence[str], loader: str = "") -> None:
        self._console = console
        self._loader = re.compile(loader.encode(), re.M) if loader else None
        self._failures = failures
        self._fatal_message = fatal_message(failures, noise)
        self._carry = b""
        self._bytes = 0
        self._counts: collections.Counter[bytes] = collections.Counter()

    def find(self, markers: Sequence[str], timeout: float) -> tuple[str, int]:
        """Wait for the first of the literal `markers`; return it and the offset behind it.

        Moves the console there. Raises `LineTimeout`, `LineClosed`, `_BootFailed`.
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
            self._check_loader(window[: found.start()] if found else window)
            self._take(window[len(tail) : found.start()] if found else data)
            if found:
                console.position += found.end() - len(window)
                return found[0].decode(), console.position
            tail = window[-keep:] if keep else b""
            if console.now > deadline:  # a line without pauses would be read for ever
                break
        raise LineTimeout("no marker in time")

    def _check_loader(self, window: bytes) -> None:
        if self._loader is not None and (back := self._loader.search(window)):
            lines = window[: back.start()].strip().split(b"\n")
            after = f" after {printable(lines[-1].rstrip())[:200]!r}" if lines[-1] else ""
            raise _BootFailed(f"the loader is back ({printable(back[0])[:80]!r}){after}")

    def _take(self, data: bytes) -> None:
        """Check and count the lines that `data` completes."""
        data = self._carry + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > LONGEST_LINE:
            cut = len(data)
        self._carry, data = data[cut:], data[:cut].replace(b"\r\n", b"\n")
        if fatal := self._fatal_message(data):
            self._read_rest()
            raise _BootFailed(f"a fatal message: {fatal}")
        self._bytes += len(data)
        self._counts.update(filter(None, STAMP.sub(b"", data).split(b"\n")))
        if len(self._counts) > DISTINCT:
            self._counts = collections.Counter(dict(self._counts.most_common(DISTINCT // 2)))
        if self._bytes <= self._failures.flood_bytes or not self._counts:
            return
        line, count = self._counts.most_common(1)[0]
        if count > self._failures.flood_lines:
            raise _BootFailed(f"a flood: {printable(line)[:200]!r} {count} times in {self._bytes} bytes")

    def _read_rest(self) -> None:
        """Read on after a fatal message: a dump that follows belongs to the evidence."""
        deadline = self._console.now + LAST_WORDS
        with suppress(LineClosed):
            while (left := deadline - self._console.now) > 0 and self._console.read(min(PAUSE, left)):
                pass
