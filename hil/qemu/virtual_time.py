"""Virtual time: the QEMU arguments that select it, and the state of one machine's virtual time."""

from __future__ import annotations

from dataclasses import dataclass

from hil.errors import ConfigurationError

# 2 ns an instruction; each of these is needed, see docs/timing.md
ICOUNT = ("-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm")


@dataclass(frozen=True)
class Virtual:
    """The virtual time of one machine: its `seed`, 0 to 2^64 - 1, and whether its figures are exact.

    `proof` names the earlier runs that this one equals; `lost` is why its figures are not exact. Raises
    `ConfigurationError` for a seed out of range.
    """

    seed: int = 1
    proof: str = ""
    lost: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise ConfigurationError(f"seed {self.seed} is out of range", hint="give one from 0 to 2^64 - 1")

    @property
    def exact(self) -> bool:
        return bool(self.proof) and not self.lost

    def arguments(self) -> list[str]:
        """Return QEMU's arguments for virtual time."""
        return [*ICOUNT, "-seed", str(self.seed)]

    def __str__(self) -> str:
        state = f"not exact: {self.lost}" if self.lost else f"exact: {self.proof}" if self.proof else "not proven"
        return f"virtual time, seed {self.seed}, {state}"
