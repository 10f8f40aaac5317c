"""What a board does while it comes up, on pytest's terminal alone: no captured output and no report holds any of it."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TextIO

import pytest

from hil import slow
from hil.text import printable_line

UP = "\x1b[A"
RIGHT = "\r\x1b[{}C"


class BoardLine:
    """The status of boards that come up: a line below the line that pytest writes, gone when the board is up.

    On a terminal it is redrawn with the current stage and its seconds; elsewhere a line is written every 30 s. There is
    none with -q, in a worker of xdist, without pytest's terminal reporter, and with live logging, which has the stages.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the status during the block."""
        reporter: Any = self._config.pluginmanager.getplugin("terminalreporter")
        stream = None if reporter is None or self._unwanted() else self._stream(reporter)
        if stream is None:
            yield
            return
        written: int = reporter._tw.width_of_current_line
        with stream:
            if not _redraws(stream):
                with slow.progress.signs_of_life(stream, head="\n" if written else ""):
                    yield
                return
            with _below(stream, written % reporter._tw.fullwidth), slow.progress.status_line_on(stream):
                yield

    def _unwanted(self) -> bool:
        config = self._config
        live = config.pluginmanager.hasplugin("logging") and (
            config.getoption("log_cli_level") is not None or config.getini("log_cli")
        )
        return bool(config.get_verbosity() < 0 or hasattr(config, "workerinput") or live)

    def _stream(self, reporter: Any) -> TextIO | None:
        """Return a stream of its own to the file of pytest's reporter; None if that is no real file.

        The reporter's descriptor leads to pytest's capture while a test runs.
        """
        try:
            with uncaptured(self._config):
                reporter.flush()
                return open(os.dup(reporter._tw._file.fileno()), "w", encoding="utf-8", errors="replace")  # noqa: PTH123
        except (AttributeError, OSError, io.UnsupportedOperation):
            return None


def uncaptured(config: pytest.Config) -> AbstractContextManager[None]:
    """Suspend pytest's capturing for the block."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    return capture.global_and_fixture_disabled() if capture else nullcontext()


def report(message: str) -> None:
    """Print to standard error what the run waits for, with the name of the worker of xdist."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    text = printable_line(message)
    print(f"hil{f' {worker}' if worker else ''}: {text}", file=sys.stderr, flush=True)


def _redraws(stream: TextIO) -> bool:
    """Return whether the stream is a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


@contextmanager
def _below(stream: TextIO, column: int) -> Iterator[None]:
    """Give the line below the current one for the block, and return to `column` of the current one afterwards."""
    if column:
        stream.write("\n")
        stream.flush()
    try:
        yield
    finally:
        if column:
            stream.write(UP + RIGHT.format(column))
            stream.flush()
