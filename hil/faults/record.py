"""Records of faults: what was done, what the image did, what was left of the board."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

USABLE = ("at once", "by itself", "after a reset of the runner", "on a fresh board", "never")
"""When a board was usable again, best first."""
AT_ONCE, BY_ITSELF, RESET, FRESH, NEVER = USABLE

GRADES = ("wrong", "broken", "held")
"""The grades of a record, worst first: a break without its right name, or beyond repair; a break with its right name;
the result of a good image."""
WRONG, BROKEN, HELD = GRADES

_VERDICTS = ("failed", "faulted", "silent", "stuck", "no-agent", "garbled")
_ERRORS = ("LineClosed", "LineTimeout", "CommandTimeout", "BootError", "GuestError", "RunnerError")
_PROTOCOL = ("obeyed", "unserved")  # a wrong request, a right one
BREAKS = frozenset((*_VERDICTS, *_ERRORS, *_PROTOCOL, "InfrastructureError", "no-boot"))
"""The words that name a break: verdicts, errors, and a boot that failed before it could be cut."""


@dataclass(frozen=True)
class Injection:
    """One fault that was made.

    `done` is the action and `did` the reaction of the image, in prose; `words` are the names of the verdicts and
    errors that followed. `begin_ns` and `end_ns` are host monotonic stamps, `start` and `end` byte offsets in
    `transcript`. `restarted` is true if the machine rebooted by itself.
    """

    fault: str
    done: str
    did: str
    words: tuple[str, ...]
    seed: int
    begin_ns: int
    end_ns: int
    transcript: Path
    start: int
    end: int
    restarted: bool = False

    @property
    def seconds(self) -> float:
        """The duration until the fault was over, or a break was found."""
        return (self.end_ns - self.begin_ns) / 1e9

    def __str__(self) -> str:
        return f"{self.fault} (seed {self.seed}): {self.done}; {self.did or 'no reaction yet'}"


@dataclass(frozen=True)
class FaultRecord:
    """A fault with its aftermath. Times are in seconds of the host's clock.

    `verdict` are the words that describe the image's state; `usable` is one of `USABLE`, `recovery` the time from the
    end of the fault to the successful check; `grade` is one of `GRADES` and `why` its reason. `first` and `last` are
    line numbers in `transcript`, `tail` the last console lines.
    """

    fault: str
    done: str
    did: str
    verdict: str
    usable: str
    recovery: float
    seconds: float
    grade: str
    why: str
    seed: int
    board: str
    image: str
    transcript: str
    first: int
    last: int
    tail: tuple[str, ...] = ()
    test: str = ""

    @property
    def good(self) -> bool:
        """Whether the image held, or its break was named rightly and a fresh board is good."""
        return self.grade != WRONG

    def __str__(self) -> str:
        return (
            f"{self.fault} (seed {self.seed}): {self.grade}: {self.why}\n  done: {self.done}\n  the image: {self.did}\n"
            f"  verdict: {self.verdict}; usable {self.usable}, {self.recovery:.1f} s later\n"
            f"  console: {self.transcript}:{self.first} to line {self.last}"
        )


def to_json(record: FaultRecord) -> str:
    return json.dumps(asdict(record))


def from_json(text: str) -> FaultRecord:
    facts = json.loads(text)
    return FaultRecord(**facts | {"tail": tuple(facts["tail"])})
