"""Series of measurements, the bounds they must keep, and the honest decision between them."""

from hil.timing.bounds import Bound, Bounds, Check, Outcome
from hil.timing.figures import (
    Figure,
    maximum,
    mean,
    minimum,
    p50,
    p90,
    p99,
    p999,
    peak_to_peak,
)
from hil.timing.measure import Measure
from hil.timing.series import Clock, Series, ms, ns, s, us

__all__ = [
    "Bound",
    "Bounds",
    "Check",
    "Clock",
    "Figure",
    "Measure",
    "Outcome",
    "Series",
    "maximum",
    "mean",
    "minimum",
    "ms",
    "ns",
    "p50",
    "p90",
    "p99",
    "p999",
    "peak_to_peak",
    "s",
    "us",
]
