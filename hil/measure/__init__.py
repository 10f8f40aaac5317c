"""Series of measurements, the bounds they must keep, and the honest decision between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError
from hil.lazy import lazy_names
from hil.measure.figures import (
    FORMER_NAMES,
    Figure,
    mean,
    miss_count,
    misses,
    p50,
    p90,
    p99,
    p999,
    peak_to_peak,
    rms,
)
from hil.measure.figures import maximum as max
from hil.measure.figures import minimum as min
from hil.measure.jitter import cycle_to_cycle_jitter, interarrival_jitter, period_jitter, release_jitter
from hil.measure.series import Clock, Series
from hil.measure.units import Amount, B, KiB, MiB, ms, ns, percent, ratio, s, us

if TYPE_CHECKING:
    from hil.measure.bounds import Bound, Bounds, BoundsNotKept, Check, Outcome, looks, needed
    from hil.measure.measure import Measure
    from hil.measure.worst_case import pwcet

__all__ = [
    "Amount",
    "B",
    "Bound",
    "Bounds",
    "BoundsNotKept",
    "Check",
    "Clock",
    "Figure",
    "KiB",
    "Measure",
    "MiB",
    "Outcome",
    "Series",
    "cycle_to_cycle_jitter",
    "interarrival_jitter",
    "looks",
    "max",
    "mean",
    "min",
    "miss_count",
    "misses",
    "ms",
    "needed",
    "ns",
    "p50",
    "p90",
    "p99",
    "p999",
    "peak_to_peak",
    "percent",
    "period_jitter",
    "pwcet",
    "ratio",
    "release_jitter",
    "rms",
    "s",
    "us",
]


_find = lazy_names(
    __name__,
    {
        "hil.measure.bounds": "Bound Bounds BoundsNotKept Check Outcome looks needed",
        "hil.measure.measure": "Measure",
        "hil.measure.worst_case": "pwcet",
    },
)


def __getattr__(name: str) -> Any:
    if name in FORMER_NAMES:
        raise ConfigurationError(f"the figure {name} is called {FORMER_NAMES[name]}, as in bounds files")
    return _find(name)
