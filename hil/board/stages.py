"""The walk through a boot: stage by stage, each with a limit, each with its time."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from hil.console import Console, LineTimeout
from hil.errors import BootError
from hil.image.manifest import Stage

CLOCK = "host monotonic, stamped by the console's reader"
RECENT = 1 << 16  # bytes of the line that a diagnosis looks at
SILENCE = 3.0  # seconds; the longest pause seen in good boots is 2.7 s
FLOOD = 50  # repetitions of one line
FATAL = re.compile(r"Kernel panic - not syncing.*|Unable to handle kernel.*|FAULT HANDLER.*|vm fault on.*")
STAMP = re.compile(r"^\[ *\d+\.\d+\] ")


@dataclass(frozen=True)
class StageTime:
    """A stage that was reached: seconds since power-on, and where its marker ends in the transcript."""

    name: str
    seconds: float
    offset: int


@dataclass(frozen=True)
class BootReport:
    """What a boot went through. Times are seconds since power-on by `clock`."""

    board: str
    image: str
    power_on_ns: int
    stages: tuple[StageTime, ...]
    transcript: Path
    clock: str = CLOCK

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
) -> tuple[StageTime, ...]:
    """See each stage's marker in turn, time it, and type the line that `answers` has for it.

    Each wait runs within `around(name of the stage)`.

    Raises `BootError` naming the stage that did not come, the last one that did and what is on the
    line; `LineClosed` when the machine is gone.
    """
    reached: list[StageTime] = []
    for stage in stages:
        try:
            with around(stage.name):
                match = console.wait_for(stage.marker.encode(), timeout=stage.limit)
        except LineTimeout as error:
            last = (
                f"last reached: {reached[-1].name} after {reached[-1].seconds:.1f} s" if reached else "none before it"
            )
            raise BootError(
                f"the boot did not reach stage {stage.name!r} (marker {stage.marker!r}) in {stage.limit:g} s; {last}; "
                f"on the line: {diagnose(console)}",
                stage=stage.name,
                hint="the marker and limit are in the image's manifest; the transcript shows the whole boot",
                evidence=error.evidence,
            ) from None
        reached.append(StageTime(stage.name, (match.time_ns - power_on_ns) / 1e9, match.end))
        if stage.marker in answers:
            console.sendline(answers[stage.marker])
    return tuple(reached)


def diagnose(console: Console) -> str:
    """What the end of the line looks like: silence, a fatal message, a flood of one line, or activity."""
    transcript = console.transcript
    transcript.refresh()
    if not transcript.size:
        return "silence, not one byte"
    recent = list(transcript.lines(max(0, transcript.size - RECENT)))
    texts = [STAMP.sub("", line.text) for line in recent]
    for text in reversed(texts):
        if found := FATAL.search(text):
            return f"a fatal message: {found[0]}"
    line, count = collections.Counter(filter(None, texts)).most_common(1)[0] if any(texts) else ("", 0)
    if count >= FLOOD:
        return f"a flood: {line!r} {count} times in the last {len(texts)} lines"
    quiet = (time.monotonic_ns() - transcript.time_at(transcript.size - 1)) / 1e9
    if quiet >= SILENCE:
        return f"silence for {quiet:.1f} s after {transcript.size} bytes"
    return f"still active, {transcript.size} bytes so far"
