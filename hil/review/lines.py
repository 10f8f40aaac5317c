"""Figures over nights: one line for each figure of each series, and where its level changed."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.stats.change import Change, changes

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure
    from hil.review.window import ReviewWindow

MINIMUM = 0.05  # share of the old level: smaller changes are none
PERSISTENCE = 3  # nights that a change has to hold before it is told
MEDIAN = ("p50", "median")


@dataclass(frozen=True)
class FigureKey:
    """What a figure is known by from night to night."""

    run: str
    test: str
    board: str
    quantity: str
    subject: str
    unit: str
    clock: str
    seed: str
    name: str

    @property
    def series(self) -> tuple[str, ...]:
        """What figures of one series have in common."""
        return (self.run, self.test, self.board, self.quantity, self.subject, self.unit, self.clock, self.seed)


@dataclass(frozen=True)
class TrendSeries:
    """A figure over `nights`, oldest first, of which each has its place in `points`; None where it was not taken.

    `level` is the usual size of the series' samples, by which a change of their spread is small or not. `inexact` are
    nights left out: they lost exactness, which the others have.
    """

    key: FigureKey
    nights: tuple[str, ...]
    points: tuple[StoredFigure | None, ...]
    level: float = 0.0
    inexact: tuple[str, ...] = ()

    @functools.cached_property
    def known(self) -> tuple[int, ...]:
        """The places of nights that have a value."""
        return tuple(index for index, point in enumerate(self.points) if point is not None)

    @functools.cached_property
    def taken(self) -> tuple[StoredFigure, ...]:
        return tuple(point for point in self.points if point is not None)

    @property
    def last(self) -> StoredFigure:
        return self.taken[-1]

    @property
    def now(self) -> StoredFigure | None:
        """The one of the night under review."""
        return self.points[-1]

    @property
    def bounded(self) -> bool:
        return self.last.bound is not None

    @property
    def exact(self) -> bool:
        return all(point.exact for point in self.taken)

    @functools.cached_property
    def values(self) -> tuple[float, ...]:
        return tuple(point.value for point in self.taken)

    @property
    def least(self) -> float:
        """The smallest change that counts: what the clock can tell, and a share of what the samples are in size.

        A jitter of 0.2 ms among samples of 25 ms that becomes 0.3 ms is no news: each new image moves extremes by so
        much.
        """
        floor = max((point.floor or 0.0 for point in self.taken), default=0.0) if self.key.unit == "s" else 0.0
        return max(floor, MINIMUM * self.level)

    @functools.cached_property
    def changes(self) -> tuple[Change, ...]:
        """Where the level changed; `at` counts in `taken`."""
        return self.changes_until(len(self.values))

    def changes_until(self, count: int) -> tuple[Change, ...]:
        """The changes that the first `count` values show."""
        return tuple(
            changes(self.values[:count], minimum=MINIMUM, persistence=PERSISTENCE, exact=self.exact, least=self.least)
        )

    def night(self, at: int) -> str:
        """The name of the night of the value number `at` among those taken, from 0."""
        return self.nights[self.known[at]]


def lines(window: ReviewWindow) -> list[TrendSeries]:
    """All lines of the window, in the order of the newest night that has them.

    Of several series of the same name in one run the last counts: of a test that was tried again.
    """
    found: dict[FigureKey, list[StoredFigure | None]] = {}
    count = len(window.nights)
    for index in range(count - 1, -1, -1):
        night = window.nights[index]
        for figure in night.figures:
            run, test = night.key(figure)
            board = night.board(figure)
            where = (run, test, board, figure.quantity, figure.subject, figure.unit, figure.clock)
            key = FigureKey(*where, figure.seed, figure.name)
            found.setdefault(key, [None] * count)[index] = figure
    levels = {
        key.series: statistics.median(abs(point.value) for point in points if point is not None)
        for key, points in found.items()
        if key.name in MEDIAN
    }
    return [_line(key, window.names, points, levels.get(key.series, 0.0)) for key, points in found.items()]


def _line(key: FigureKey, names: tuple[str, ...], points: Sequence[StoredFigure | None], level: float) -> TrendSeries:
    """The line of those points; without the few of an exact clock that were not exact in their night."""
    exact = [point.exact for point in points if point is not None]
    if all(exact) or 2 * sum(exact) < len(exact):
        return TrendSeries(key, names, tuple(points), level)
    kept = tuple(point if point is not None and point.exact else None for point in points)
    lost = tuple(name for name, point in zip(names, points, strict=True) if point is not None and not point.exact)
    return TrendSeries(key, names, kept, level, lost)


def judged(every: Sequence[TrendSeries]) -> Iterator[TrendSeries]:
    """Those in which changes are looked for: bounded ones and medians. A new image always moves some extreme."""
    return (line for line in every if line.bounded or line.key.name in MEDIAN)


def pictured(every: Sequence[TrendSeries]) -> dict[tuple[str, ...], list[TrendSeries]]:
    """By series the lines that a reader sees: bounded ones, else the median, else the first; and those that changed.

    The median stands first.
    """
    series: dict[tuple[str, ...], list[TrendSeries]] = {}
    for line in every:
        series.setdefault(line.key.series, []).append(line)
    watched = set(map(id, judged(every)))
    found = {}
    for key, of_series in series.items():
        main = [one for one in of_series if one.bounded] or [one for one in of_series if one.key.name in MEDIAN]
        main = main or of_series[:1]
        shown = set(map(id, main))
        more = [one for one in of_series if id(one) in watched - shown and one.changes]
        found[key] = sorted([*main, *more], key=lambda one: one.key.name not in MEDIAN)
    return found
