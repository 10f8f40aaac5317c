"""A series: samples of one quantity, with the clock that took them and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError

if TYPE_CHECKING:
    from hil.timing.bounds import Bound, Check

s = 1.0
ms = 1e-3
us = 1e-6
ns = 1e-9
UNITS = {"s": s, "ms": ms, "us": us, "ns": ns}


@dataclass(frozen=True)
class Clock:
    """What took the time: its name, its resolution in seconds, and what limits it.

    `floor` is its noise floor in seconds where it was measured on this link, else None.
    """

    name: str
    resolution: float
    remark: str = ""
    floor: float | None = None

    def __str__(self) -> str:
        floor = "not measured" if self.floor is None else shown(self.floor)
        return f"{self.name}, resolution {shown(self.resolution)}, noise floor {floor}"


@dataclass(frozen=True)
class Series:
    """Samples in seconds of `quantity` ("response time") of `subject` ("hello.wasm"), in order.

    `provenance` holds what a reader needs to repeat it: board, image digest, module digest.
    """

    quantity: str
    subject: str
    samples: tuple[float, ...]
    clock: Clock
    provenance: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.samples:
            raise ConfigurationError(f"the series {self.quantity} of {self.subject} has no samples")
        if bad := [value for value in self.samples if not math.isfinite(value)]:
            raise ConfigurationError(f"the series {self.quantity} of {self.subject} holds {bad[0]}")

    def check(self, *bounds: Bound) -> tuple[Check, ...]:
        """Check against `bounds`, as `series.check(p99 <= 2 * ms)`; raises `BoundsNotKept` unless all pass."""
        from hil.timing.bounds import check

        return check(self, bounds)

    @property
    def ordered(self) -> list[float]:
        return sorted(self.samples)

    def __str__(self) -> str:
        return f"{self.quantity} of {self.subject}, n={len(self.samples)}, clock: {self.clock}"


def shown(seconds: float) -> str:
    """A time with a unit that suits it and four digits: `1.234 ms`."""
    for name, unit in UNITS.items():
        if abs(seconds) >= unit:
            return f"{seconds / unit:.4g} {name}"
    return f"{seconds / ns:.4g} ns"


def parse_time(text: str) -> float:
    """Seconds from `"1.5 ms"`. Raises `ValueError` for another form or unit."""
    number, _, unit = text.strip().partition(" ")
    if unit not in UNITS:
        raise ValueError(f"{text!r} is not a time: write a number, a space and one of {', '.join(UNITS)}")
    value = float(number)
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not a finite time")
    return value * UNITS[unit]
