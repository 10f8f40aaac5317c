"""The figures of a series that the history keeps: the usual ones, and every one that a bound was for."""

from __future__ import annotations

import contextlib
import math
import re

from hil.errors import ConfigurationError
from hil.measure import units
from hil.measure.figures import DEADLINE_FIGURES, FIGURES, FORMER_NAMES, Figure
from hil.measure.results import SeriesRecord

USUAL = ("min", "p50", "p90", "p99", "max")
Summed = tuple[str, str, float, float | None, float | None]  # name, unit, value, lower and upper limit
DEADLINE = re.compile(r"(.+?) ?\((.+)\)")


def summed(record: SeriesRecord) -> list[Summed]:
    """Name, unit, value, lower and upper limit of each figure of a series, each limit at 95 %, one-sided."""
    series, found = record.series, list[Summed]()
    for name in dict.fromkeys((*USUAL, *(check.figure for check in record.checks))):
        if (figure := _figure(name)) is None:
            continue
        with contextlib.suppress(ConfigurationError):  # a deadline in another unit, in a file that is not ours
            told = figure.estimate(series)
            if math.isfinite(told.value):  # samples of others may be as large as a number can be
                found.append((figure.name, told.unit, told.value, _finite(told.lower), _finite(told.upper)))
    return found


def _finite(limit: float | None) -> float | None:
    return limit if limit is not None and math.isfinite(limit) else None


def _figure(name: str) -> Figure | None:
    """The figure of that name; None for one of another tool or time, of which only the check is kept."""
    if figure := FIGURES.get(FORMER_NAMES.get(name, name)):
        return figure
    parts = DEADLINE.fullmatch(name)
    counting = DEADLINE_FIGURES.get(FORMER_NAMES.get(parts[1], parts[1])) if parts else None
    if parts is None or counting is None:
        return None
    try:
        return counting(units.parse(parts[2]))
    except ValueError:
        return None
