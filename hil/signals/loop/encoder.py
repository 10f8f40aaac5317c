"""The edges of an incremental encoder, from the position of its shaft."""

from __future__ import annotations

import math

from hil.errors import PlantError
from hil.signals.signal_map import Quadrature

MOST_EDGES = 100_000  # of one output in one step


def encoder_edges(
    encoder: Quadrature, name: str, before: float, after: float, began: int, ends: int
) -> list[tuple[int, str, int]]:
    """Return time in ns, pin and level of each edge while the position moves from `before` to `after`, in counts."""
    first, last = math.floor(before), math.floor(after)
    if abs(last - first) > MOST_EDGES:
        raise storm(name, f"{encoder.a} and {encoder.b}")
    # a count is entered at its lower limit on the way up, and at its upper limit on the way down
    up = last > first
    entered = range(first + 1, last + 1) if up else range(first - 1, last - 1, -1)
    edges = []
    at = began
    for count in entered:
        share = ((count if up else count + 1) - before) / (after - before)
        at = max(began + round(share * (ends - began)), at + 1)  # one line at a time
        if at > ends:
            raise storm(name, f"{encoder.a} and {encoder.b}")
        levels = lines(count)
        line = (0 if count % 2 else 1) if up else (1 if count % 2 else 0)
        edges.append((at, (encoder.a, encoder.b)[line], levels[line]))
    return edges


def lines(count: int) -> tuple[int, int]:
    """Return the levels of both lines at a count: 00, 10, 11, 01."""
    phase = count % 4
    return int(phase in (1, 2)), int(phase in (2, 3))


def storm(name: str, wires: str) -> PlantError:
    """Return the error for an output that changes too often in a step."""
    return PlantError(
        f"{name} makes more than {MOST_EDGES} edges in one step, or edges less than 1 ns apart, on {wires}",
        hint="Shorten the step, or check the units of the plant's speed and of `counts`.",
    )
