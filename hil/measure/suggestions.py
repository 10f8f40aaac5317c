"""Suggested rows of a bounds file: measured figures plus a headroom."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from hil.errors import ConfigurationError
from hil.measure.bound import Figure
from hil.measure.bounds_file import BoundsRow
from hil.measure.decision import FINEST
from hil.measure.figures import maximum, p50, p90, p99
from hil.measure.response import overshoot, settling_time, steady_state_error
from hil.measure.results import SeriesRecord
from hil.measure.series import Series
from hil.measure.series_data import SeriesData
from hil.measure.units import NAMES, shown

CANDIDATES = (p99, p90, p50, maximum)
"""Figures in order of preference: the first with an upper confidence limit is suggested."""
OF_RESPONSES = (overshoot, settling_time, steady_state_error)
"""The figures that are suggested for a step response, each if it is finite and not 0."""


def suggest(several: Iterable[SeriesData], headroom: float) -> list[BoundsRow]:
    """Return a row for each quantity, subject and clock in `several`, with a limit that all these series keep.

    A step response has a row for each of its figures.

    The limit is the upper confidence limit of the figure plus `headroom`, a share of it, rounded up to two digits, and
    not finer than the clock can decide. Raises `ConfigurationError` for no series and a headroom of 0 or less.
    """
    if not 0 < headroom < math.inf:
        raise ConfigurationError(f"the headroom {headroom} is not above 0", hint="Give a share such as 0.5.")
    groups: dict[tuple[str, str, str], list[SeriesData]] = {}
    for series in several:
        groups.setdefault((series.quantity, series.subject, series.clock.name), []).append(series)
    if not groups:
        raise ConfigurationError("there are no series to suggest bounds for", hint="Run tests that measure.")
    return [_row(group, figure, headroom) for group in groups.values() for figure in _figures(group)]


def lacking(records: Iterable[SeriesRecord]) -> list[Series]:
    """Return the series that a test checked without finding a bound; the others were measured along with them."""
    return [record.series for record in records if not record.checks and record.series.lacks_verdict]


def as_toml(row: BoundsRow) -> str:
    """Return `row` as TOML for a bounds file."""
    values = {"quantity": row.quantity, "subject": row.subject, "figure": row.figure, "limit": str(row.limit)}
    values |= {"clock": row.clock or "", "reason": row.reason}
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items() if value)
    return "\n".join(["[[bound]]", *lines]) + "\n"


def _figures(group: Sequence[SeriesData]) -> list[Figure]:
    """Return the figures to suggest for series of one quantity, subject and clock."""
    if all(series.response for series in group):
        largest = {figure: max(figure.estimate(series).value for series in group) for figure in OF_RESPONSES}
        return [figure for figure, value in largest.items() if 0 < value < math.inf]
    first = min(group, key=len)
    return [next(each for each in CANDIDATES if each.estimate(first).upper is not None)]


def _row(group: Sequence[SeriesData], figure: Figure, headroom: float) -> BoundsRow:
    first = min(group, key=len)
    value, unit = max(figure.estimate(series).value for series in group), figure.unit or first.unit
    limit = 0.0
    for series in group:
        upper, unsure = figure.estimate(series).upper, series.clock.uncertainty if unit == "s" else 0.0
        assert upper is not None  # more samples than `first`
        limit = max(limit, (upper + unsure) * (1 + headroom), FINEST * unsure)
    samples = sum(map(len, group))
    reason = f"measured {shown(value, unit)} (n={samples}) plus {100 * headroom:g} % headroom"
    row = {
        "quantity": first.quantity,
        "subject": first.subject,
        "figure": figure.name,
        "limit": _rounded_up(limit, unit),
        "clock": first.clock.name,
        "reason": reason,
    }
    try:
        return BoundsRow.model_validate(row)
    except ValidationError as error:  # such as a time in bytes
        raise ConfigurationError(
            f"no row can bound {first.quantity} of {first.subject}: {error.errors()[0]['msg']}",
            hint="Give the quantity a name of its own.",
        ) from error


def _rounded_up(value: float, unit: str) -> str:
    """Return `value`, 0 or more, rounded up to two digits, with a suitable unit."""
    number, _, name = shown(value, unit).partition(" ")
    if not float(number):
        return f"{number} {name}".rstrip()
    scaled = value / (NAMES[name].value if name else 1.0)
    step = 10.0 ** (math.floor(math.log10(scaled)) - 1)
    return f"{math.ceil(scaled / step - 1e-9) * step:.10g} {name}".rstrip()
