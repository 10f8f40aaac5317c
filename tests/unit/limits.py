"""Limits of tests that hold on a busy host, and what the runs of pytest that they start leave out."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WITH_LABGRID = {"PYTEST_ADDOPTS": "-p no:hypothesispytest"}
"""The environment for a run of pytest with labgrid's plugin, which runs started by tests leave out otherwise."""
HANG = 600.0
"""Seconds after which something that is waited for counts as hung; on a quiet host each such wait takes a few."""


def soonest(measure: Callable[[], float], limit: float, tries: int = 20) -> float:
    """Return the least of the times that `measure` takes, in seconds; stop at the first below `limit`.

    What else the host does makes a time longer, never shorter: one that is short enough is proof.
    """
    least = measure()
    while least >= limit and (tries := tries - 1):
        least = min(least, measure())
    return least


@contextmanager
def processor_time() -> Iterator[Callable[[], float]]:
    """Give the processor time in seconds that this process and those it has waited for took since, whatever else runs."""

    def now() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
        return sum(one.ru_utime + one.ru_stime for one in spent)

    begun = now()
    yield lambda: now() - begun
