"""A journal of a run: a JSON line for whatever happens, as it happens, so that a run that is cut short has told.

Loaded with `-p hil.plugin.journal`; `hil.nightly.journal` reads what it writes. With xdist the controller writes.
"""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

TRANSCRIPT = re.compile(r"^transcript: (.+)$", re.M)
CONSOLE = re.compile(r"console, (.+:\d+) to line ")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("hil", "hardware in the loop")
    group.addoption(
        "--journal", type=Path, metavar="FILE", help="write a JSON line for each thing that happens to FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.option.journal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Journal(config.option.journal), "hil-journal")


def place_of(report: pytest.TestReport) -> str:
    """Where in which transcript the report's console is, as FILE:LINE or FILE; empty where it has none."""
    found = next(filter(None, (CONSOLE.match(name) for name, _ in report.sections)), None)
    if found is None:
        found = TRANSCRIPT.search(report.longreprtext)
    return found[1] if found else ""


class Journal:
    """The hooks that write. What cannot be written is an error of pytest's: the run would be worth nothing."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("w", buffering=1, encoding="utf-8")
        self._collected = False
        self._write(journal=1, time=time.time())

    def _write(self, **facts: Any) -> None:
        self._file.write(json.dumps(facts, default=str) + "\n")

    def _collect(self, tests: list[str]) -> None:
        if not self._collected:
            self._collected = True
            self._write(collected=tests)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            lines = report.longreprtext.strip().splitlines() or ["it could not be collected"]
            cause = next((line for line in reversed(lines) if line.startswith("E ")), lines[-1])
            self._write(problem=report.nodeid, cause=cause.removeprefix("E ").strip())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if session.items:  # the controller of xdist has none
            self._collect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, node: object, ids: list[str]) -> None:
        self._collect(list(ids))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._write(begin=nodeid, time=time.time())

    @pytest.hookimpl(trylast=True)  # when the others have said whose fault it is
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        properties: list[tuple[str, Any]] = report.user_properties
        boots = [value for name, value in properties if name == "boot"]
        told = {name: value for name, value in properties if name != "boot" and isinstance(value, str)}
        facts = {"board": told.get("board"), "place": told.get("place"), "boots": boots}
        if report.failed or str(report.outcome) == "rerun":  # of a try that another one follows
            facts |= {
                "fault": told.get("fault", "test"),
                "cause": told.get("cause", ""),
                "transcript": place_of(report),
            }
        facts = {name: value for name, value in facts.items() if value}
        self._write(test=report.nodeid, when=report.when, outcome=report.outcome, seconds=report.duration, **facts)

    def pytest_internalerror(self, excrepr: object) -> None:
        self._write(died=str(excrepr).strip().rpartition("\n")[2])

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._write(end=int(exitstatus), time=time.time())
        self._file.close()
