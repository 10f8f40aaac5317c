"""The data of a series: samples of one quantity with clock, times and provenance."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError
from hil.measure.clock import LOCKSTEP, VIRTUAL, Clock
from hil.measure.host import HostWindow

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

NO_VERDICT = {"check": "no verdict"}
"""The fact of a series that a test checked, but that has no bounds, or wrong ones."""


@dataclass(frozen=True)
class StepResponse:
    """The facts of the response to a step of the setpoint, for the figures of `hil.measure.response`.

    - `setpoint`: the value after the step, in the unit of the samples.
    - `span`: what shares are of, above 0, in the same unit.
    - `rising`: 1 for a step upwards, -1 downwards, 0 without a step.
    - `band`: the half width, a share of the span, within which the signal is settled.
    - `start`: the time of the step in seconds, on the axis of the series.
    - `tail`: the share of the time, at its end, in which the signal is in its steady state.

    Raises `ConfigurationError` for a number that is not finite, a span, band or tail of 0 or less, and a tail above 1.
    """

    setpoint: float
    span: float
    rising: int
    band: float
    start: float
    tail: float

    def __post_init__(self) -> None:
        numbers = (self.setpoint, self.span, self.band, self.start, self.tail)
        if not all(map(math.isfinite, numbers)):
            raise ConfigurationError(f"{self} has a number that is not finite")
        if self.span <= 0:
            raise ConfigurationError(
                f"a step response to {self.setpoint:g} has a span of {self.span:g}",
                hint="Give span=, the size of which errors are shares: the signal starts at its setpoint.",
            )
        if self.band <= 0 or not 0 < self.tail <= 1:
            raise ConfigurationError(
                f"a step response has a band of {self.band:g} and a tail of {self.tail:g}",
                hint="Give band=2 * percent, tail=10 * percent.",
            )


@dataclass(frozen=True, eq=False)
class SeriesData:
    """Samples, in order, of `quantity` ("response time") of `subject` ("nbody-c.wasm 10").

    - `samples`: in `unit`, which is `"s"`, `"B"` (bytes) or `"1"` (a ratio or count).
    - `times`: the start of each sample in seconds by the same clock, from any zero.
    - `offsets`: the position of each sample in the transcript, in bytes.
    - `provenance`: facts needed to repeat the measurement: board, image, digests, QEMU, seed, transcript.
    - `interim_analyses`: the planned number of decisions while the series grew.
    - `response`: the facts of the response to a step of a setpoint, else None.
    - `physical_unit`: the name for people of the unit of plain numbers, such as `"°C"`, in a series of the unit `"1"`.
    - `host`: the host's load where it can have delayed samples; empty in virtual time and for a series read from a
      file.

    Any sequences of numbers are accepted; they are kept as read-only float64 arrays. Raises `ConfigurationError` for
    an empty series, a value that is not finite, arrays of different lengths, and fewer than one analysis.
    """

    quantity: str
    subject: str
    samples: Floats
    clock: Clock
    unit: str = "s"
    times: Floats | None = None
    offsets: Sequence[int] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    interim_analyses: int = 1
    host: Sequence[HostWindow] = ()
    response: StepResponse | None = None
    physical_unit: str = ""

    def __post_init__(self) -> None:
        import numpy as np

        name = f"the series {self.quantity} of {self.subject}"
        if self.interim_analyses < 1:
            raise ConfigurationError(f"{name}: {self.interim_analyses} planned analyses", hint="Give 1 or more.")
        for key in ("samples", "times"):
            given: Any = getattr(self, key)
            if given is None:
                continue
            array = np.array(given, dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, key, array)
            if array.ndim != 1:
                raise ConfigurationError(f"{name}: {key} is an array of {array.ndim} dimensions, not 1")
            if not np.isfinite(array).all():
                bad = int(np.flatnonzero(~np.isfinite(array))[0])
                raise ConfigurationError(f"{name}: element {bad + 1} of {key} is {array[bad]}")
        if not len(self.samples):
            raise ConfigurationError(f"{name} has no samples")
        for key in ("times", "offsets"):
            other: Any = getattr(self, key)
            if other is not None and len(other) != len(self.samples):
                raise ConfigurationError(f"{name} has {len(self.samples)} samples, but {len(other)} {key}")

    @property
    def confidence(self) -> float:
        """The confidence of each decision with which all planned ones together err in at most 5 % (Bonferroni)."""
        return 1 - 0.05 / self.interim_analyses

    @property
    def disturbed(self) -> bool:
        """True if the series was taken in lock step but the host broke it, so that figures no longer repeat."""
        lockstep = self.provenance.get("mode") == LOCKSTEP
        return self.clock.name == VIRTUAL and lockstep and not self.clock.exact

    @property
    def lacks_verdict(self) -> bool:
        """True if a test checked the series without a verdict, see `NO_VERDICT`."""
        return NO_VERDICT.items() <= self.provenance.items()

    def __len__(self) -> int:
        return len(self.samples)

    @functools.cached_property
    def ordered(self) -> Floats:
        """The samples in ascending order."""
        import numpy as np

        return np.sort(self.samples)

    @property
    def median(self) -> float:
        """The upper median of the samples."""
        return float(self.ordered[len(self) // 2])

    def __str__(self) -> str:
        return f"{self.quantity} of {self.subject}, n={len(self)}, clock: {self.clock}"
