"""The errors of the framework, each with its failure origin.

Every error says what was wrong, carries a hint at what to do, and, where a console was involved,
the boot stage, the last console lines and the path of the transcript.
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
    """What a console showed when something went wrong.

    `lines` are the last lines on the line, oldest first; `position` is the byte offset in the
    transcript at that moment.
    """

    transcript: Path | None = None
    lines: tuple[str, ...] = ()
    position: int | None = None


class HilError(Exception):
    """Base of all errors that the framework raises on purpose.

    `origin` is the failure origin, one of `ORIGINS`. `cause` is the part of `message` that tables show,
    by default all of it: failures with the same cause are grouped.
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

    @property
    def brief(self) -> str:
        """Return the stage and the cause on one line, for tables."""
        cause = printable(self.cause).partition("\n")[0]
        return f"stage {self.stage}: {cause}" if self.stage else cause

    def __str__(self) -> str:
        """All of it, for a terminal: what strangers wrote in it does nothing there."""
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
    """The user's input is wrong: an option, a board file, a manifest, a module."""

    origin = "configuration"


class InfrastructureError(HilError):
    """The test bed failed, not the image: QEMU, a tool, the network, the line, the disk."""

    origin = "infrastructure"


class BootError(HilError):
    """The image did not come up: a stage was not reached in time."""

    origin = "image"


class GuestError(HilError):
    """The guest's shell did not do what a shell does."""

    origin = "image"


class RunnerError(HilError):
    """The agent or the runner in the partition did not do its part."""

    origin = "image"
