"""Reading of the journals that `hil.plugin.journal` writes: a run's tests and their outcomes, also of a killed run."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.errors import ORIGINS
from hil.history.journal_lines import lines, validated
from hil.host import foreign
from hil.host.processes import Process

VERSION = 2
LIMIT = 512 << 20  # bytes of a journal
NAME = "journal.jsonl"
NOT_RUN = "not run"
CUT_SHORT = "it was cut short"
SEED = re.compile(r"-seed\d+$")


@dataclass(frozen=True)
class Head:
    """A journal's first line: the run's id, process and options. Values that are missing are empty.

    `choices` maps each choice of a board, as it stands among a test's parameters, to the board's name as far as it is
    known before the board is acquired. `repeat` is how often each test runs. `results` is the results file. `software`
    are the versions of framework and tests. `clock` is the choice for all tests; where that is `auto`, each test has
    its own.
    """

    id: str = ""
    time: float = 0.0
    pid: int = 0
    start: int = 0
    host: str = ""
    boot: str = ""
    command: tuple[str, ...] = ()
    root: str = ""
    choices: Mapping[str, str] = field(default_factory=dict)
    repeat: int = 1
    clock: str = ""
    results: str = ""
    transcripts: str = ""
    software: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def here(cls) -> dict[str, Any]:
        """Return what identifies this process among all processes of all machines."""
        process = Process.of(os.getpid())
        assert process is not None
        return {"pid": process.pid, "start": process.start, "host": socket.gethostname(), "boot": _boot_id()}

    def board(self, name: str) -> str:
        """Return the board's name from that of a choice, which has the seed in virtual time."""
        return SEED.sub("", name) if self.clock.startswith("virtual") else name

    @property
    def elsewhere(self) -> bool:
        """Whether the run was on another machine, whose processes cannot be checked from here."""
        return self.host not in ("", socket.gethostname())

    @property
    def alive(self) -> bool:
        """Whether its process still runs on this machine."""
        return self.pid > 0 and not self.elsewhere and self.boot == _boot_id() and Process(self.pid, self.start).alive


@dataclass(frozen=True)
class Tested:
    """The result of a test; `outcome` is passed, failed, skipped or not run.

    `fault` is the failure origin, `error` the class of the exception that `cause` describes, `dead_board` the board or
    place that did not come up. `retried` are the causes of the tries before the last.
    """

    nodeid: str
    outcome: str
    fault: str = ""
    cause: str = ""
    transcript: str = ""
    seconds: float = 0.0
    board: str = ""
    place: str = ""
    retried: tuple[str, ...] = ()
    image: str = ""
    image_sha256: str = ""
    error: str = ""
    dead_board: str = ""
    clock: str = ""

    @property
    def blamed(self) -> bool:
        """Whether image or test failed it."""
        return self.outcome == "failed" and self.fault in ("image", "test")


@dataclass(frozen=True)
class Account:
    """The tests of a run, in order, and its end.

    `boots` are the attempts to bring boards up, `problems` the errors of collection as (where, cause); `died` is
    pytest's own error. `collected` is False where the list of tests is missing. `sources` are the digests of the files
    of tests. `ended` is in seconds since 1970, with the exit `status`; both are None where the journal has no end.
    `broken` lists the lines that were left out.
    """

    tests: Mapping[str, Tested] = field(default_factory=dict)
    boots: tuple[Mapping[str, str], ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    died: str = ""
    collected: bool = False
    head: Head = field(default_factory=Head)
    ended: float | None = None
    status: int | None = None
    broken: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Tested]:
        return [test for test in self.tests.values() if test.outcome == "failed"]

    @property
    def reached(self) -> bool:
        """Whether a test had a board that was up."""
        return any(test.board for test in self.tests.values())

    def counts(self) -> Counter[str]:
        """Return the number of tests by outcome, of failed ones by failure origin."""
        return Counter(test.fault or test.outcome for test in self.tests.values())


def read(path: Path) -> Account:
    """Return the account in the journal at `path`; an empty one where there is none. Broken lines are left out."""
    try:
        return account(lines(foreign.read(path, LIMIT)))
    except FileNotFoundError:
        return Account()
    except OSError as error:
        return Account(broken=(f"the journal cannot be read: {foreign.why(error)}",))


def account(lines: Iterable[Any]) -> Account:
    """Return the account in the lines of a journal. Broken lines are left out and listed."""
    events: dict[str, list[Mapping[str, Any]]] = {}
    boots: list[Mapping[str, str]] = []
    problems: list[tuple[str, str]] = []
    broken: list[str] = []
    facts: dict[str, Any] = {}
    for number, raw in enumerate(lines, 1):
        try:
            line = validated(raw)
        except ValueError as error:
            broken.append(f"line {number}: {error}")
            continue
        boots += line.get("boots", ())
        if "journal" in line:
            facts["head"] = _head(line)
        elif "end" in line:
            facts |= {"status": line["end"], "ended": line.get("time")}
        elif "collected" in line:
            facts |= {"collected": True, "sources": line.get("sources", {})}
            for nodeid in line["collected"]:
                events.setdefault(nodeid, [])
        elif "problem" in line:
            problems.append((line["problem"], line["cause"]))
        elif "died" in line:
            facts["died"] = line["died"]
        elif nodeid := line.get("begin") or line.get("test"):
            events.setdefault(nodeid, []).append(line)
    tests = {nodeid: _test(nodeid, of_test) for nodeid, of_test in events.items()}
    return Account(tests, tuple(boots), tuple(problems), broken=tuple(broken), **facts)


def _head(line: Mapping[str, Any]) -> Head:
    known = {name: line[name] for name in Head.__dataclass_fields__ if name in line}
    return Head(**known | {"command": tuple(line.get("command", ()))})


def _boot_id() -> str:
    """Return the id of this start of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _test(nodeid: str, events: list[Mapping[str, Any]]) -> Tested:
    reports = [event for event in events if "test" in event]
    retried = tuple(report.get("cause", "") for report in reports if report["outcome"] == "rerun")
    final = [report for report in reports if report["outcome"] != "rerun"]
    common: Any = {
        **{name: _first(name, reports) for name in ("board", "clock", "image", "image_sha256")},
        "place": _first("place", reversed(reports)),
        "retried": retried,
        "seconds": sum(report["seconds"] for report in final),
    }
    failed = [report for report in final if report["outcome"] == "failed"]
    if failed:
        worst = min(failed, key=lambda report: ORIGINS.index(report["fault"]))
        common |= {name: worst.get(name, "") for name in ("error", "dead_board")}
        common["transcript"] = _first("transcript", (worst, *failed))
        return Tested(nodeid, "failed", worst["fault"], worst["cause"], **common)
    common["transcript"] = _first("transcript", final)
    if not any(report["when"] == "teardown" for report in final):
        return Tested(nodeid, NOT_RUN, cause=CUT_SHORT if events else "", **common)
    skipped = any(report["outcome"] == "skipped" for report in final)
    return Tested(nodeid, "skipped" if skipped else "passed", **common)


def _first(name: str, reports: Iterable[Mapping[str, Any]]) -> str:
    return next((report[name] for report in reports if name in report), "")
