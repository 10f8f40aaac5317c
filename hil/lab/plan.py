"""The plan and the state of a lab: two files in its directory."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

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
        return TypeAdapter(cls).validate_json((directory / PLAN).read_bytes())

    def write(self, directory: Path) -> None:
        files.write(directory / PLAN, json.dumps(asdict(self), indent=2))


@dataclass(frozen=True)
class BoardState:
    """One board: the pty of its serial line, the address where the lab serves it, its power switch, its QEMU if on."""

    port: str
    address: str
    power: str
    qemu: Process | None


@dataclass(frozen=True)
class LabState:
    """A lab that came up: the coordinator's address, its processes by part, its boards by name."""

    coordinator: str
    serial: str
    baud: int | None
    image: str
    parts: dict[str, Process]
    boards: dict[str, BoardState]

    @classmethod
    def read(cls, directory: Path) -> LabState | None:
        """Return the state of the lab in `directory`; None if none is up there."""
        try:
            return TypeAdapter(cls).validate_json((directory / STATE).read_bytes())
        except FileNotFoundError:
            return None

    def write(self, directory: Path) -> None:
        files.write(directory / STATE, json.dumps(asdict(self), indent=2))
