"""What the signals of a plant are connected to: pins by name, analogue channels, duty cycles, encoders."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.errors import ConfigurationError

RAW = 65535
"""The largest raw value of an analogue channel, of 16 bit."""


@dataclass(frozen=True)
class Analogue:
    """An analogue channel whose raw values 0 to 65535 mean `low` to `high`.

    As an output of a plant the value is quantised to 16 bit and saturates at `low` and `high`. `noise` is the standard
    deviation, in the unit of the value, of Gaussian noise that is added before; equal seeds give equal noise. Raises
    `ConfigurationError` for an empty or infinite range and for negative noise.
    """

    channel: str
    low: float = 0.0
    high: float = 1.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low == self.high:
            raise ConfigurationError(
                f"the channel {self.channel} has the range {self.low} to {self.high}",
                hint="Give two different finite numbers: the meanings of the raw values 0 and 65535.",
            )
        if not 0 <= self.noise < math.inf:
            raise ConfigurationError(f"the channel {self.channel} has noise of {self.noise}", hint="Give 0 or more.")

    def raw(self, value: float) -> int:
        """Return the raw value nearest to `value`, which may be below 0 or above 65535."""
        return round((value - self.low) / (self.high - self.low) * RAW)

    def value(self, raw: int) -> float:
        """Return the meaning of a raw value."""
        return self.low + raw / RAW * (self.high - self.low)


@dataclass(frozen=True)
class Duty:
    """The share, 0 to 1, of the last step during which a pin was 1, computed from its edges."""

    pin: str


@dataclass(frozen=True)
class Quadrature:
    """An incremental encoder on two pins, for an output of a plant that is a position.

    The position moves in a straight line during a step. Each time it passes a multiple of `1 / counts`, one of the two
    pins changes at that moment; `a` changes first when the position rises from 0. `counts` is the number of edges, of
    both pins together, per unit of the position: 4 times the lines of the encoder per turn if the unit is a turn.
    Raises `ConfigurationError` for one pin twice and for a `counts` that is not above 0.
    """

    a: str
    b: str
    counts: float = 1.0

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise ConfigurationError(f"an encoder has both lines on {self.a}", hint="Give two pins.")
        if not 0 < self.counts < math.inf:
            raise ConfigurationError(f"an encoder has {self.counts} counts per unit", hint="Give a number above 0.")


@dataclass(frozen=True)
class Edge:
    """A change of a pin to `level` during a step, `after` seconds after the step's start.

    A plant may return a list of edges in ascending order instead of a level, so that pins change between steps.
    """

    after: float
    level: int
