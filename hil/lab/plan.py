"""The plan and the state of a lab: two files in its directory."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hil.host import files
from hil.host.processes import Process

PLAN, STATE = "plan.json", "lab.json"
STAY = b"stay"
"""The message to a supervisor that must outlive the process that started it."""

EXPORTER = "box"
"""The name of the lab's exporter."""


@dataclass(frozen=True)
class LabPlan:
    """The plan for the supervisor: where to listen, how to serve the serial lines, the machines' command lines.

    `serial` is `rfc2217` or `raw`; `baud` is in bits per second, None for no pace.
    """

    listen: str
    port: int
    serial: str
    baud: int | None
    image: str
    commands: dict[str, list[str]]

    @property
    def local(self) -> bool:
        """Whether only users on this host reach the lab."""
        return ipaddress.ip_address(self.listen).is_loopback

    @classmethod
    def read(cls, directory: Path) -> LabPlan:
        return cls(**json.loads((directory / PLAN).read_text("utf-8")))

    def write(self, directory: Path) -> None:
        files.write(directory / PLAN, json.dumps(asdict(self), indent=2))


@dataclass(frozen=True)
class BoardState:
    """One board: the pty of its serial line, the address where the lab serves it, its power switch, its QEMU if on."""

    port: str
    address: str
    power: str
    qemu: Process | None = None


@dataclass(frozen=True)
class LabState:
    """A lab that came up: the coordinator's address, its processes by part, its boards by name."""

    coordinator: str
    serial: str
    baud: int | None
    image: str
    parts: dict[str, Process] = field(default_factory=dict)
    boards: dict[str, BoardState] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> LabState | None:
        """Return the state of the lab in `directory`; None if none is up there."""
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
