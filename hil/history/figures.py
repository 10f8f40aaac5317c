"""The figures of a series that the history stores: the usual ones, and each one that a bound was for."""

from __future__ import annotations

import contextlib
import math
import re
from typing import Any

from hil.errors import ConfigurationError
from hil.measure import units
from hil.measure.bound import Figure
from hil.measure.figures import DEADLINE_FIGURES, FIGURES
from hil.measure.response import RESPONSE_FIGURES
from hil.measure.results import SeriesRecord

USUAL = ("min", "p50", "p90", "p99", "max")
DEADLINE = re.compile(r"(.+)\((.+)\)")


def stored_figures(record: SeriesRecord) -> list[dict[str, Any]]:
    """Return the figures of a series; each confidence limit is one-sided at 95 %."""
    found: list[dict[str, Any]] = []
    for name in dict.fromkeys((*USUAL, *(check.figure for check in record.checks))):
        if (figure := _figure(name)) is None:
            continue
        with contextlib.suppress(ConfigurationError):  # a deadline in another unit, in another tool's file
            estimate = figure.estimate(record.series)
            if math.isfinite(estimate.value):  # another tool's samples may be as large as a number can be
                lower, upper = (
                    limit if limit is not None and math.isfinite(limit) else None
                    for limit in (estimate.lower, estimate.upper)
                )
                values = {"name": figure.name, "unit": estimate.unit, "value": estimate.value}
                found.append(values | {"lower": lower, "upper": upper})
    return found


def _figure(name: str) -> Figure | None:
    """Return the figure of that name; None for one of another tool or version, of which only the check is stored."""
    if figure := FIGURES.get(name) or RESPONSE_FIGURES.get(name):
        return figure
    parts = DEADLINE.fullmatch(name)
    if parts is None or parts[1] not in DEADLINE_FIGURES:
        return None
    try:
        return DEADLINE_FIGURES[parts[1]](units.parse(parts[2]))
    except ValueError:
        return None
