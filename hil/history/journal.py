"""What became of a run's tests, read from the journal that it wrote (`hil.plugin.journal`), whole or cut short."""

from __future__ import annotations

import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.errors import ORIGINS
from hil.host import foreign
from hil.host.processes import Process

VERSION = 2
LIMIT = 512 << 20  # bytes of a journal
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
    `ended` is when it ended, in seconds since 1970, with which `status`; both None where it did not say so. `broken`
    names the lines that were left out, and why.
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
    """The account in the journal at `path`; an empty one where there is none. What is broken is left out, and named."""
    try:
        return account(lines(foreign.read(path, LIMIT)))
    except FileNotFoundError:
        return Account()
    except OSError as error:
        return Account(broken=(f"the journal cannot be read: {foreign.why(error)}",))


def lines(text: bytes) -> Iterator[Any]:
    """The lines of a journal, and for one that is no JSON the `ValueError` that says why. Half a last line is none."""
    for line in text.split(b"\n")[:-1]:
        try:
            yield foreign.decode(line)
        except ValueError as error:  # the disk was full, or the power failed
            yield error


def account(lines: Iterable[Any]) -> Account:
    """The account in the lines of a journal. Each line is validated; a broken one is named and left out."""
    events: dict[str, list[Mapping[str, Any]]] = {}
    boots: list[Mapping[str, str]] = []
    problems: list[tuple[str, str]] = []
    broken: list[str] = []
    died, collected, head = "", False, Head()
    ended: float | None = None
    status: int | None = None
    for number, given in enumerate(lines, 1):
        try:
            line = _valid(given)
        except ValueError as error:
            broken.append(f"line {number}: {error}")
            continue
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
    return Account(tests, tuple(boots), tuple(problems), died, collected, head, ended, status, tuple(broken))


def _valid(line: Any) -> Mapping[str, Any]:
    """A line whose values are all of the right type and range. Raises `ValueError` that names the one that is not."""
    if isinstance(line, ValueError):
        raise line
    if not isinstance(line, Mapping):
        raise ValueError("it is no JSON object")
    for name, value in line.items():
        if check := CHECKS.get(name):
            try:
                check(value)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from None
    needed = ["when", "outcome", "seconds"] if "test" in line else ["cause"] if "problem" in line else []
    if line.get("outcome") == "failed":
        needed += ["fault", "cause"]
    if missing := [name for name in needed if name not in line]:
        raise ValueError(f"{missing[0]} is missing")
    return line


def _is_text(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{value!r:.40} is no text")


def _are_texts(value: Any) -> None:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r:.40} is no list")
    for item in value:
        _is_text(item)


def _is_named_text(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r:.40} is no JSON object")
    for item in value.values():
        _is_text(item)


def _are_boots(value: Any) -> None:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r:.40} is no list")
    for item in value:
        _is_named_text(item)
        if missing := {"board", "fault"} - set(item) or ({"cause"} - set(item) if item["fault"] else set()):
            raise ValueError(f"a boot without {min(missing)}")


def _is_count(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{value!r:.40} is no number of things")


def _is_status(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 31:
        raise ValueError(f"{value!r:.40} is no exit status")


def _is_one_of(known: tuple[str, ...]) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if value not in known:
            raise ValueError(f"{value!r:.40} is none of {', '.join(known)}")

    return check


CHECKS: Mapping[str, Callable[[Any], object]] = {
    **dict.fromkeys(("id", "host", "boot", "root", "clock", "results", "transcripts"), _is_text),
    **dict.fromkeys(("board", "place", "image", "image_sha256", "transcript", "cause"), _is_text),
    **dict.fromkeys(("problem", "died", "begin", "test", "when"), _is_text),
    **dict.fromkeys(("journal", "pid", "start", "repeat"), _is_count),
    **dict.fromkeys(("command", "collected"), _are_texts),
    "time": foreign.moment,
    "seconds": foreign.seconds,
    "choices": _is_named_text,
    "boots": _are_boots,
    "end": _is_status,
    "outcome": _is_one_of(("passed", "failed", "skipped", "rerun")),
    "fault": _is_one_of(ORIGINS),
}
"""What a value has to be, by its name in a line; other names are a later version's."""


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
        worst = min(failed, key=lambda one: ORIGINS.index(one["fault"]))
        where = _first("transcript", (worst, *failed))
        return Tested(nodeid, "failed", worst["fault"], worst["cause"], where, **common)
    common["transcript"] = _first("transcript", final)
    if not any(one["when"] == "teardown" for one in final):
        return Tested(nodeid, NOT_RUN, cause=CUT_SHORT if events else "", **common)
    skipped = any(one["outcome"] == "skipped" for one in final)
    return Tested(nodeid, "skipped" if skipped else "passed", **common)


def _first(name: str, reports: Iterable[Mapping[str, Any]]) -> str:
    return next((one[name] for one in reports if name in one), "")
