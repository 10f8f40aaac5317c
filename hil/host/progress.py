"""Progress of long work: one redrawn line on a terminal, lines in a pipe, nothing without a display.

A process has one terminal, so it has one display at a time: `shown` or `signs_of_life` makes it, `current` returns it
to whatever reports its steps. Facts that stay, such as the time of a step, are messages of `logging`.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, TextIO

from hil.text import printable_line

if TYPE_CHECKING:
    from rich.console import Console

LIFE = 30.0  # seconds between two signs of life
REDRAW = 4.0  # per second

_log = logging.getLogger(__name__)


class Progress:
    """A display of progress; each step ends the one before. This class shows nothing.

    `title` precedes each step. An `exclusive` display is used for all work within, in place of one of its own.
    """

    title = ""
    exclusive = False

    def step(self, name: str, total: float | None = None, *, unit: str = "", limit: float | None = None) -> None:
        """Begin the step `name` of size `total` (None: unknown); with a `unit` ("B") also show the rate.

        `limit` is the longest time in seconds that the step may take.
        """

    def advance(self, done: float) -> None:
        """Set how much of the current step's total is done."""


class Silence(Progress):
    """The display of work that is to show nothing."""

    exclusive = True


class _Step(Progress):
    """A display that keeps the current step."""

    def __init__(self) -> None:
        self._name = self._unit = ""
        self._total: float | None = None
        self._limit: float | None = None
        self._done, self._begin = 0.0, time.monotonic()

    def step(self, name: str, total: float | None = None, *, unit: str = "", limit: float | None = None) -> None:
        self._name, self._total, self._unit, self._limit = name, total, unit, limit
        self._done, self._begin = 0.0, time.monotonic()

    def advance(self, done: float) -> None:
        self._done = done

    def _text(self) -> str:
        """Return the step with its share, time, rate and limit."""
        seconds = time.monotonic() - self._begin
        text = printable_line(": ".join(filter(None, (self.title, self._name))))
        if self._total:
            text += f" {self._done / self._total:.0%}"
        text += f" {seconds:.0f} s" if seconds >= 100 else f" {seconds:.1f} s"
        if self._unit and self._total and self._done and seconds:
            rate = self._done / seconds
            text += f", {rate:.3g} {self._unit}/s, {(self._total - self._done) / rate:.0f} s left"
        return text if self._limit is None else f"{text} (limit {self._limit:g} s)"


class Lines(_Step):
    """Lines of text: one at the start of a step, then at most one every `every` seconds."""

    def __init__(self, stream: TextIO, every: float = 5.0) -> None:
        super().__init__()
        self._stream = stream
        self._every = every
        self._start = self._last = time.monotonic()

    def step(self, name: str, total: float | None = None, *, unit: str = "", limit: float | None = None) -> None:
        """Write the line of a new step."""
        super().step(name, total, unit=unit, limit=limit)
        self._write(name)

    def advance(self, done: float) -> None:
        """Write a line if the last one is older than `every`."""
        super().advance(done)
        if time.monotonic() - self._last >= self._every:
            self._write(self._text())

    def _write(self, text: str) -> None:
        self._last = time.monotonic()
        print(f"[{self._last - self._start:5.1f} s] {printable_line(text)}", file=self._stream, flush=True)


class StatusLine(_Step):
    """The current step on one line of a terminal, drawn by rich; empty before the first step."""

    exclusive = True

    def __init__(self) -> None:
        super().__init__()
        self.redraw: Callable[[], None] = lambda: None

    def step(self, name: str, total: float | None = None, *, unit: str = "", limit: float | None = None) -> None:
        """Show the new step at once."""
        super().step(name, total, unit=unit, limit=limit)
        self.redraw()

    def __rich__(self) -> Any:
        from rich.text import Text

        return Text(self._text() if self._name else "", overflow="ellipsis", no_wrap=True, style="dim")


class SignsOfLife(_Step):
    """A line every `every` seconds with the current step, for a log that somebody watches.

    The first one begins with `head`.
    """

    def __init__(self, stream: IO[str], every: float = LIFE, head: str = "") -> None:
        super().__init__()
        self._head = head
        self._stream = stream
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hil-life", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(self._every):
            if self._name:
                print(f"{self._head}hil: {self._text()}", file=self._stream, flush=True)
                self._head = ""

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


_current = Progress()


def current() -> Progress:
    """Return the display in use; one that shows nothing if there is none."""
    return _current


@contextmanager
def displayed(display: Progress) -> Iterator[Progress]:
    """Use `display` for the block."""
    global _current  # noqa: PLW0603
    before, _current = _current, display
    try:
        yield display
    finally:
        _current = before


@contextmanager
def shown(stream: TextIO, console: Console | None = None) -> Iterator[Progress]:
    """Give a display on `stream`: a redrawn line if it is a terminal, else lines.

    An exclusive display is used again. `console` is rich's console of a terminal, which prints above the line.
    """
    if _current.exclusive:
        yield _current
    elif not stream.isatty():
        with displayed(Lines(stream)) as lines:
            yield lines
    else:
        with status_line(console) if console is not None else status_line_on(stream) as line:
            yield line


@contextmanager
def status_line(console: Console, *, redirect: bool = True) -> Iterator[Progress]:
    """Show a line on rich's `console` that is gone after the block.

    With `redirect`, what is printed to the standard streams meanwhile appears above it.
    """
    from rich.live import Live  # slow to import and rarely needed

    line = StatusLine()
    live = Live(
        line,
        console=console,
        refresh_per_second=REDRAW,
        transient=True,
        redirect_stdout=redirect,
        redirect_stderr=redirect,
    )
    line.redraw = live.refresh
    with live, displayed(line):
        yield line


@contextmanager
def status_line_on(stream: TextIO) -> Iterator[Progress]:
    """Show a line on `stream`, a terminal, that is gone after the block."""
    from rich.console import Console

    standard = stream in (sys.stdout, sys.stderr)
    with status_line(Console(file=stream), redirect=standard) as line:
        yield line


@contextmanager
def signs_of_life(stream: IO[str], every: float = LIFE, head: str = "") -> Iterator[Progress]:
    """Write a line on `stream` each time `every` seconds of the block have passed."""
    signs = SignsOfLife(stream, every, head)
    try:
        with displayed(signs):
            yield signs
    finally:
        signs.close()


@contextmanager
def timed(name: str, limit: float | None = None) -> Iterator[None]:
    """Show the block as the step `name`; log its time at its end, unless it fails."""
    _current.step(name, limit=limit)
    begin = time.monotonic()
    yield
    _log.info("%s: %.1f s", name, time.monotonic() - begin)
