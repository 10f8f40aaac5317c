"""What tests are filed under in the report: the markers for it, and what is known of the test that runs."""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil.board.selection import name_of
from hil.errors import BootError, HilError
from hil.history.identity import stable_test, suite_of

if TYPE_CHECKING:  # at run time only where a report is wanted
    from hil.board.board import Board
    from hil.measure import Check
    from hil.plugin.session import BoardSelection
    from hil.report.labels import Known, Sheet
    from hil.report.writer import Writer
    from hil.wasm import Execution

MARKERS = {
    "requirement(name, ...)": "is evidence for these requirements",
    "owner(name)": "who looks at its failures",
    "severity(level)": "blocker, critical, normal, minor or trivial",
    "issue(number, ...)": "has to do with these issues; the ini option hil_tracker says where they are",
    "known_issue(number, text, until='YYYY-MM-DD')": "its failures are known, and do not count in the report's gate",
}
SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")
FILING = pytest.StashKey["Filing"]()


def add_options(parser: pytest.Parser) -> None:
    parser.addini(
        "hil_tracker", "where issues are, with {} for the number: https://tracker.example/issues/{}", default=""
    )


def register(config: pytest.Config, run: str) -> None:
    """Make the markers known, and file the results of `run` where there are some. Raises `UsageError`."""
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    tracker = config.getini("hil_tracker")
    if tracker and not (tracker.startswith(("http://", "https://")) and tracker.count("{}") == 1):
        raise pytest.UsageError(f"hil_tracker = {tracker}: give a URL of http or https with one {{}} for the number")
    config.pluginmanager.register(Markers(), "hil-markers")
    if getattr(config.option, "allure_report_dir", None):
        filing = config.stash[FILING] = Filing(config, tracker, run)
        config.pluginmanager.register(filing, "hil-labels")


class Markers:
    """Looks at the markers of all tests that are to run, before a board is paid for."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        problems = [f"{item.nodeid}: {problem}" for item in items for problem in wrong(item)]
        if problems:
            raise pytest.UsageError("\n".join(problems))


def wrong(item: pytest.Item) -> Iterator[str]:
    """What is wrong with the markers of `item`."""
    for mark in item.iter_markers():
        if (check := CHECKS.get(mark.name)) and (problem := check(mark)):
            yield f"marker {mark.name}: {problem}"


def _are_texts(values: Sequence[object]) -> bool:
    return all(isinstance(value, str) and value.strip() for value in values)


def _one_or_more(mark: pytest.Mark) -> str:
    right = mark.args and not mark.kwargs and _are_texts(mark.args)
    return "" if right else f'give one or more texts: {mark.name}("NAME", ...)'


def _just_one(mark: pytest.Mark) -> str:
    return "" if len(mark.args) == 1 and not _one_or_more(mark) else f'give one text: {mark.name}("NAME")'


def _severity(mark: pytest.Mark) -> str:
    right = not mark.kwargs and len(mark.args) == 1 and mark.args[0] in SEVERITIES
    return "" if right else f"give one of {', '.join(SEVERITIES)}"


def _known_issue(mark: pytest.Mark) -> str:
    until = mark.kwargs.get("until", "2000-01-01")
    if len(mark.args) != 2 or not _are_texts(mark.args) or set(mark.kwargs) - {"until"}:
        return 'give its number and what is known: known_issue("123", "the clock jumps", until="2026-12-31")'
    try:
        datetime.date.fromisoformat(until)
    except (TypeError, ValueError):
        return f"until={until!r} is not a date like 2026-12-31"
    return ""


CHECKS: dict[str, Callable[[pytest.Mark], str]] = {
    "requirement": _one_or_more,
    "issue": _one_or_more,
    "owner": _just_one,
    "severity": _severity,
    "known_issue": _known_issue,
}


class Filing:
    """Keeps the sheet of the test that runs; allure's results are completed with it."""

    def __init__(self, config: pytest.Config, tracker: str, run: str) -> None:
        from hil.report.labels import Stamp

        self.config = config
        self.tracker = tracker
        self.stamp = Stamp(run)
        self.stamp.__enter__()
        config.add_cleanup(self.stamp.__exit__)
        self.writer: Writer | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:  # by now Allure's plugin has registered its own writer
        from hil.report.writer import replace_writer

        if (replaced := replace_writer()) is not None:
            self.writer, undo = replaced
            self.config.add_cleanup(undo)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.writer is not None and self.writer.problem and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.writer is not None and self.writer.problem:
            terminalreporter.write_line(f"Allure's results are not complete: {self.writer.problem}", red=True)

    @property
    def sheet(self) -> Sheet | None:
        return self.stamp.sheet

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self.stamp.sheet = self._begin(item)
        return (yield)

    def _begin(self, item: pytest.Item) -> Sheet:
        from hil.plugin.flakes import repetition_of
        from hil.plugin.session import choice
        from hil.report.labels import Sheet

        callspec = getattr(item, "callspec", None)
        path, *names = item.nodeid.split("::")
        classes = "::".join(names).partition("[")[0].split("::")[:-1]
        file = Path(path)
        chosen = choice(item)
        repetition = repetition_of(item)
        sheet = Sheet(
            nodeid=item.nodeid,
            suite=suite_of(item.nodeid, str(self.config.rootpath)),
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
            tracker=self.tracker,
            worker=os.environ.get("PYTEST_XDIST_WORKER", "main"),
            chosen=str(chosen) if chosen else "",
        )
        if chosen is not None:  # as far as it is known without the board
            sheet.board = chosen.expected and name_of(chosen.name)
            sheet.image = self.config.option.image or ""
            sheet.clock = "real" if chosen.seed is None else "virtual"
        sheet.test = self._name(item, chosen, sheet.board)
        return sheet

    @staticmethod
    def _name(item: pytest.Item, chosen: BoardSelection | None, board: str) -> str:
        from hil.plugin.flakes import repetition_of

        if chosen is None:
            return stable_test(item.nodeid, "", "", repetition_of(item))
        named = chosen.called(board) if board else str(chosen)
        return stable_test(item.nodeid, str(chosen), named, repetition_of(item))

    def on(self, item: pytest.Item, chosen: BoardSelection, board: Board) -> None:
        """The test's board is known, though it may not be up."""
        if self.sheet is not None:
            self.sheet.board, self.sheet.image = board.name, board.manifest.name
            self.sheet.place = board.place.name if board.place else ""
            self.sheet.test = self._name(item, chosen, board.name)

    def judged(self, checks: Sequence[Check]) -> None:
        """Bounds were decided in the running test."""
        if self.sheet is not None:
            self.sheet.outcomes += tuple(str(check.outcome) for check in checks)

    def ran(self, executions: list[Execution]) -> None:
        """The test deploys, and `executions` is where it is kept."""
        if self.sheet is not None:
            self.sheet.executions = executions

    def blame(self, fault: str, error: BaseException | None, board: Board | None, *, start: int, made: bool) -> None:
        """A failure of the running test was found to be by `fault`.

        `start` is where its console begins, `made` whether it made a fault on purpose.
        """
        from hil.report.kinds import kind_of
        from hil.report.labels import Blame

        if self.sheet is None:
            return
        error = error or Exception()
        fatal = fault == "image" and board is not None and not isinstance(error, BootError) and _fatal(board, start)
        stage = (getattr(error, "stage", None) or "") if isinstance(error, BootError) else ""
        self.sheet.blames += (Blame(fault, kind_of(fault, error, self.sheet.last, fatal=fatal, made=made), stage),)


def _fatal(board: Board, start: int) -> bool:
    """Whether the console has a fatal message, a panic for example, since `start`."""
    from hil.board.stages import diagnose

    manifest = board.manifest
    with suppress(HilError, OSError, ValueError):  # a line that is gone tells nothing
        return diagnose(board.console, manifest.failures, manifest.console.noise, start=start).startswith("a fatal")
    return False


def _closest(item: pytest.Item, name: str) -> str:
    mark = item.get_closest_marker(name)
    return str(mark.args[0]) if mark else ""


def _known(item: pytest.Item) -> Known | None:
    from hil.report.labels import Known

    mark = item.get_closest_marker("known_issue")
    if mark is None:
        return None
    until = mark.kwargs.get("until")
    holds = until is None or datetime.date.today() <= datetime.date.fromisoformat(until)
    issue, text = mark.args
    return Known(issue, text, holds)


def _title(item: pytest.Item, file: Path) -> str:
    """What the test's module is about: its docstring's first line, or its name."""
    text = getattr(getattr(item, "module", None), "__doc__", None) or ""
    return text.strip().partition("\n")[0].rstrip(".") or file.stem.removeprefix("test_").replace("_", " ")


def _story(item: Any) -> str:
    """The test in words, where it has parameters beside its board, so that its variants stand together."""
    from hil.report.labels import BOARD_PARAMETER

    own = set(item.callspec.params) - {BOARD_PARAMETER} if hasattr(item, "callspec") else ()
    return getattr(item, "originalname", item.name).removeprefix("test_").replace("_", " ") if own else ""
