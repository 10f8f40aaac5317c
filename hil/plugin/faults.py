"""Injected faults in tests: the fixture `faults`, the faults in a failed test's report, and the findings of a run."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hil import slow
from hil.plugin.record import record_of
from hil.plugin.run_facts import RunFacts
from hil.text import printable, printable_line

LINES, REPORT = "robustness.jsonl", "robustness.md"


class Robustness:
    """The findings of a run, with xdist also those of the workers."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts
        self._findings: list[slow.FaultRecord] = []

    def _add(self, finding: slow.FaultRecord) -> None:
        self._findings.append(finding)
        directory = self._facts.directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with (directory / LINES).open("a", encoding="utf-8") as file:
                file.write(slow.fault_record.to_json(finding) + "\n")
        except OSError as error:  # the finding is still in the report at the end
            self._facts.note_unwritten(error)
        if self._facts.allure:
            slow.evidence.attach_finding(finding.fault, str(finding))

    @pytest.fixture
    def faults(self, request: pytest.FixtureRequest, hil_runner: slow.Runner) -> Iterator[slow.Injector]:
        """Injects faults: `faults.freeze(2.0)` injects one, `faults.attempt("freeze")` also judges what follows."""
        node: Any = request.node
        options = {"seed": request.config.option.hil_fault_seed, "test": node.nodeid}
        on_injection = record_of(node).injections.append
        with slow.Injector(hil_runner, on_injection=on_injection, on_record=self._add, **options) as injector:
            yield injector

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed and (injections := record_of(item).injections):
            report.sections.append(("injected faults", printable("\n".join(map(str, injections)))))
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over the findings of a worker of xdist."""
        lines = getattr(node, "workeroutput", {}).get("hil_findings", [])
        if lines:
            self._findings += map(slow.fault_record.from_json, lines)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self._findings:
            return

        lines = [slow.fault_record.to_json(finding) for finding in self._findings]
        output: Any = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["hil_findings"] = lines
            return
        directory = self._facts.directory
        seeds = sorted({finding.seed for finding in self._findings})
        facts = {**self._facts.facts, "fault seed": ", ".join(map(str, seeds))}
        text = slow.fault_report.markdown(self._findings, facts, directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / LINES).write_text("\n".join(lines) + "\n", "utf-8")
            (directory / REPORT).write_text(text, "utf-8")
        except OSError as error:  # the summary has yet to be printed
            self._facts.note_unwritten(error)
        if self._facts.allure:
            slow.evidence.attach_robustness(text, "\n".join(lines) + "\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._findings:
            return

        terminalreporter.section("robustness")
        for line in slow.fault_report.table(slow.fault_report.ordered(self._findings)):
            terminalreporter.write_line(printable_line(line))
        terminalreporter.write_line(slow.fault_report.summary(self._findings))
        path = Path(self._facts.shown(self._facts.directory / REPORT))
        terminalreporter.write_line(f"report: {path}, and {path.with_name(LINES)}")
