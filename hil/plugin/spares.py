"""How many spare machines a run keeps: by --hil-spare, this host's processors, and the tests that follow."""

from __future__ import annotations

import os
from collections.abc import Generator
from itertools import takewhile
from typing import Any

import pytest

from hil.plugin.selection import BoardSelection
from hil.plugin.selections import JUDGING, BoardSelections

COUNTING = frozenset(("faults", "soak"))  # the fixtures of tests that count processes, descriptors and threads
MOST = 2  # by default: a restore takes longer than a short test


class SparePlan:
    """The spare machines that the tests to come can use."""

    def __init__(self, config: pytest.Config, selections: BoardSelections) -> None:
        self.count = _count(config.option.hil_spare)
        self._selections = selections
        self._next: pytest.Item | None = None
        self._places: dict[pytest.Item, int] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, Any, Any]:
        self._next = nextitem
        return (yield)

    def wanted(self, selection: BoardSelection, item: pytest.Item) -> int:
        """Return how many spares of `selection` the tests after `item` use; 0 if they would disturb `item`."""
        if disturbed(selection, item):
            return 0
        return len(list(takewhile(lambda later: self._selections.of(later) == selection, self._following())))

    def _following(self) -> list[pytest.Item]:
        """Return the next `count` tests. A worker of pytest-xdist is given only one: the others count as like it."""
        if self._next is None:
            return []
        if hasattr(self._next.config, "workerinput"):
            return [self._next] * self.count
        items = self._next.session.items
        if self._next not in self._places:
            self._places = {item: place for place, item in enumerate(items)}
        begin = self._places.get(self._next, len(items))
        return items[begin : begin + self.count]


def disturbed(selection: BoardSelection, item: pytest.Item) -> bool:
    """Return whether a restore in the background would disturb `item`.

    It does where `item` judges time on a board in real time, and where it counts what the run has open.
    """
    fixtures = getattr(item, "fixturenames", ())
    if not COUNTING.isdisjoint(fixtures):
        return True
    judges = not JUDGING.isdisjoint(fixtures) or item.get_closest_marker("timing") is not None
    return judges and selection.seed is None


def _count(option: int | None) -> int:
    """Return the most spares of each board: `option`, by default one a processor of this worker, at most `MOST`.

    By default a single processor restores nothing in the background.
    """
    if option is not None:
        return option
    processors, workers = len(os.sched_getaffinity(0)), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return min(MOST, processors // workers) if processors > 1 else 0
