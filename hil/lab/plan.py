"""What a lab is to be, and what it is: two files in its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hil.host import files
from hil.host.processes import Process

PLAN, STATE = "plan.json", "lab.json"
STAY = b"stay"
"""What a supervisor is told that shall outlive who started it."""

EXPORTER = "box"
"""The name of the lab's exporter."""


@dataclass(frozen=True)
class LabPlan:
    """What the supervisor is told: where to listen, how the serial lines are, and the machines' command lines.

    `serial` is `rfc2217` or `raw`; `baud` in bits per second, None for a line as fast as it can be. With `local` the
    lab's users are on this host.
    """

    listen: str
    port: int
    serial: str
    baud: int | None
    local: bool
    image: str
    commands: dict[str, list[str]]

    @classmethod
    def read(cls, directory: Path) -> LabPlan:
        return cls(**json.loads((directory / PLAN).read_text("utf-8")))

    def write(self, directory: Path) -> None:
        files.write(directory / PLAN, json.dumps(asdict(self), indent=2))


@dataclass(frozen=True)
class BoardState:
    """One board: its serial line's pty, the address where the lab serves that, the power switch, the QEMU when on."""

    port: str
    address: str
    power: str
    qemu: Process | None = None


@dataclass(frozen=True)
class LabState:
    """A lab that came up: the coordinator's address, the processes that it consists of, and the boards by name."""

    coordinator: str
    serial: str
    baud: int | None
    image: str
    parts: dict[str, Process] = field(default_factory=dict)
    boards: dict[str, BoardState] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> LabState | None:
        """The state of the lab in `directory`; None where none came up there since the last one was taken down."""
        try:
            facts = json.loads((directory / STATE).read_text("utf-8"))
        except FileNotFoundError:
            return None
        parts = {name: Process(**process) for name, process in facts.pop("parts").items()}
        boards = {name: _board(board) for name, board in facts.pop("boards").items()}
        return cls(**facts, parts=parts, boards=boards)

    def write(self, directory: Path) -> None:
        files.write(directory / STATE, json.dumps(asdict(self), indent=2))


def _board(facts: dict[str, Any]) -> BoardState:
    qemu = facts.pop("qemu")
    return BoardState(**facts, qemu=Process(**qemu) if qemu else None)
