"""The failure origin of a test: from its exception into its report."""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import NoReturn

import pytest
from _pytest.outcomes import Failed

from hil.errors import ORIGINS, HilError
from hil.plugin.labels import AllureLabels
from hil.plugin.record import TestRecord, record_of
from hil.text import printable


class Refused(Failed):
    """A failure for a `HilError` in a fixture; pytest shows it without the fixture's source."""

    __module__ = "builtins"  # shown in messages, like pytest's own outcomes

    def __init__(self, error: HilError) -> None:
        super().__init__(f"{type(error).__name__} ({error.origin}): {error}", pytrace=False)
        self.error = error


def refuse(error: HilError) -> NoReturn:
    """Fail the test with the text of `error` and without a traceback."""
    raise Refused(error) from None


def origin_of(error: BaseException, *, on_board: bool) -> str:
    """Return the failure origin of `error`, one of `ORIGINS`.

    A `HilError`, or the first one among the causes of `error`, has its own. Without one, an expectation that was not
    met has its `origin`, else `image`, in a test with a board; everything else has `test`. An infrastructure error
    that comes up while an error of the image is handled, in a clean-up for example, does not hide that error.
    """
    if isinstance(error, BaseExceptionGroup):
        return min((origin_of(part, on_board=on_board) for part in error.exceptions), key=ORIGINS.index)
    known = hil_error(error)
    if known is None:
        return getattr(error, "origin", "image") if on_board and _is_expectation(error) else "test"
    if known.origin == "infrastructure" and error.__context__ is not None and not error.__suppress_context__:
        first = origin_of(error.__context__, on_board=on_board)
        if first in ("image", "configuration"):
            return first
    return known.origin


def hil_error(error: BaseException) -> HilError | None:
    """Return the first `HilError` among `error` and its causes."""
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, Refused):
            return link.error
        if isinstance(link, HilError):
            return link
        link = link.__cause__
    return None


def decisive(error: BaseException, *, on_board: bool) -> BaseException:
    """Return the error that decides `origin_of`: a `HilError`, and of a group the one with the first origin."""
    while isinstance(error, BaseExceptionGroup):
        error = min(error.exceptions, key=lambda part: ORIGINS.index(origin_of(part, on_board=on_board)))
    return hil_error(error) or error


def _is_expectation(error: BaseException) -> bool:
    pexpect = sys.modules.get("pexpect")  # where it was never imported, nothing has waited
    timeout = (pexpect.TIMEOUT,) if pexpect else ()
    return isinstance(error, (AssertionError, Failed, *timeout))


def cause_of(error: BaseException) -> str:
    """Return the type and the first line of `error`, or of the `HilError` among its causes, on one line."""
    found = hil_error(error) or error
    first = getattr(found, "brief", "") or str(found).strip().partition("\n")[0]
    return f"{type(found).__name__}: {first}" if first else type(found).__name__


class FailureOrigins:
    """Adds the failure origin and the cause to each failed report."""

    def __init__(self, labels: AllureLabels | None) -> None:
        self._labels = labels

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed:
            self._add_origin(record_of(item), item, call, report)
        return report

    def _add_origin(
        self, record: TestRecord, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> None:
        board, error = record.board, call.excinfo and call.excinfo.value
        if error is not None:
            origin, cause = origin_of(error, on_board=board is not None), cause_of(error)
            ours = hil_error(error)
            name, dead_board = type(ours or error).__name__, ours.dead_board if ours else ""
        else:  # it passed against expectation, or subtests failed, which have added theirs
            origin = record.origins[-1] if record.origins else "test"
            cause, name, dead_board = report.longreprtext.strip().partition("\n")[0], "", ""
        if board is not None:
            if trouble := board.trouble():  # a failed test bed explains every other failure
                origin, cause, name = "infrastructure", trouble, ""
                report.sections.append(("test bed", printable(trouble)))
            elif origin == "infrastructure" and board.place is not None and board.where not in cause:
                cause += f" (place {board.where})"
        worst = decisive(error, on_board=board is not None) if error is not None else None
        if origin not in record.origins:
            record.origins.append(origin)
            if self._labels is not None:
                self._labels.add_failure(origin, worst, record)
        report.user_properties += [("fault", origin), ("cause", cause), ("error", name), ("dead_board", dead_board)]
        evidence = worst.evidence if isinstance(worst, HilError) else None
        if evidence and evidence.transcript and "transcript" not in dict(report.user_properties):
            report.user_properties.append(("transcript", str(evidence.transcript)))
        # JUnit's file takes the properties of the last report of a test
        item.user_properties += [("fault", origin), ("cause", cause)]
