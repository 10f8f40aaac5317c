"""The reports of tests: text that may be stored and shown, and the console of a failed test."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from hil import slow
from hil.errors import HilError
from hil.host.project import packaged
from hil.plugin.record import record_of
from hil.text import printable, printable_line, storable, storable_data

LINES = 20  # of the console, under the failure of a test


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    """Give each item a node id that can be stored, and the names of fixtures that other plugins read."""
    if (nodeid := storable(item.nodeid)) != item.nodeid:  # of a directory whose name is not UTF-8
        _set_nodeid(item, nodeid)
        path, line, name = item.location
        vars(item)["location"] = (storable(path), line, storable(name))
    if not hasattr(item, "fixturenames"):  # labgrid's plugin reads them
        vars(item)["fixturenames"] = []


def _set_nodeid(item: Any, nodeid: str) -> None:
    """Replace a node id, for which pytest has no public function; since pytest 9.1 it is not a string."""
    if hasattr(item, "_id"):
        item._id = type(item.id).parse(nodeid)
    else:
        item._nodeid = nodeid


@pytest.hookimpl(tryfirst=True)
def pytest_warning_recorded(warning_message: Any) -> None:
    """Make the text of a warning UTF-8, for its way from a worker of xdist to the controller."""
    message = warning_message.message
    if isinstance(message, Warning) and str(message) != storable(str(message)):
        message.args = storable_data(message.args)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable(report: object) -> Generator[None, Any, Any]:
    """Make the text of a report UTF-8, for its way from a worker of xdist to the controller."""
    return storable_data((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Record the measurements of a test with its call, not with its teardown."""
    try:
        return (yield)
    finally:
        if (measure := record_of(item).measure) is not None:
            measure.flush()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the console in the report of a failed test, and no code of the framework."""
    with _plain_traceback(item, call.excinfo):
        report = yield
    _escape(report)
    if report.failed and call.when == "call" and (late := "\n".join(_late_steps(record_of(item).loops))):
        report.sections.append(("the loop's steps were late", printable(late)))
    for transcript, start in record_of(item).spans() if report.failed and call.when == "call" else ():
        transcript.refresh()
        place = f"{transcript.path}:{transcript.line_number(start)}"
        where = f"{place} to line {transcript.line_number(transcript.size)}"
        report.user_properties.append(("transcript", place))
        lines = transcript.tail(LINES, start=start) or ("(nothing came during this test)",)
        report.sections.append((printable_line(f"console, {where}"), "\n".join(map(printable_line, lines))))
    return report


def _late_steps(loops: Sequence[slow.LoopResult]) -> Iterator[str]:
    """Yield a line for each loop in real time that had overruns: the host may have caused the failure."""
    for number, loop in enumerate(loops, 1):
        if loop.overruns and not loop.lateness.clock.exact:
            name = "the loop" if len(loops) == 1 else f"loop {number}"
            late, steps = max(loop.lateness.samples) * 1e3, f"steps of {loop.step * 1e3:.4g} ms"
            yield (
                f"{name} had {len(loop.overruns)} overruns in {len(loop.lateness)} steps, up to {late:.3g} ms late: "
                f"the host was too busy for {steps}"
            )
    if any(loop.overruns and not loop.lateness.clock.exact for loop in loops):
        yield "Late edges come in bursts or merge. Choose --clock virtual, a longer step, or a host with less load."


@contextmanager
def _plain_traceback(item: pytest.Item, excinfo: pytest.ExceptionInfo[BaseException] | None) -> Iterator[None]:
    """Leave the framework's frames, and the causes, out of the traceback of an error that the framework raises.

    pytest's option --full-trace shows all.
    """
    if excinfo is None or item.config.getoption("fulltrace", False) or not _is_ours(excinfo.value):
        yield
        return
    error, frames = excinfo.value, list(excinfo.traceback)
    paths = [Path(frame.path) for frame in frames]
    package, suites = Path(__file__).parents[1], packaged("suites")
    ours = [path.is_relative_to(package) and not path.is_relative_to(suites) for path in paths]
    first = next((at for at, path in enumerate(paths) if path == item.path or path.name == "conftest.py"), None)
    end = None if first is None or True not in ours[first:] else first + ours[first:].index(True)
    cause, suppressed, traceback = error.__cause__, error.__suppress_context__, excinfo.traceback
    links = list(_links(excinfo.tb))
    if end is None:  # no frame of the user, as in a fixture of the plugin
        excinfo.traceback = type(traceback)(frames[-1:])
    else:  # pytest follows the links of the last frame that it gets
        links[end - 1].tb_next = None
        excinfo.traceback = type(traceback)(frames[:end])
    error.__cause__, error.__suppress_context__ = None, True
    try:
        yield
    finally:
        if end is not None:
            links[end - 1].tb_next = links[end]
        excinfo.traceback = traceback
        error.__cause__, error.__suppress_context__ = cause, suppressed


def _links(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_ours(error: BaseException) -> bool:
    """Return whether the framework raises `error` to report something; a bare AssertionError of its own is a bug."""
    named = type(error) is not AssertionError and type(error).__module__.startswith("hil.")
    return isinstance(error, HilError | AssertionError) and named


def _escape(report: pytest.TestReport) -> None:
    """Escape control characters from a board in the message of a failure, which a terminal would obey."""
    for trace, crash, _ in getattr(report.longrepr, "chain", ()):
        for entry in trace.reprentries:
            entry.lines = [printable(line) for line in entry.lines]
        if crash is not None:
            crash.message = printable(crash.message)
