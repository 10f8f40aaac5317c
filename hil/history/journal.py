"""What became of a run's tests, read from the journal that it wrote (`hil.plugin.journal`), whole or cut short."""

from __future__ import annotations

import json
import os
import re
import socket
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.errors import FAULTS
from hil.process import Process

VERSION = 2
NAME = "journal.jsonl"
NOT_RUN = "not run"
CUT_SHORT = "it was cut short"
SEED = re.compile(r"-seed\d+$")
OUTCOMES = ("passed", "failed", "skipped", NOT_RUN)


@dataclass(frozen=True)
class Head:
    """A journal's first line: which run it is, whose, and how it was begun. Empty where it was not told.

    `choices` are the boards by the text that stands for them among the parameters of a test, with their name as far
    as that is known before they are had. `repeat` is how often each test is run. `results` is the file that its
    series go to.
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

    @classmethod
    def here(cls) -> dict[str, Any]:
        """What tells the process that asks from all others, on all machines."""
        process = Process.of(os.getpid())
        assert process is not None
        return {"pid": process.pid, "start": process.start, "host": socket.gethostname(), "boot": _boot_id()}

    def board(self, name: str) -> str:
        """The board's own name in one of the `choices`, which has the seed in virtual time, too."""
        return SEED.sub("", name) if self.clock.startswith("virtual") else name

    @property
    def elsewhere(self) -> bool:
        """Whether it was another machine's, whose processes cannot be seen from here."""
        return self.host not in ("", socket.gethostname())

    @property
    def alive(self) -> bool:
        """Whether its process is there, on this machine and since the same start of it."""
        return self.pid > 0 and not self.elsewhere and self.boot == _boot_id() and Process(self.pid, self.start).alive


@dataclass(frozen=True)
class Tested:
    """What became of a test: `outcome` is one of `OUTCOMES`. `retried` are the causes of tries before the last."""

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

    @property
    def judged(self) -> bool:
        """Whether it says something about image and test."""
        return self.outcome == "passed" or self.blamed

    @property
    def blamed(self) -> bool:
        return self.outcome == "failed" and self.fault in ("image", "test")


@dataclass(frozen=True)
class Account:
    """All tests of a run, in order.

    `boots` are the tries to bring boards up, `problems` what could not be collected, as (where, cause);
    `died` is pytest's own error. `collected` is False where nobody knows which tests there would have been.
    `ended` is when it ended, in seconds since 1970, with which `status`; both None where it did not say so.
    """

    tests: Mapping[str, Tested] = field(default_factory=dict)
    boots: tuple[Mapping[str, str], ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    died: str = ""
    collected: bool = False
    head: Head = field(default_factory=Head)
    ended: float | None = None
    status: int | None = None

    @property
    def failed(self) -> list[Tested]:
        return [test for test in self.tests.values() if test.outcome == "failed"]

    @property
    def reached(self) -> bool:
        """Whether a test had a board that was up."""
        return any(test.board for test in self.tests.values())

    def counts(self) -> Counter[str]:
        """How many tests passed, were skipped and not run, failed by whose fault, and how many were tried again."""
        counted = Counter(test.fault or test.outcome for test in self.tests.values())
        counted["retried"] = sum(bool(test.retried) for test in self.tests.values())
        return counted


def read(path: Path) -> Account:
    """The account in the journal at `path`; an empty one where there is none. Half a last line is left out."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return Account()
    return account(lines(text))


def lines(text: bytes) -> Iterator[dict[str, Any]]:
    """The lines of a journal, as far as they are whole."""
    for line in text.split(b"\n")[:-1]:
        try:
            told = json.loads(line)
        except ValueError:  # the disk was full, or the power failed
            return
        if isinstance(told, dict):
            yield told


def account(lines: Iterable[Mapping[str, Any]]) -> Account:
    """The account in the lines of a journal."""
    events: dict[str, list[Mapping[str, Any]]] = {}
    boots: list[Mapping[str, str]] = []
    problems: list[tuple[str, str]] = []
    died, collected, head = "", False, Head()
    ended: float | None = None
    status: int | None = None
    for line in lines:
        boots += line.get("boots", ())
        if "journal" in line:
            head = _head(line)
        elif "end" in line:
            status, ended = line["end"], line.get("time")
        elif "collected" in line:
            collected = True
            for nodeid in line["collected"]:
                events.setdefault(nodeid, [])
        elif "problem" in line:
            problems.append((line["problem"], line["cause"]))
        elif "died" in line:
            died = line["died"]
        elif nodeid := line.get("begin") or line.get("test"):
            events.setdefault(nodeid, []).append(line)
    tests = {nodeid: _test(nodeid, told) for nodeid, told in events.items()}
    return Account(tests, tuple(boots), tuple(problems), died, collected, head, ended, status)


def _head(line: Mapping[str, Any]) -> Head:
    known = {name: line[name] for name in Head.__dataclass_fields__ if name in line}
    return Head(**known | {"command": tuple(line.get("command", ()))})


def _boot_id() -> str:
    """Which start of the machine this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


def _test(nodeid: str, events: list[Mapping[str, Any]]) -> Tested:
    reports = [event for event in events if "test" in event]
    retried = tuple(one.get("cause", "") for one in reports if one["outcome"] == "rerun")
    final = [one for one in reports if one["outcome"] != "rerun"]
    common: Any = {
        **{name: _first(name, reports) for name in ("board", "image", "image_sha256")},
        "place": next((one["place"] for one in reversed(reports) if "place" in one), ""),
        "retried": retried,
        "seconds": sum(one["seconds"] for one in final),
    }
    failed = [one for one in final if one["outcome"] == "failed"]
    if failed:
        worst = min(failed, key=lambda one: FAULTS.index(one["fault"]))
        where = _first("transcript", (worst, *failed))
        return Tested(nodeid, "failed", worst["fault"], worst["cause"], where, **common)
    common["transcript"] = _first("transcript", final)
    if not any(one["when"] == "teardown" for one in final):
        return Tested(nodeid, NOT_RUN, cause=CUT_SHORT if events else "", **common)
    skipped = any(one["outcome"] == "skipped" for one in final)
    return Tested(nodeid, "skipped" if skipped else "passed", **common)


def _first(name: str, reports: Iterable[Mapping[str, Any]]) -> str:
    return next((one[name] for one in reports if name in one), "")
