"""Figures of a night beside those of the night before: which have shifted."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from hil.compare.baseline import BaselineComparison, BaselineKey, BaselineOutcome, Baselines, summary
from hil.errors import HilError
from hil.measure import results
from hil.measure.series import Series
from hil.measure.units import shown


def compare(now: Path, then: Path, minimum: float) -> tuple[list[str], str]:
    """The figures in the results file `now` that are not as they were `then`, a line each, and how all compare.

    `minimum` is the smallest shift that counts, as a share. What cannot be compared is told, never raised.
    """
    try:
        new, old = _last(now), _last(then)
        if not new or not old:
            return [], ""
        with tempfile.TemporaryDirectory(prefix="hil-night-") as directory:
            baselines = Baselines(Path(directory))
            baselines.record(old)
            compared = baselines.compare(new, minimum=minimum)
    except HilError as error:
        return [], f"not compared: {error.message}"
    return [_line(one) for one in compared if one.outcome is BaselineOutcome.DIFFERENT], summary(compared)


def _last(path: Path) -> list[Series]:
    """One series of each kind: of a test that was tried again the last."""
    return list({BaselineKey.of(one): one for one in results.load(path).series}.values())


def _line(one: BaselineComparison) -> str:
    told = "; ".join([*_shifts(one), *one.changed])
    return f"{one.series.quantity} of {one.series.subject}, {one.series.provenance.get('board', '')}: {told}"


def _shifts(one: BaselineComparison) -> Iterator[str]:
    unit = one.series.unit
    for shift in one.shifts:
        if shift.outcome is BaselineOutcome.DIFFERENT:
            share = f" ({shift.value / abs(shift.old):+.1%})" if shift.old else ""
            yield f"{shift.figure} {shown(shift.old, unit)} -> {shown(shift.old + shift.value, unit)}{share}"
    if one.first:
        old, new = ("none" if value is None else shown(value, unit) for value in (one.first.old, one.first.new))
        count, place = one.first.count, one.first.repetition
        yield f"{count} of {len(one.series)} values changed, the first is #{place}: {old} -> {new}"
