"""Measurements: series, figures and bounds on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError
from hil.lazy import lazy_names
from hil.measure.checking import BoundsNotKept
from hil.measure.clock import Clock
from hil.measure.decision import Check, Outcome
from hil.measure.figure import Bound, Figure
from hil.measure.figures import FORMER_NAMES, mean, miss_count, misses, p50, p90, p99, p999, peak_to_peak, rms
from hil.measure.figures import maximum as max
from hil.measure.figures import minimum as min
from hil.measure.interim import interim_counts, samples_needed
from hil.measure.jitter import cycle_to_cycle_jitter, interarrival_jitter, period_jitter, release_jitter
from hil.measure.series import Series
from hil.measure.units import Amount, B, KiB, MiB, ms, ns, percent, ratio, s, us

if TYPE_CHECKING:
    from hil.measure.bounds_file import Bounds
    from hil.measure.measure import Measure
    from hil.measure.worst_case import pwcet

__all__ = [
    "Amount", "B", "Bound", "Bounds", "BoundsNotKept", "Check", "Clock", "Figure", "KiB", "Measure", "MiB",
    "Outcome", "Series", "cycle_to_cycle_jitter", "interarrival_jitter", "interim_counts", "max", "mean", "min",
    "miss_count", "misses", "ms", "ns", "p50", "p90", "p99", "p999", "peak_to_peak", "percent", "period_jitter",
    "pwcet", "ratio", "release_jitter", "rms", "s", "samples_needed", "us",
]  # fmt: skip


_find = lazy_names(  # not needed to collect tests
    __name__,
    {
        "hil.measure.bounds_file": "Bounds",
        "hil.measure.measure": "Measure",
        "hil.measure.worst_case": "pwcet",
    },
)


def __getattr__(name: str) -> Any:
    if name in FORMER_NAMES:
        raise ConfigurationError(f"the figure {name} is now called {FORMER_NAMES[name]}")
    return _find(name)
