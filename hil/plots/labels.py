"""Titles, names and descriptions in pictures of series."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hil.measure.results import CheckResult
from hil.measure.series import Series
from hil.measure.units import shown
from hil.plots.canvas import Checks


def title(series: Series) -> str:
    """Return the title of a picture of one series."""
    clock = series.clock
    floor = (
        "floor not measured" if clock.floor is None else f"floor {shown(clock.floor)}" if clock.floor else "no floor"
    )
    return f"{series.quantity} of {series.subject}\nn = {len(series)}, {clock.name}, {floor}"


def numbers(series: Series) -> str:
    """Return the main figures of a series in a line."""
    ordered, n = series.ordered, len(series)
    ranks = {"min": 1, "p50": -(-n // 2), "p99": -(-n * 99 // 100), "max": n}
    return f"n = {n}, " + ", ".join(f"{name} {shown(float(ordered[r - 1]), series.unit)}" for name, r in ranks.items())


def description(series: Series, checks: Checks) -> str:
    """Return a series and its checks in words, for screen readers."""
    return "\n".join([f"{numbers(series)}; clock: {series.clock}", *(CheckResult.of(check).text for check in checks)])


def names(several: Sequence[Series]) -> tuple[str, list[str]]:
    """Return a title of the common parts of `several` series, and a name for each from its own parts."""
    parts = [
        {"quantity": each.quantity, "subject": each.subject, "clock": each.clock.name}
        | {key: _short(each.provenance.get(key, "")) for key in ("board", "image", "module", "qemu", "seed", "mode")}
        for each in several
    ]
    apart = [key for key in parts[0] if len({part[key] for part in parts}) > 1]
    common = " of ".join(parts[0][key] for key in ("quantity", "subject") if key not in apart) or "comparison"
    labels = [
        " ".join(
            part[key] if key in ("quantity", "subject", "clock") else f"{key} {part[key]}" if part[key] else f"no {key}"
            for key in apart
        )
        for part in parts
    ]
    repeated = len(set(labels)) < len(labels)
    labels = [f"{number}: {label}".rstrip(": ") if repeated else label for number, label in enumerate(labels, 1)]
    labels = [f"{label}, n = {len(each)}" for label, each in zip(labels, several, strict=True)]
    return f"{common}\n{'' if 'clock' in apart else parts[0]['clock']}".rstrip(), labels


def _short(text: str) -> str:
    """Return `text` with digests cut to 8 digits."""
    return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{32,}\b", r"\1", text)
