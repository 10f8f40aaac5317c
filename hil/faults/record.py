"""What was broken on purpose, what the image did, and what was found: records, a table, a report."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError

USABLE = ("at once", "by itself", "after a reset of the runner", "on a fresh board", "never")
"""When a board could be used again, best first."""
AT_ONCE, BY_ITSELF, RESET, FRESH, NEVER = USABLE

GRADES = ("wrong", "broken", "held")
"""What a finding is worth, worst first: nobody found what broke or nothing brings it back; broken, and found; as it
ought to be."""
WRONG, BROKEN, HELD = GRADES

_VERDICTS = ("failed", "faulted", "silent", "stuck", "no-agent", "garbled")
_ERRORS = ("LineClosed", "LineTimeout", "CommandTimeout", "BootError", "GuestError", "RunnerError")
_PROTOCOL = ("obeyed", "unserved")  # a wrong request, a right one
BREAKS = frozenset((*_VERDICTS, *_ERRORS, *_PROTOCOL, "InfrastructureError", "no-boot"))
"""The words by which a break is found: verdicts, errors, and a boot that failed before it could be cut."""


@dataclass(frozen=True)
class Injection:
    """One fault that was made.

    `done` is what was done and `did` what the image did, in words; `words` are the names of the verdicts and
    errors that came of it. `begin_ns` and `end_ns` are host monotonic stamps, `start` and `end` offsets in
    `transcript`. `restarted` is true where the machine booted again without us.
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
        """How long it took until all was over, or found to be broken."""
        return (self.end_ns - self.begin_ns) / 1e9

    def __str__(self) -> str:
        return f"{self.fault} (seed {self.seed}): {self.done}; {self.did or 'nothing came of it yet'}"


@dataclass(frozen=True)
class FaultRecord:
    """A fault with its aftermath. Times are in seconds by the host's clock.

    `verdict` are the words by which the image's state was found; `usable` is one of `USABLE`, `recovery` the
    time from the end of the fault until it was proven usable; `grade` is one of `GRADES` and `why` its reason.
    `first` and `last` are lines of `transcript`, `tail` the last console lines.
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
        """The image held, or its break was found by the right word and a fresh board is good."""
        return self.grade != WRONG

    @property
    def row(self) -> dict[str, str]:
        """The finding in a table."""
        return {
            "fault": self.fault,
            "what was done": self.done,
            "what the image did": self.did,
            "verdict": self.verdict,
            "usable": self.usable,
            "recovery s": f"{self.recovery:.1f}",
            "finding": self.grade if self.grade == HELD else f"{self.grade}: {self.why}",
        }

    def __str__(self) -> str:
        return (
            f"{self.fault} (seed {self.seed}): {self.grade}: {self.why}\n  done: {self.done}\n  the image: {self.did}\n"
            f"  verdict: {self.verdict}; usable {self.usable}, {self.recovery:.1f} s later\n"
            f"  console: {self.transcript}:{self.first} to line {self.last}"
        )


def ordered(findings: Iterable[FaultRecord]) -> list[FaultRecord]:
    """Worst first: by grade, then by how hard the board came back, then by how long that took."""
    return sorted(findings, key=lambda one: (GRADES.index(one.grade), -USABLE.index(one.usable), -one.recovery))


def summary(findings: Sequence[FaultRecord]) -> str:
    """One line: how many of which grade."""
    counts = {grade: sum(one.grade == grade for one in findings) for grade in GRADES}
    return (
        f"{len(findings)} faults: {counts[HELD]} held, {counts[BROKEN]} broken and found, "
        f"{counts[WRONG]} not found or beyond repair"
    )


def to_json(finding: FaultRecord) -> str:
    return json.dumps(asdict(finding))


def from_facts(facts: Mapping[str, Any]) -> FaultRecord:
    """The finding of which `to_json`'s facts are. Raises `ConfigurationError` for others."""
    try:
        return FaultRecord(**{**facts, "tail": tuple(facts.get("tail", ()))})
    except TypeError as error:
        raise ConfigurationError(f"this is no finding: {error}", hint="is the file another version's?") from error


def markdown(findings: Sequence[FaultRecord], facts: Mapping[str, str], base: Path) -> str:
    """A report to act on, worst first; paths of transcripts are relative to `base`."""
    lines = ["# Robustness", "", summary(findings) + ".", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += ["", "| fault | usable again | recovery s | verdict | finding |", "|---|---|---|---|---|"]
    for one in ordered(findings):
        cells = (one.fault, one.usable, f"{one.recovery:.1f}", one.verdict, one.grade)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    for grade, title in ((WRONG, "To repair"), (BROKEN, "Broken, and found"), (HELD, "Held")):
        chosen = [one for one in ordered(findings) if one.grade == grade]
        lines += ["", f"## {title}"] if chosen else []
        for one in chosen:
            path = os.path.relpath(one.transcript, base)
            lines += [
                "",
                f"### {one.fault}, {one.board}, {one.image}",
                f"- why: {_line(one.why)}",
                f"- done: {_line(one.done)} (seed {one.seed})",
                f"- the image: {_line(one.did)}",
                f"- verdict: {_line(one.verdict)}, after {one.seconds:.1f} s",
                f"- usable: {one.usable}, {one.recovery:.1f} s later",
                f"- read on: `{path}`, lines {one.first} to {one.last}" + (f"; test `{one.test}`" if one.test else ""),
            ]
            if one.tail and grade != HELD:
                lines += ["", "```", *(line.replace("```", "'''") for line in one.tail), "```"]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())


def _cell(text: str) -> str:
    return _line(text).replace("|", "\\|")


def table(findings: Sequence[FaultRecord]) -> list[str]:
    """The findings as lines for a terminal: in columns, and below each that did not hold what was done and why."""
    rows = [("fault", "finding", "verdict", "usable again", "s")]
    rows += [(one.fault, one.grade, one.verdict, one.usable, f"{one.recovery:.1f}") for one in findings]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    told = [lines[0]]
    for one, line in zip(findings, lines[1:], strict=True):
        told.append(line)
        if one.grade != HELD:
            told += [f"    {_line(text)}" for text in (one.why, one.done, one.did)]
            told.append(f"    {one.transcript}:{one.first}")
    return told
