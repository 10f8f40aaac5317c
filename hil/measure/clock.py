"""The clock of a series: its name, resolution and noise floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.errors import ConfigurationError
from hil.measure.units import shown

VIRTUAL = "virtual time"
GUEST_COUNTER = "guest counter"
CONSOLE = "host monotonic"
MODULE = "module (WASI)"
ANALYSER = "logic analyser"
EMULATOR_CLOCK = "emulator"  # of a board in real time
CLOCKS = (VIRTUAL, GUEST_COUNTER, CONSOLE, MODULE, ANALYSER, EMULATOR_CLOCK)
LOCKSTEP = "lock step"  # provenance `mode` of a series in virtual time whose host input is in lock step


@dataclass(frozen=True)
class Clock:
    """A clock with which samples were taken.

    `resolution` is its smallest step in seconds. `floor` is its noise floor in seconds as measured on this board in
    this boot: None if not measured, 0 for a clock without noise. `exact` is true if figures repeat to the bit, as in
    virtual time. `remark` describes what limits the clock. Raises `ConfigurationError` for a resolution of 0 s or less
    and for a floor that is negative or not finite.
    """

    name: str
    resolution: float
    remark: str = ""
    floor: float | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.resolution < math.inf or not 0 <= (self.floor or 0.0) < math.inf:
            raise ConfigurationError(
                f"the clock {self.name} has a resolution of {self.resolution} s and a noise floor of {self.floor} s",
                hint="Give a resolution above 0 s and a floor of 0 s or more, or None if it was not measured.",
            )

    @property
    def uncertainty(self) -> float:
        """The uncertainty of one figure in seconds: the noise floor, but at least the resolution."""
        return max(self.resolution, self.floor or 0.0)

    def __str__(self) -> str:
        floor = "not measured" if self.floor is None else "none" if self.floor == 0 else shown(self.floor)
        exact = ", exact" if self.exact else ""
        return f"{self.name}, resolution {shown(self.resolution)}, noise floor {floor}{exact}"
