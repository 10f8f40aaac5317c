"""Interim analyses: at which sample counts to decide while a series grows, planned before the measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hil.errors import ConfigurationError
from hil.measure.bound import CONFIDENCE, Bound
from hil.measure.decision import Outcome, decide
from hil.measure.series_data import SeriesData

MOST = 100_000  # samples, the default limit


def interim_counts(first: int, limit: int) -> tuple[int, ...]:
    """Return the sample counts at which to decide, each at most twice the previous one.

    Decide at each with `confidence=1 - 0.05 / len(counts)`: then all decisions together err in at most 5 % of cases
    (Bonferroni), whichever of them are made. Raises `ConfigurationError` unless 1 <= first <= limit.
    """
    if not 1 <= first <= limit:
        raise ConfigurationError(
            f"cannot decide from {first} to {limit} samples", hint="Give a first count of 1 or more, up to the limit."
        )
    counts = [first]
    while counts[-1] < limit:
        counts.append(min(2 * counts[-1], limit))
    return tuple(counts)


def samples_needed(
    series: SeriesData, bounds: Sequence[Bound], confidence: float = CONFIDENCE, limit: int = MOST
) -> int:
    """Return how many samples like these would decide the inconclusive bounds, at most `limit`.

    The result is 0 if more samples do not help: all bounds are decided, one has failed, the clock is too coarse, or
    there are `limit` samples.
    """
    import numpy as np

    def undecided(taken: SeriesData) -> bool:
        checks = [decide(bound, taken, confidence) for bound in bounds]
        if any(check.outcome is Outcome.FAIL for check in checks):
            return False
        return any(check.outcome is Outcome.INCONCLUSIVE and not check.undecidable for check in checks)

    if not undecided(series) or len(series) >= limit:
        return 0
    number = len(series)
    while number < limit:
        number = min(number * 3 // 2 + 1, limit)
        more = replace(series, samples=np.resize(series.samples, number), times=None, offsets=None, host=())
        if not undecided(more):
            break
    return number
