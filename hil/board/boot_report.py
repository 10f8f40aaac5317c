"""The report of a boot: its stages with their times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

CLOCK = "host monotonic, stamped by the console's reader"


@dataclass(frozen=True)
class StageTime:
    """A stage that was reached: seconds since power-on, and the end of its marker in the transcript."""

    name: str
    seconds: float
    offset: int


@dataclass(frozen=True)
class BootReport:
    """The stages of a boot. Times are seconds since power-on by `clock`; `power_on_ns` is the host's monotonic clock.

    For a restored board it is the boot of its snapshot; `restored` is the time of the restore and health check.
    """

    board: str
    image: str
    power_on_ns: int
    stages: tuple[StageTime, ...]
    transcript: Path
    clock: str = CLOCK
    restored: float | None = None

    @property
    def seconds(self) -> float:
        """From power-on to the last stage."""
        return self.stages[-1].seconds if self.stages else 0.0

    def __getitem__(self, name: str) -> StageTime:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(f"no stage {name!r}; the stages are: {', '.join(stage.name for stage in self.stages)}")
