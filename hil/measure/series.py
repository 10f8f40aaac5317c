"""A series: samples of one quantity, with the clock that took them and where they come from."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError
from hil.measure.units import shown

if TYPE_CHECKING:  # at run time where it is used: a collection must stay quick
    from hil.measure.bounds import Bound, Check
    from hil.measure.host import HostWindow
    from hil.stats.arrays import Floats


VIRTUAL = "virtual time"  # the name of the clock in which seeds make runs differ
LOCKSTEP = "lock step"  # provenance `mode` of series in virtual time, where QEMU can be kept in it


@dataclass(frozen=True)
class Clock:
    """What took the time.

    `resolution` is its smallest step in seconds. `floor` is its noise floor in seconds, as measured on
    this link in this session; None where it was not measured, 0 for a clock without noise. `exact` says
    that figures repeat to the bit, as they do in virtual time. `remark` tells what limits the clock.
    Raises `ConfigurationError` for a resolution that is not above 0 and a floor below 0 or not finite.
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
                hint="give a resolution above 0 s, and a floor of 0 s or more, or None where it was not measured",
            )

    @property
    def uncertainty(self) -> float:
        """What a figure may be off by, in seconds: the floor, at least the resolution."""
        return max(self.resolution, self.floor or 0.0)

    def __str__(self) -> str:
        floor = "not measured" if self.floor is None else "none" if self.floor == 0 else shown(self.floor)
        exact = ", exact" if self.exact else ""
        return f"{self.name}, resolution {shown(self.resolution)}, noise floor {floor}{exact}"


@dataclass(frozen=True, eq=False)
class Series:
    """Samples, in order, of `quantity` ("response time") of `subject` ("nbody-c.wasm 10").

    `samples` are in `unit`, `"s"`, `"B"` (bytes) or `"1"` (a ratio). `times` says when each began, in seconds by
    the same clock from any zero; `offsets` where in the transcript each is spoken of. `provenance` holds what a
    reader needs to repeat it: board, image, digests, QEMU, seed, transcript. `looks` is how often it was
    planned to decide on it while it grew. `host` is what the host took meanwhile, where that can have delayed
    samples: empty in virtual time and in a series that was read from a file. Given as any sequences of numbers, the
    arrays are kept as read-only float64.

    Raises `ConfigurationError` for no samples, one that is not finite, arrays of different lengths, and no look.
    """

    quantity: str
    subject: str
    samples: Floats
    clock: Clock
    unit: str = "s"
    times: Floats | None = None
    offsets: Sequence[int] | None = None
    provenance: Mapping[str, str] = field(default_factory=dict)
    looks: int = 1
    host: Sequence[HostWindow] = ()

    def __post_init__(self) -> None:
        import numpy as np

        name = f"the series {self.quantity} of {self.subject}"
        if self.looks < 1:
            raise ConfigurationError(f"{name}: {self.looks} looks at it were planned", hint="give 1 or more")
        for key in ("samples", "times"):
            given: Any = getattr(self, key)
            if given is None:
                continue
            array = np.array(given, dtype=np.float64)
            array.setflags(write=False)
            object.__setattr__(self, key, array)
            if array.ndim != 1:
                raise ConfigurationError(f"{name}: its {key} have {array.ndim} dimensions, not one")
            if not np.isfinite(array).all():
                bad = int(np.flatnonzero(~np.isfinite(array))[0])
                raise ConfigurationError(f"{name}: number {bad + 1} of its {key} is {array[bad]}")
        if not len(self.samples):
            raise ConfigurationError(f"{name} has no samples")
        for key in ("times", "offsets"):
            other: Any = getattr(self, key)
            if other is not None and len(other) != len(self.samples):
                raise ConfigurationError(f"{name} has {len(self.samples)} samples, but {len(other)} {key}")

    @property
    def confidence(self) -> float:
        """Of each decision, so that all planned looks together are wrong in at most 5 % of cases (Bonferroni)."""
        return 1 - 0.05 / self.looks

    @property
    def disturbed(self) -> bool:
        """Whether it was taken in lock step with virtual time, but the host broke in: figures no longer repeat."""
        lockstep = self.provenance.get("mode") == LOCKSTEP
        return self.clock.name == VIRTUAL and lockstep and not self.clock.exact

    def __len__(self) -> int:
        return len(self.samples)

    def check(self, *bounds: Bound) -> tuple[Check, ...]:
        """Check against `bounds`, as `series.check(p99 <= 2 * ms, rms <= 1 * ms)`; see `hil.measure.bounds.check`."""
        from hil.measure.bounds import check

        return check(self, bounds)

    @functools.cached_property
    def ordered(self) -> Floats:
        """The samples in ascending order."""
        import numpy as np

        return np.sort(self.samples)

    def __str__(self) -> str:
        return f"{self.quantity} of {self.subject}, n={len(self)}, clock: {self.clock}"
