"""The calls of the hooks of other plugins, and the handling of exceptions in them."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hil import slow
from hil.errors import ORIGINS, ConfigurationError, HilError, HookError, InfrastructureError
from hil.text import printable_line

HINT = "correct the hook, or catch the exception in it; the image is not the cause"
KEPT = (ConfigurationError, InfrastructureError)  # exceptions that keep their failure origin
UP, EXECUTION, SERIES, DOWN = (f"pytest_hil_{name}" for name in ("board_up", "execution", "series", "board_down"))


@dataclass
class HookFailure:
    """An exception in a hook, `count` times the same hook of the same plugin."""

    hook: str
    error: HilError
    count: int = 1

    def __str__(self) -> str:
        return self.error.message + (f" ({self.count} times)" if self.count > 1 else "")


class Hooks:
    """Calls the hooks. Only what ends the run is raised: `pytest.exit`, Ctrl-C.

    The failures for the running test are raised by `raise_failures`; `lines` are those of the run, with those of the
    workers of xdist.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._item: pytest.Item | None = None
        self._board: slow.Board | None = None
        self._of_test: dict[tuple[str, str], HookFailure] = {}
        self._of_run: dict[tuple[str, str], HookFailure] = {}
        self._of_workers: list[str] = []

    @property
    def lines(self) -> list[str]:
        """The failures that are no test's."""
        return [*map(str, self._of_run.values()), *self._of_workers]

    def take(self, lines: list[str]) -> None:
        """Take over the lines of a worker of xdist."""
        self._of_workers += lines

    # called for the running test

    def begin(self, item: pytest.Item) -> None:
        """Begin a test. Failures that no test could raise, as those of a set-up that failed, are the run's."""
        self._of_run |= self._of_test
        self._of_test = {}
        self._item, self._board = item, None

    def use(self, board: slow.Board) -> None:
        """Note the board of the running test."""
        self._board = board

    def raise_failures(self, board: slow.Board) -> None:
        """Raise the failures of the running test, if any, as one error.

        A board on which `pytest_hil_board_up` has failed is dirty, so that the hook is called again.
        """
        failures = list(self._of_test.values())
        self._of_test = {}
        if not failures:
            return
        if any(failure.hook == UP for failure in failures):
            board.dirty = board.dirty or f"{UP} has failed"
        first = min((failure.error for failure in failures), key=lambda error: ORIGINS.index(error.origin))
        text = "; ".join(map(str, failures))
        raise type(first)(text, hint=HINT, cause=first.message) from first

    # the hooks

    def board_up(self, board: slow.Board, guest: slow.Guest, up: slow.BoardUp) -> None:
        self._call(self._config.hook, self._of_test, UP, config=self._config, board=board, guest=guest, up=up)

    def board_down(self, board: slow.Board, guest: slow.Guest | None, down: slow.BoardDown) -> None:
        self._call(self._config.hook, self._of_run, DOWN, config=self._config, board=board, guest=guest, down=down)

    def execution(self, execution: slow.Execution) -> None:
        self._call_for_test(EXECUTION, execution=execution)

    def series(self, series: slow.Series, checks: tuple[slow.Check, ...]) -> None:
        self._call_for_test(SERIES, series=series, checks=checks)

    def _call_for_test(self, name: str, **arguments: Any) -> None:
        if self._item is not None and self._board is not None:
            self._call(self._item.ihook, self._of_test, name, item=self._item, board=self._board, **arguments)

    def _call(self, callers: Any, failures: dict[tuple[str, str], HookFailure], name: str, /, **arguments: Any) -> None:
        """Call each implementation of the hook `name` by itself, the one registered last first."""
        for implementation in reversed(getattr(callers, name).get_hookimpls()):
            plugin = _name_of(implementation, self._config)
            try:
                if implementation.wrapper or implementation.hookwrapper:
                    raise TypeError("it is a wrapper, which is not supported")
                implementation.function(*(arguments[argument] for argument in implementation.argnames))
            except pytest.exit.Exception:
                raise
            except (Exception, pytest.fail.Exception, pytest.skip.Exception) as error:
                known = failures.get((name, plugin))
                if known is not None:
                    known.count += 1
                    continue
                failures[name, plugin] = HookFailure(name, _error_of(name, plugin, implementation.function, error))
                traceback.print_exception(error, file=sys.stderr)  # in the test's captured output


def _name_of(implementation: Any, config: pytest.Config) -> str:
    """Return the name of the plugin, for a `conftest.py` its path."""
    path = Path(implementation.plugin_name)
    if path.is_absolute() and path.is_relative_to(config.rootpath):
        return str(path.relative_to(config.rootpath))
    return str(implementation.plugin_name)


def _error_of(name: str, plugin: str, function: Any, error: BaseException) -> HilError:
    """Return the error for an exception in a hook, with the line in the plugin's file that has raised it."""
    kind = next((kept for kept in KEPT if isinstance(error, kept)), HookError)
    what = (error.message if isinstance(error, HilError) else str(error)).strip().partition("\n")[0]
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    numbers = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    line = f", line {numbers[-1]}," if numbers else ""
    text = f"{type(error).__name__}: {what}" if what else type(error).__name__
    made = kind(f"{name} of {printable_line(plugin)}{line} has raised {printable_line(text)}", hint=HINT)
    made.__cause__ = error
    return made


def summary(lines: list[str]) -> Iterator[str]:
    """Yield the lines of the terminal summary for failures of the run."""
    yield "these hooks have failed; no test and no image is the cause:"
    yield from (f"  {line}" for line in lines)
