"""Repetitions of tests, and the pass rates and boots of a run.

All is computed from the reports of the tests in the process that prints them: with xdist in the controller.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from hil import slow
from hil.errors import ORIGINS
from hil.history.identity import unnumbered
from hil.plugin.accounts import BootCounts, PassRate, TestRun, table
from hil.plugin.retries import RETRIED
from hil.plugin.run_facts import RunFacts
from hil.text import printable_line

PARAMETER = "hil_repetition"


def repetition_of(item: pytest.Item) -> int | None:
    """Return the number of a repeated test, from 1."""
    callspec = getattr(item, "callspec", None)
    return callspec.params.get(PARAMETER) if callspec else None


class Repetitions:
    """Repeats tests, counts the outcomes, and writes them to `rates.json` beside the transcripts."""

    def __init__(self, config: pytest.Config, boots: BootCounts, facts: RunFacts) -> None:
        self._config = config
        self._boots = boots
        self._facts = facts
        self._repeat: int | None = config.option.hil_repeat
        self._is_worker = hasattr(config, "workerinput")
        self._runs: dict[str, TestRun] = {}
        self._written = ""

    @pytest.hookimpl(trylast=True)  # the number is the last part of the id
    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if self._repeat is not None and self._repeat > 1:
            metafunc.fixturenames.append(PARAMETER)
            metafunc.parametrize(PARAMETER, range(1, self._repeat + 1))

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if (number := repetition_of(item)) is not None:
            item.user_properties.append(("repetition", number))

    @pytest.hookimpl(tryfirst=True)  # before xdist sends the report to the controller
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        report.user_properties += [("boot", attempt) for attempt in self._boots.hand_over()]
        if not self._is_worker:
            self._count(report)

    def _count(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = report.user_properties
        for name, attempt in properties:
            if name == "boot":
                self._boots.take(attempt)
        facts = dict(properties)
        test = unnumbered(report.nodeid, facts.get("repetition"))
        run = self._runs.setdefault(report.nodeid, TestRun(report.nodeid, test))
        origin, cause = facts.get("fault", "test"), facts.get("cause", "")
        if report.outcome == RETRIED:
            where = next((name for name, _ in report.sections if name.startswith("console, ")), "")
            run.retried_origin = origin
            run.retried.append(f"{cause}; {where}" if where else cause)
        elif report.failed and (not run.fault or ORIGINS.index(origin) < ORIGINS.index(run.fault)):
            run.fault, run.cause = origin, cause
        elif report.passed and report.when == "call":
            run.passed = True

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, crashitem: str, report: pytest.TestReport, sched: object) -> None:
        """Add the origin of the failure for a test whose worker died."""
        report.user_properties = [("fault", "infrastructure"), ("cause", str(report.longrepr).partition("\n")[0])]

    def _pass_rates(self) -> list[PassRate]:
        tests: dict[str, list[TestRun]] = {}
        for run in self._runs.values():
            tests.setdefault(run.test, []).append(run)
        return [PassRate(test, tuple(runs)) for test, runs in tests.items()]

    def _flakes(self) -> Iterator[str]:
        """Yield the lines of the summary on second tries and boots."""
        for run in self._runs.values():
            if not run.retried:
                continue
            became = f"failed by the {run.fault}" if run.fault else "passed" if run.passed else "skipped"
            tries = f"{len(run.retried) + 1} tries"
            yield f"retried after a failure of the {run.retried_origin}, then {became}: {run.nodeid} ({tries})"
            yield from (f"  {cause}" for cause in run.retried)
        yield from self._boots.text()

    def pytest_sessionfinish(self) -> None:
        option = self._config.option
        if self._is_worker or option.collectonly or not self._runs or not (self._repeat or self._boots.tries):
            return
        rates = self._pass_rates()
        facts = {
            "schema": 1,
            "repeat": self._repeat or 1,
            "confidence": 0.95,
            "tests": [rate.facts for rate in rates],
            "boots": self._boots.facts(),
        }
        text = json.dumps(facts, indent=2) + "\n"
        file = self._facts.directory / "rates.json"
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            self._written = f"rates: {self._facts.shown(file)}"
        except OSError as error:  # the summary has yet to name the tests that failed
            self._facts.note_unwritten(error)
        if self._facts.allure:
            slow.evidence.attach_rates("\n".join([*table(rates), "", *self._flakes()]) + "\n", text)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        once = sum(run.test == run.nodeid for run in self._runs.values())
        if self._repeat is not None and self._repeat > 1 and once:
            terminalreporter.write_line(
                f"--hil-repeat {self._repeat}: {once} tests ran once; only test functions are repeated, not the items "
                "of unittest.TestCase, doctest and other plugins",
                yellow=True,
            )
        lines = list(self._flakes())
        if self._repeat and self._runs:
            terminalreporter.section("pass rates")
            lines = [*table(self._pass_rates()), *lines]
        elif lines:
            terminalreporter.section("flakes")
        for line in lines:
            terminalreporter.write_line(printable_line(line))
        if self._written:
            terminalreporter.write_line(self._written)
