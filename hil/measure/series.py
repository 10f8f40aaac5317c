"""The series that tests use: its data, and the check against bounds."""

from __future__ import annotations

from dataclasses import dataclass

from hil.measure.bound import Bound
from hil.measure.checking import check
from hil.measure.decision import Check
from hil.measure.series_data import SeriesData


@dataclass(frozen=True, eq=False)
class Series(SeriesData):
    """A series that can be checked; see `SeriesData` for its fields."""

    def check(self, *bounds: Bound) -> tuple[Check, ...]:
        """Check the series: `series.check(p99 <= 2 * ms, rms <= 1 * ms)`. Raises as `hil.measure.checking.check`."""
        return check(self, bounds)
