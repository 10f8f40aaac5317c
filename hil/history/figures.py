"""The figures of a series that the history stores: the usual ones, and each one that a bound was for."""

from __future__ import annotations

import contextlib
import math
import re

from hil.errors import ConfigurationError
from hil.history.rows import FigureRow
from hil.measure import units
from hil.measure.figure import Figure
from hil.measure.figures import DEADLINE_FIGURES, FIGURES, FORMER_NAMES
from hil.measure.results import SeriesRecord

USUAL = ("min", "p50", "p90", "p99", "max")
DEADLINE = re.compile(r"(.+?) ?\((.+)\)")


def stored_figures(record: SeriesRecord) -> list[FigureRow]:
    """Return the figures of a series; each confidence limit is one-sided at 95 %."""
    found: list[FigureRow] = []
    for name in dict.fromkeys((*USUAL, *(check.figure for check in record.checks))):
        if (figure := _figure(name)) is None:
            continue
        with contextlib.suppress(ConfigurationError):  # a deadline in another unit, in another tool's file
            estimate = figure.estimate(record.series)
            if math.isfinite(estimate.value):  # another tool's samples may be as large as a number can be
                limits = _finite(estimate.lower), _finite(estimate.upper)
                found.append((figure.name, estimate.unit, estimate.value, *limits))
    return found


def _finite(limit: float | None) -> float | None:
    return limit if limit is not None and math.isfinite(limit) else None


def _figure(name: str) -> Figure | None:
    """Return the figure of that name; None for one of another tool or version, of which only the check is stored."""
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
