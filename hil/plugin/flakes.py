"""Flake accounting: whose fault a failure is, second tries, repetitions, and boots as rates.

All is computed from the reports of the tests, where they are printed: with xdist that is the controller.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from _pytest.outcomes import Failed
from _pytest.runner import call_and_report  # pytest has no public way to a second try

from hil.errors import ORIGINS, HilError
from hil.history.identity import unnumbered
from hil.plugin import options
from hil.plugin.accounts import BootCounts, PassRate, TestRun, table
from hil.plugin.faults import INJECTIONS
from hil.plugin.labels import FILING
from hil.text import printable, printable_line

if TYPE_CHECKING:  # at run time only where a board is used: a collection must stay quick
    from collections.abc import Generator


RETRIED = "rerun"  # the outcome of a try that another one follows, as other plugins know it
REPETITION = "hil_repetition"
BOARD = pytest.StashKey[Any]()  # the board under a test
WHERE = pytest.StashKey[tuple[str, str]]()  # its place, or its name, and its incarnation, before it is up
START = pytest.StashKey[int]()  # where its part of the board's transcript begins
ITEM_FAULTS = pytest.StashKey[list[str]]()
PROPERTIES = pytest.StashKey[list[tuple[str, Any]]]()  # of a test before its first try
CHOICE = pytest.StashKey[Any]()  # the choice of the board that a test has requested, at run time or before
BOOTS = pytest.StashKey[BootCounts]()


class Refused(Failed):
    """A `HilError` out of a fixture, told without the fixture's own code."""

    __module__ = "builtins"  # for messages, as pytest's own has it

    def __init__(self, error: HilError) -> None:
        super().__init__(f"{type(error).__name__} ({error.origin}): {error}", pytrace=False)
        self.error = error


def refuse(error: HilError) -> NoReturn:
    """Fail the test with what `error` says, and no traceback."""
    raise Refused(error) from None


def origin_of(error: BaseException, *, on_board: bool) -> str:
    """Who has to act, one of `ORIGINS`.

    The error's own word where it, or what it was raised from, is a `HilError`; else an expectation that was not met
    is the image's where the test had a board, unless it names another `origin`, and all else the test's.
    What comes while a failure of the image is
    handled, in a clean-up for example, does not hide it.
    """
    if isinstance(error, BaseExceptionGroup):
        return min((origin_of(one, on_board=on_board) for one in error.exceptions), key=ORIGINS.index)
    ours = known(error)
    if ours is None:
        return getattr(error, "origin", "image") if on_board and _is_expectation(error) else "test"
    if ours.origin == "infrastructure" and error.__context__ is not None and not error.__suppress_context__:
        first = origin_of(error.__context__, on_board=on_board)
        if first in ("image", "configuration"):
            return first
    return ours.origin


def known(error: BaseException) -> HilError | None:
    """The first error of ours among `error` and what it was raised from."""
    one: BaseException | None = error
    while one is not None:
        if isinstance(one, Refused):
            return one.error
        if isinstance(one, HilError):
            return one
        one = one.__cause__
    return None


def _worst(error: BaseException, *, on_board: bool) -> BaseException:
    """The error that `origin_of` speaks of: ours, of several that with the worst fault."""
    while isinstance(error, BaseExceptionGroup):
        error = min(error.exceptions, key=lambda one: ORIGINS.index(origin_of(one, on_board=on_board)))
    return known(error) or error


def _is_expectation(error: BaseException) -> bool:
    pexpect = sys.modules.get("pexpect")  # its time is over: what was expected did not come
    waited = (pexpect.TIMEOUT,) if pexpect else ()
    return isinstance(error, (AssertionError, Failed, *waited))


def cause_of(error: BaseException) -> str:
    """What happened, in one line."""
    one = known(error) or error
    first = getattr(one, "brief", "") or str(one).strip().partition("\n")[0]
    return f"{type(one).__name__}: {first}" if first else type(one).__name__


def repetition_of(item: pytest.Item) -> int | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(REPETITION) if callspec else None


def add_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--infra-retries",
        type=int,
        default=1,
        metavar="N",
        help="try a test again, on a fresh board, up to N times after a failure of the infrastructure (1); "
        "failures of image and test are never retried",
    )
    group.addoption(
        "--repeat", type=int, metavar="N", help="run each test N times and show pass rates with 95 %% intervals"
    )


def register(config: pytest.Config, directory: Path) -> None:
    """Begin to account; `directory` is where rates.json goes. Raises `UsageError` for options out of range."""
    option = config.option
    if option.infra_retries < 0:
        raise pytest.UsageError(f"--infra-retries {option.infra_retries}: give 0 or more")
    if option.repeat is not None and option.repeat < 1:
        raise pytest.UsageError(f"--repeat {option.repeat}: give at least 1")
    if option.repeat is not None and option.seeds is not None:
        raise pytest.UsageError(
            "--repeat and --seeds: the figures of a seed would be pooled more than once; choose one"
        )
    config.stash[BOOTS] = BootCounts()
    config.pluginmanager.register(Flakes(config, directory), "hil-flakes")


def _may_use_board(item: pytest.Item) -> bool:
    """Return whether `item` uses a board: by its fixtures' names, or perhaps at run time, marked with `board`."""
    if not isinstance(item, pytest.Function):
        return False
    return "hil_session_board" in item.fixturenames or item.get_closest_marker("board") is not None


class Flakes:
    """The hooks that account, try again and repeat."""

    def __init__(self, config: pytest.Config, directory: Path) -> None:
        option = config.option
        self.config = config
        self.boots = config.stash[BOOTS]
        self.file = directory / "rates.json"
        self.written = ""
        self.repeat: int | None = option.repeat
        by_hand = any(options.of_others(config, name) for name in ("usepdb", "setuponly", "setupshow"))
        self.retries = 0 if by_hand else option.infra_retries
        self.is_worker = hasattr(config, "workerinput")
        self.runs: dict[str, TestRun] = {}

    # repetitions

    @pytest.hookimpl(trylast=True)  # so that the number ends the id
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if self.repeat is not None and self.repeat > 1:
            metafunc.fixturenames.append(REPETITION)
            metafunc.parametrize(REPETITION, range(1, self.repeat + 1))

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if (number := repetition_of(item)) is not None:
            item.user_properties.append(("repetition", number))

    # faults and second tries

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if not report.failed:
            return report
        faults = item.stash.setdefault(ITEM_FAULTS, [])
        if call.excinfo is not None:
            error = call.excinfo.value
            fault, cause = origin_of(error, on_board=BOARD in item.stash), cause_of(error)
        else:  # a test that passed and was not to, or one with failed subtests, which have said why
            fault, cause = faults[-1] if faults else "test", report.longreprtext.strip().partition("\n")[0]
        if (board := item.stash.get(BOARD, None)) is not None:
            if trouble := board.trouble():  # then nothing else means anything
                fault, cause = "infrastructure", trouble
                report.sections.append(("test bed", printable(trouble)))
            elif fault == "infrastructure" and board.place is not None and board.where not in cause:
                cause += f" (place {board.where})"
        if fault not in faults:
            faults.append(fault)
            if (filing := item.config.stash.get(FILING, None)) is not None:
                worst = call.excinfo and _worst(call.excinfo.value, on_board=board is not None)
                made = bool(item.stash.get(INJECTIONS, None))
                filing.blame(fault, worst, board, start=item.stash.get(START, 0), made=made)
        report.user_properties += [("fault", fault), ("cause", cause)]
        # the last report of a test stands for it in JUnit's file
        item.user_properties += [("fault", fault), ("cause", cause)]
        return report

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if not self.retries or not _may_use_board(item) or self._is_rerun_by_others(item):
            return None
        for left in range(self.retries, -1, -1):
            item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
            again = self._try(item, nextitem, left)
            item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
            if not again:
                break
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Forget the try before, ours or that of another plugin."""
        properties = item.stash.setdefault(PROPERTIES, list(item.user_properties))
        item.user_properties[:] = properties
        faults = item.stash.get(ITEM_FAULTS, [])
        if "infrastructure" in faults and BOARD in item.stash:
            item.stash[BOARD].dirty = f"the infrastructure failed in {item.name}"
        for key in (BOARD, ITEM_FAULTS):
            if key in item.stash:
                del item.stash[key]

    def _is_rerun_by_others(self, item: pytest.Item) -> bool:
        """Return whether pytest-rerunfailures runs a failed `item` again: then that is what the user asked for."""
        plugin = self.config.pluginmanager.getplugin("rerunfailures")
        count = getattr(plugin, "get_reruns_count", None)
        return bool(count and count(item))

    def pytest_report_header(self) -> list[str]:
        reruns = options.of_others(self.config, "reruns")
        if not reruns:
            return []
        return [f"hil: --reruns {reruns}: pytest-rerunfailures runs failed tests again, in place of --infra-retries"]

    def _try(self, item: Any, nextitem: pytest.Item | None, left: int) -> bool:
        """Run a test once; whether to do it again. Reports wait for that once it may come to it."""
        held: list[pytest.TestReport] = []
        log = item.ihook.pytest_runtest_logreport

        def phase(when: Any, **more: Any) -> bool:
            report = call_and_report(item, when, log=False, **more)
            ended = when == "call" and report.passed  # but its teardown may fail
            if left and (held or ended or item.stash.get(ITEM_FAULTS, None) == ["infrastructure"]):
                held.append(report)
            else:
                log(report=report)
            return report.passed

        if not item._request:  # of the try before
            item._initrequest()
        try:
            if phase("setup"):
                phase("call")
            phase("teardown", nextitem=None if item.session.shouldfail or item.session.shouldstop else nextitem)
        finally:
            item._request, item.funcargs = False, None
        # subtests have failed in public already, which no second try can take back
        failed = any(report.failed for report in held) and item.stash[ITEM_FAULTS] == ["infrastructure"]
        again = failed and not self._dead(item)
        for report in held:
            if again and report.failed:
                vars(report)["outcome"] = RETRIED
            elif again:
                continue  # the test is not over yet
            log(report=report)
        return again

    def _dead(self, item: Any) -> bool:
        """Whether the test's board is given up, so that another try would only say so again."""
        chosen, board = item.stash.get(CHOICE, None), item.stash.get(BOARD, None)
        if chosen is None:
            return False
        dead = self.boots.dead(str(chosen))
        if not chosen.any:
            where, incarnation = item.stash.get(WHERE, ("", ""))
            dead = dead or self.boots.dead(where, incarnation=incarnation) or (board is not None and bool(board.lost))
        return dead and not self.config.option.keep_going_on_dead_board

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, Any] | None:
        return ("retried", "R", ("RETRIED", {"yellow": True})) if report.outcome == RETRIED else None

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: object) -> None:
        """A test whose process died in it cannot tell."""
        report.user_properties = [("fault", "infrastructure"), ("cause", str(report.longrepr).partition("\n")[0])]

    # accounts

    @pytest.hookimpl(tryfirst=True)  # before xdist sends it off
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        report.user_properties += [("boot", told) for told in self.boots.hand_over()]
        if not self.is_worker:
            self.account(report)

    def account(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = report.user_properties
        for _, boot in (one for one in properties if one[0] == "boot"):
            self.boots.take(boot)
        told = dict(properties)
        test = unnumbered(report.nodeid, told.get("repetition"))
        run = self.runs.setdefault(report.nodeid, TestRun(report.nodeid, test))
        fault, cause = told.get("fault", "test"), told.get("cause", "")
        if report.outcome == RETRIED:
            where = next((name for name, _ in report.sections if name.startswith("console, ")), "")
            run.retried_origin = fault
            run.retried.append(f"{cause}; {where}" if where else cause)
        elif report.failed and (not run.fault or ORIGINS.index(fault) < ORIGINS.index(run.fault)):
            run.fault, run.cause = fault, cause
        elif report.passed and report.when == "call":
            run.passed = True

    @property
    def tallies(self) -> list[PassRate]:
        tests: dict[str, list[TestRun]] = {}
        for run in self.runs.values():
            tests.setdefault(run.test, []).append(run)
        return [PassRate(test, tuple(runs)) for test, runs in tests.items()]

    def told(self) -> Iterator[str]:
        """Second tries and boots, for a terminal."""
        retried = [run for run in self.runs.values() if run.retried]
        for run in retried:
            became = f"{run.fault}'s fault" if run.fault else "passed" if run.passed else "skipped"
            tries = f"{len(run.retried) + 1} tries"
            yield f"retried after a failure of the {run.retried_origin}, then {became}: {run.nodeid} ({tries})"
            yield from (f"  {cause}" for cause in run.retried)
        yield from self.boots.text()

    def facts(self) -> dict[str, Any]:
        """What rates.json holds."""
        return {
            "schema": 1,
            "repeat": self.repeat or 1,
            "confidence": 0.95,
            "tests": [tally.facts for tally in self.tallies],
            "boots": self.boots.facts(),
        }

    def pytest_sessionfinish(self) -> None:
        option = self.config.option
        if self.is_worker or option.collectonly or not self.runs or not (self.repeat or self.boots.tries):
            return
        text = json.dumps(self.facts(), indent=2) + "\n"
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(text, "utf-8")
            self.written = f"rates: {os.path.relpath(self.file, self.config.invocation_params.dir)}"
        except OSError as error:  # the summary is still to come, and says what became of the tests
            self.written = f"rates: not written: {error}"
        if getattr(option, "allure_report_dir", None):
            from hil.report import evidence

            evidence.attach_rates("\n".join([*table(self.tallies), "", *self.told()]) + "\n", text)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        once = sum(run.test == run.nodeid for run in self.runs.values())
        if self.repeat is not None and self.repeat > 1 and once:
            terminalreporter.write_line(
                f"--repeat {self.repeat}: {once} tests ran once; only test functions are repeated, not the items of "
                "unittest.TestCase, doctest and other plugins",
                yellow=True,
            )
        told = list(self.told())
        if self.repeat and self.runs:
            terminalreporter.section("pass rates")
            told = [*table(self.tallies), *told]
        elif told:
            terminalreporter.section("flakes")
        for line in told:
            terminalreporter.write_line(printable_line(line))
        if self.written:
            terminalreporter.write_line(self.written)
