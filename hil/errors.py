"""The errors of the framework, each with its failure origin.

An error states what failed and may carry a hint. With a console involved it also carries the boot stage, the last
console lines and the path of the transcript.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from hil.text import printable, printable_line

ORIGINS = ("image", "test", "configuration", "infrastructure")
"""The failure origins: who has to act. Of several failures the first origin in this order counts."""


@dataclass(frozen=True)
class Evidence:
    """The console at the moment of an error.

    `lines` are the last lines, oldest first; `position` is the byte offset in the transcript.
    """

    transcript: Path | None = None
    lines: tuple[str, ...] = ()
    position: int | None = None


class HilError(Exception):
    """The base of the framework's errors.

    `origin` is the failure origin, one of `ORIGINS`. `cause` is the part of `message` that tables show,
    by default all of it: failures with the same cause are grouped. `dead_board` is the board or place that did not come
    up by this error.
    """

    origin: ClassVar[str] = "infrastructure"

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        stage: str | None = None,
        evidence: Evidence | None = None,
        cause: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.cause = cause or message
        self.hint = hint
        self.stage = stage
        self.evidence = evidence
        self.dead_board = ""

    @property
    def brief(self) -> str:
        """Return the stage and the cause on one line, for tables."""
        cause = printable(self.cause).partition("\n")[0]
        return f"stage {self.stage}: {cause}" if self.stage else cause

    def __str__(self) -> str:
        """Return the whole error for a terminal, with control characters escaped."""
        parts = [self.message]
        if self.stage:
            parts.append(f"stage: {self.stage}")
        if self.hint:
            parts.append(f"what to do: {self.hint}")
        if self.evidence and self.evidence.lines:
            parts.append("last console lines:")
            parts += [f"  | {printable_line(line)}" for line in self.evidence.lines]
        if self.evidence and self.evidence.transcript:
            parts.append(f"transcript: {self.evidence.transcript}")
        return printable("\n".join(parts))


class ConfigurationError(HilError):
    """Wrong input of the user: an option, a board file, a manifest, a module."""

    origin = "configuration"


class MissingToolchain(ConfigurationError):
    """A compiler or library that a module is built with on demand, and that this machine lacks."""


class InfrastructureError(HilError):
    """A failure of the test bed: QEMU, a tool, the network, the line, the disk."""

    origin = "infrastructure"


class BootError(HilError):
    """A boot that did not reach a stage in time."""

    origin = "image"


class GuestError(HilError):
    """Wrong behaviour of the guest's shell."""

    origin = "image"


class HookError(HilError):
    """An exception in a hook of another plugin, such as a `conftest.py`."""

    origin = "test"


class RunnerError(HilError):
    """Wrong behaviour of the agent or of the runner in the partition."""

    origin = "image"


class PlantError(HilError):
    """An error of a plant model, or a wrong output of it."""

    origin = "test"
