"""Verdicts: the outcomes of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Verdict:
    """The base of all verdicts. `good` is true for `exited(0)` alone."""

    name: ClassVar[str] = "verdict"
    good: ClassVar[bool] = False


@dataclass(frozen=True)
class Exited(Verdict):
    """The module ran to its end; `code` is its own exit code."""

    code: int = 0
    name: ClassVar[str] = "exited"

    @property
    def good(self) -> bool:  # type: ignore[override]
        return self.code == 0

    def __str__(self) -> str:
        return f"exited({self.code})"


@dataclass(frozen=True)
class Failed(Verdict):
    """The runner refused or ended the module; `reason` is its message, `code` its error number if it printed one."""

    reason: str
    code: int | None = field(default=None, compare=False)
    name: ClassVar[str] = "failed"

    def __str__(self) -> str:
        return f"failed({self.reason})"


@dataclass(frozen=True)
class Faulted(Verdict):
    """The module crashed the runner, or the part of it that ran the module.

    Where the console shows them, `address` is the accessed address, `pc` that of the instruction, `registers` the dump
    by name.
    """

    reason: str = field(default="", compare=False)
    address: int | None = field(default=None, compare=False)
    pc: int | None = field(default=None, compare=False)
    registers: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)
    name: ClassVar[str] = "faulted"

    def __str__(self) -> str:
        where = {"address": self.address, "pc": self.pc}
        parts = [self.reason] * bool(self.reason) + [f"{key} {n:#x}" for key, n in where.items() if n is not None]
        return f"faulted({', '.join(parts)})" if parts else "faulted"


@dataclass(frozen=True)
class _WithReason(Verdict):
    reason: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


class Silent(_WithReason):
    """The agent ended, but the line brought no trustworthy verdict."""

    name = "silent"


class Stuck(_WithReason):
    """The agent did not end in time."""

    name = "stuck"


class NoAgent(_WithReason):
    """There was no agent, or the agent found no runner."""

    name = "no-agent"


exited, failed, faulted, silent, stuck, no_agent = Exited, Failed, Faulted, Silent, Stuck, NoAgent
