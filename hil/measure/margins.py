"""A figure beside its limit, in words."""

from __future__ import annotations

import math
from collections.abc import Callable

FAR = 2.0  # times the limit, from which on a factor reads better than a percentage


def bound_text(outcome: str, what: str, value: float, limit: float, text: Callable[[float], str]) -> str:
    """Return the outcome of a bound: `FAIL: p50 is 432 ms, limit 2 ms (216 times the limit)`.

    `text` writes a number with its unit.
    """
    beyond = f" ({excess(value, limit)})" if value > limit else ""
    return f"{outcome.upper()}: {what} is {text(value)}, limit {text(limit)}{beyond}"


def margin(value: float, limit: float) -> str:
    """Return the share of the limit that is left, or the excess: `38 % left`, `12 % over the limit`."""
    if value > limit:
        return excess(value, limit)
    return f"{100 * (limit - value) / limit:.3g} % left" if limit else "nothing left"


def excess(value: float, limit: float) -> str:
    """Return by how much a value exceeds its limit: `12 % over the limit`, `216 times the limit`."""
    if math.isinf(value):
        return "not within the time of the record"
    if limit <= 0:
        return f"over a limit of {limit:g}"
    ratio = value / limit
    if ratio >= FAR:
        return f"{round(ratio):,} times the limit" if ratio >= 100 else f"{ratio:.3g} times the limit"
    return f"{100 * (ratio - 1):.3g} % over the limit"
