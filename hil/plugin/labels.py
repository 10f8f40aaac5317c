"""The labels of a test in Allure's report: its markers, its board, its bounds and its failures."""

from __future__ import annotations

import datetime
import os
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hil import slow
from hil.board.selection import name_of
from hil.errors import BootError, HilError
from hil.history.identity import stable_test, suite_of
from hil.host import project
from hil.plugin.record import TestRecord, record_of
from hil.plugin.repetitions import repetition_of
from hil.plugin.run_facts import RunFacts
from hil.plugin.selection import BoardSelection
from hil.plugin.selections import BoardSelections


def register(config: pytest.Config, facts: RunFacts, selections: BoardSelections) -> AllureLabels | None:
    """Register the labels of a run that writes a report."""
    if facts.allure is None:
        return None
    labels = AllureLabels(config, facts.run, selections, project.current().tracker)
    config.pluginmanager.register(labels, "hil-labels")
    return labels


class AllureLabels:
    """The labels of the running test, `current`, with which Allure's results are completed."""

    def __init__(self, config: pytest.Config, run: str, selections: BoardSelections, tracker: str) -> None:
        self._config = config
        self._selections = selections
        self._tracker = tracker
        self._results = slow.labels.ResultLabels(run)
        self._results.__enter__()
        config.add_cleanup(self._results.__exit__)
        self._writer: slow.Writer | None = None

    @property
    def current(self) -> slow.labels.TestLabels | None:
        return self._results.labels

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:  # Allure's plugin has registered its own writer by now

        if (replaced := slow.replace_writer()) is not None:
            self._writer, undo = replaced
            self._config.add_cleanup(undo)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._writer is not None and self._writer.problem and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._writer is not None and self._writer.problem:
            terminalreporter.write_line(f"Allure's results are not complete: {self._writer.problem}", red=True)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._results.labels = self._begin(item)
        return (yield)

    def _begin(self, item: pytest.Item) -> slow.labels.TestLabels:
        callspec = getattr(item, "callspec", None)
        path, *names = item.nodeid.split("::")
        classes = "::".join(names).partition("[")[0].split("::")[:-1]
        file = Path(path)
        selection = self._selections.of(item)
        repetition = repetition_of(item)
        labels = slow.labels.TestLabels(
            nodeid=item.nodeid,
            suite=suite_of(item.nodeid, str(self._config.rootpath)),
            title=_title(item, file),
            story=_story(item),
            module=file.stem,
            package=".".join(file.parent.parts),
            classes=tuple(classes),
            parameters=tuple(callspec.params) if callspec else (),
            counted={} if repetition is None else {"repetition": str(repetition)},
            requirements=tuple(name for mark in item.iter_markers("requirement") for name in mark.args),
            owner=_closest(item, "owner"),
            severity=_closest(item, "severity"),
            issues=tuple(name for mark in item.iter_markers("issue") for name in mark.args),
            known=_known(item),
            tracker=self._tracker,
            worker=os.environ.get("PYTEST_XDIST_WORKER", "main"),
            chosen=str(selection) if selection else "",
        )
        if selection is not None:  # as far as it is known before the board is open
            labels.board = selection.expected and name_of(selection.name)
            labels.image = self._config.option.image or ""
            labels.clock = "real" if selection.seed is None else "virtual"
        labels.test = _stable_name(item, selection, labels.board)
        return labels

    def set_board(self, item: pytest.Item, selection: BoardSelection, board: slow.Board) -> None:
        """Set the labels of the test's board, which may not be up yet, and of the test's executions."""
        if self.current is not None:
            self.current.board, self.current.image = board.name, board.manifest.name
            self.current.place = board.place.name if board.place else ""
            self.current.test = _stable_name(item, selection, board.name)
            self.current.executions = record_of(item).executions

    def add_checks(self, checks: Sequence[slow.Check]) -> None:
        """Add the outcomes of bounds in the running test."""
        if self.current is not None:
            self.current.outcomes += tuple(str(check.outcome) for check in checks)

    def add_failure(self, origin: str, error: BaseException | None, record: TestRecord) -> None:
        """Add a failure of the running test with its `origin`."""
        if self.current is None:
            return
        error = error or Exception()
        boot = isinstance(error, BootError)
        fatal = origin == "image" and not boot and record.board is not None and _fatal(record.board, record.start)
        stage = (getattr(error, "stage", None) or "") if boot else ""
        kind = slow.kind_of(origin, error, self.current.last, fatal=fatal, made=bool(record.injections))
        self.current.failures += (slow.labels.FailureLabels(origin, kind, stage),)


def _stable_name(item: pytest.Item, selection: BoardSelection | None, board: str) -> str:
    """Return the name of the test that stays the same from run to run, on a board of that name where it is known."""
    if selection is None:
        return stable_test(item.nodeid, "", "", repetition_of(item))
    named = selection.parameter(board) if board else str(selection)
    return stable_test(item.nodeid, str(selection), named, repetition_of(item))


def _fatal(board: slow.Board, start: int) -> bool:
    """Return whether the console has a fatal message, such as a panic, since the offset `start`."""
    manifest = board.manifest
    with suppress(HilError, OSError, ValueError):  # the line is gone
        return slow.is_fatal(board.console, manifest.failures, manifest.console.noise, start=start)
    return False


def _closest(item: pytest.Item, name: str) -> str:
    mark = item.get_closest_marker(name)
    return str(mark.args[0]) if mark else ""


def _known(item: pytest.Item) -> slow.labels.Known | None:

    mark = item.get_closest_marker("known_issue")
    if mark is None:
        return None
    until = mark.kwargs.get("until")
    holds = until is None or datetime.date.today() <= datetime.date.fromisoformat(until)
    issue, text = mark.args
    return slow.labels.Known(issue, text, holds)


def _title(item: pytest.Item, file: Path) -> str:
    """Return the first line of the docstring of the test's module, or the module's name."""
    text = getattr(getattr(item, "module", None), "__doc__", None) or ""
    return text.strip().partition("\n")[0].rstrip(".") or file.stem.removeprefix("test_").replace("_", " ")


def _story(item: Any) -> str:
    """Return the name of a test with parameters beside its board, in words: it groups the test's variants."""
    own = set(item.callspec.params) - {slow.labels.BOARD_PARAMETER} if hasattr(item, "callspec") else ()
    return getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ") if own else ""
