"""The record of a test: all data that the plugin keeps about one test while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from hil import slow
from hil.plugin.selection import BoardSelection

RECORD = pytest.StashKey["TestRecord"]()


@dataclass
class TestRecord:
    """The data of one test: `properties` to `where` hold for all its tries, the rest for the current try.

    `properties` are the item's user properties before its first try. `selection` is the board that the test has
    requested. `where` is the board's place or name and its incarnation, set before the board comes up; `board` is set
    once it is up. `start` is the offset in the transcript of `console` at which the test begins. `origins` are the
    failure origins so far. The signals of `pins`, of the objects with timelines `traced` and of the results `loops` are
    attached.
    """

    __test__ = False  # not a test class

    properties: list[tuple[str, Any]]
    selection: BoardSelection | None = None
    where: tuple[str, str] = ("", "")

    board: slow.Board | None = None
    console: slow.Console | None = None
    start: int = 0
    began_ns: int = 0
    executions: list[slow.Execution] = field(default_factory=list)
    measure: slow.Measure | None = None
    injections: list[slow.Injection] = field(default_factory=list)
    pins: slow.Pins | None = None
    traced: list[slow.Traceable] = field(default_factory=list)
    loops: list[slow.LoopResult] = field(default_factory=list)
    origins: list[str] = field(default_factory=list)

    def begin_try(self) -> None:
        """Discard the data of the try before."""
        self.board, self.console, self.start, self.began_ns = None, None, 0, 0
        self.executions, self.measure, self.injections, self.pins, self.origins = [], None, [], None, []
        self.traced, self.loops = [], []

    def begin_on(self, board: slow.Board) -> None:
        """Note that `board` is up for the test; its console is the test's own from here on."""
        self.board, self.console = board, board.console
        self.start, self.began_ns = board.console.position, time.monotonic_ns()

    def spans(self) -> Iterator[tuple[slow.Transcript, int]]:
        """Yield the transcripts of the test, each with the offset where its part of it begins."""
        if self.board is None or self.console is None:
            return
        yield self.console.transcript, self.start
        if self.board.report is not None and self.board.console is not self.console:  # booted within the test
            yield self.board.console.transcript, 0


def record_of(item: pytest.Item) -> TestRecord:
    """Return the record of `item`, which begins with the first call."""
    if RECORD not in item.stash:
        item.stash[RECORD] = TestRecord(list(item.user_properties))
    return item.stash[RECORD]
