"""Progress of long work: a bar on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from hil.text import printable_line


class Progress:
    """A display of progress; each step ends the one before. This class shows nothing."""

    def step(self, name: str, total: float | None = None, *, unit: str = "") -> None:
        """Begin the step `name` of size `total` (None: unknown); with a `unit` ("B") also show the rate."""

    def advance(self, done: float) -> None:
        """Set how much of the current step's total is done."""


class Lines(Progress):
    """Lines of text: one at the start of a step, then at most one every `every` seconds."""

    def __init__(self, stream: TextIO, every: float = 5.0) -> None:
        self._stream = stream
        self._every = every
        self._start = self._last = time.monotonic()
        self._name = self._unit = ""
        self._total: float | None = None
        self._begin = self._start

    def step(self, name: str, total: float | None = None, *, unit: str = "") -> None:
        """Write the line of a new step."""
        self._name, self._total, self._unit, self._begin = name, total, unit, time.monotonic()
        self._write(name)

    def advance(self, done: float) -> None:
        """Write a line if the last one is older than `every`."""
        now = time.monotonic()
        if now - self._last < self._every:
            return
        text = f"{self._name}: {done / self._total:.0%}" if self._total else self._name
        if self._unit and self._total and done:
            rate = done / (now - self._begin)
            text += f", {rate:.3g} {self._unit}/s, {(self._total - done) / rate:.0f} s left"
        self._write(text)

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        print(f"[{self._last - self._start:5.1f} s] {printable_line(text)}", file=self._stream, flush=True)


@contextmanager
def shown(stream: TextIO) -> Iterator[Progress]:
    """Give a display on `stream`: a bar if it is a terminal, else lines."""
    if not stream.isatty():
        yield Lines(stream)
        return
    from rich.console import Console  # slow to import and rarely needed
    from rich.markup import escape
    from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display
    from rich.text import Text

    class Rate(ProgressColumn):
        """Rate and remaining time of a step with a unit."""

        def render(self, task: Task) -> Text:
            unit, left = task.fields.get("unit"), task.time_remaining
            return Text(f"{task.speed:.3g} {unit}/s, {left:.0f} s left" if unit and task.speed and left else "")

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), Rate())
    with Display(*columns, console=Console(file=stream)) as display:

        class Bars(Progress):
            def __init__(self) -> None:
                self._task: TaskID | None = None

            def step(self, name: str, total: float | None = None, *, unit: str = "") -> None:
                self.close()
                self._task = display.add_task(escape(printable_line(name)), total=total, unit=unit)

            def advance(self, done: float) -> None:
                if self._task is not None:
                    display.update(self._task, completed=done)

            def close(self) -> None:
                if self._task is not None:
                    display.update(self._task, total=1, completed=1)
                    display.stop_task(self._task)

        bars = Bars()
        yield bars
        bars.close()
