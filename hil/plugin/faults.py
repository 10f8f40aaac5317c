"""Faults on purpose in tests: the fixture, what a failing test tells of them, and the report of a run's findings."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hil.text import printable, printable_line

if TYPE_CHECKING:  # at run time only where a fault is made: a collection must stay quick
    from hil.faults.finding import FaultRecord, Injection
    from hil.faults.injector import Injector
    from hil.plugin.session import Session
    from hil.wasm import Runner

INJECTIONS = pytest.StashKey[list["Injection"]]()
NAME = "hil-faults"
LINES, REPORT = "robustness.jsonl", "robustness.md"


def add_options(group: pytest.OptionGroup) -> None:
    group.addoption(
        "--fault-seed", type=int, default=1, metavar="N", help="seed of the faults that the fixture `faults` makes (1)"
    )


def register(config: pytest.Config, session: Session) -> None:
    config.pluginmanager.register(Robustness(session), NAME)


class Robustness:
    """The findings of a run: its own, and with xdist those of the workers."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.findings: list[FaultRecord] = []
        self._unwritten = ""

    def keep(self, finding: FaultRecord) -> None:
        from hil.faults.finding import to_json

        self.findings.append(finding)
        directory = self._session.directory
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with (directory / LINES).open("a", encoding="utf-8") as file:
                file.write(to_json(finding) + "\n")
        except OSError as error:  # the finding is still in the report at the end
            self._session.note_unwritten(error)
        if self._session.results:
            from hil.report import evidence

            evidence.attach_finding(finding.fault, str(finding))

    @pytest.fixture
    def faults(self, request: pytest.FixtureRequest, hil_runner: Runner) -> Iterator[Injector]:
        """Breaks the board on purpose: `faults.freeze(2.0)` makes a fault, `faults.attempt("freeze")` judges it too."""
        from hil.faults.injector import Injector

        told: list[Injection] = []
        request.node.stash[INJECTIONS] = told
        seed, test = request.config.option.fault_seed, request.node.nodeid
        with Injector(hil_runner, seed=seed, record=told.append, found=self.keep, test=test) as injector:
            yield injector

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.failed and (made := item.stash.get(INJECTIONS, [])):
            report.sections.append(("faults made on purpose", printable("\n".join(map(str, made)))))
        return report

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of xdist has found."""
        told = getattr(node, "workeroutput", {}).get("hil_findings", [])
        if told:
            from hil.faults.finding import from_facts

            self.findings += map(from_facts, map(json.loads, told))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if not self.findings:
            return
        from hil.faults.finding import markdown, to_json

        lines = [to_json(one) for one in self.findings]
        output: Any = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["hil_findings"] = lines
            return
        directory = self._session.directory
        text = markdown(self.findings, self._facts(), directory)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / LINES).write_text("\n".join(lines) + "\n", "utf-8")
            (directory / REPORT).write_text(text, "utf-8")
        except OSError as error:  # the summary is still to come
            self._unwritten = f"report: not written: {error}"
        if self._session.results:
            from hil.report import evidence

            evidence.attach_robustness(text, "\n".join(lines) + "\n")

    def _facts(self) -> dict[str, str]:
        seeds = sorted({one.seed for one in self.findings})
        return {**self._session.facts, "fault seed": ", ".join(map(str, seeds))}

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.findings:
            return
        from hil.faults.finding import ordered, summary, table

        terminalreporter.section("robustness")
        for line in table(ordered(self.findings)):
            terminalreporter.write_line(printable_line(line))
        terminalreporter.write_line(summary(self.findings))
        path = Path(self._session.shown(self._session.directory / REPORT))
        terminalreporter.write_line(self._unwritten or f"report: {path}, and {path.with_name(LINES)}")
