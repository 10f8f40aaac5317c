"""What became of a run's tests, read from the journal that it wrote (`hil.plugin.journal`), whole or cut short."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.errors import FAULTS

NOT_RUN = "not run"
OUTCOMES = ("passed", "failed", "skipped", NOT_RUN)


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
    """

    tests: Mapping[str, Tested] = field(default_factory=dict)
    boots: tuple[Mapping[str, str], ...] = ()
    problems: tuple[tuple[str, str], ...] = ()
    died: str = ""
    collected: bool = False

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
    return account(_lines(text))


def _lines(text: bytes) -> Iterator[dict[str, Any]]:
    for line in text.split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:  # the disk was full, or the power failed
            return


def account(lines: Iterable[Mapping[str, Any]]) -> Account:
    """The account in the lines of a journal."""
    events: dict[str, list[Mapping[str, Any]]] = {}
    boots: list[Mapping[str, str]] = []
    problems: list[tuple[str, str]] = []
    died, collected = "", False
    for line in lines:
        boots += line.get("boots", ())
        if "collected" in line:
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
    return Account(tests, tuple(boots), tuple(problems), died, collected)


def _test(nodeid: str, events: list[Mapping[str, Any]]) -> Tested:
    reports = [event for event in events if "test" in event]
    retried = tuple(one.get("cause", "") for one in reports if one["outcome"] == "rerun")
    final = [one for one in reports if one["outcome"] != "rerun"]
    common: Any = {
        "board": next((one["board"] for one in reports if "board" in one), ""),
        "place": next((one["place"] for one in reversed(reports) if "place" in one), ""),
        "retried": retried,
        "seconds": sum(one["seconds"] for one in final),
    }
    failed = [one for one in final if one["outcome"] == "failed"]
    if failed:
        worst = min(failed, key=lambda one: FAULTS.index(one["fault"]))
        place = next((one["transcript"] for one in (worst, *failed) if "transcript" in one), "")
        return Tested(nodeid, "failed", worst["fault"], worst["cause"], place, **common)
    if not any(one["when"] == "teardown" for one in final):
        return Tested(nodeid, NOT_RUN, cause="it was cut short" if events else "", **common)
    skipped = any(one["outcome"] == "skipped" for one in final)
    return Tested(nodeid, "skipped" if skipped else "passed", **common)
