"""Figures over nights: one `TrendSeries` for each figure of each series, and where its level changed."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.compare.shifts import MIN_EFFECT
from hil.review.review_window import group_by
from hil.stats.change import Change, changes

if TYPE_CHECKING:
    from hil.history.rows import FigureKey, StoredFigure
    from hil.review.review_window import ReviewWindow

PERSISTENCE = 3  # nights that a change must hold before it is reported
MEDIAN = ("p50", "median")


@dataclass(frozen=True)
class TrendSeries:
    """One figure over `nights`, oldest first, each with its place in `points`; None where it was not measured.

    `level` is the typical magnitude of the series' samples; changes of their spread are weighed against it. `inexact`
    are nights left out because they lost the exactness that the others have. `min_effect` is the least change that
    counts, as a share of the old level.
    """

    key: FigureKey
    nights: tuple[str, ...]
    points: tuple[StoredFigure | None, ...]
    level: float = 0.0
    inexact: tuple[str, ...] = ()
    min_effect: float = MIN_EFFECT

    @functools.cached_property
    def known(self) -> tuple[int, ...]:
        """The indices of the nights that have a value."""
        return tuple(index for index, point in enumerate(self.points) if point is not None)

    @functools.cached_property
    def taken(self) -> tuple[StoredFigure, ...]:
        return tuple(point for point in self.points if point is not None)

    @property
    def last(self) -> StoredFigure:
        return self.taken[-1]

    @property
    def now(self) -> StoredFigure | None:
        """The figure of the night under review."""
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
        """The smallest change that counts: the clock's noise floor, or a share of the samples' magnitude.

        A jitter of 0.2 ms among samples of 25 ms that becomes 0.3 ms is ignored: each new image moves extremes by as
        much.
        """
        floor = max((point.floor or 0.0 for point in self.taken), default=0.0) if self.key.unit == "s" else 0.0
        return max(floor, self.min_effect * self.level)

    @functools.cached_property
    def changes(self) -> tuple[Change, ...]:
        """Changes of the level; `at` is an index into `taken`."""
        return self.changes_until(len(self.values))

    def changes_until(self, count: int) -> tuple[Change, ...]:
        """Return the changes that the first `count` values show."""
        return tuple(
            changes(
                self.values[:count],
                min_effect=self.min_effect,
                persistence=PERSISTENCE,
                exact=self.exact,
                least=self.least,
            )
        )

    def night(self, at: int) -> str:
        """Return the name of the night of `taken[at]`."""
        return self.nights[self.known[at]]


def trend_series(window: ReviewWindow) -> list[TrendSeries]:
    """Return all series of the window, in the order of the newest night that has them.

    Of several series with one key in one run the last counts: it is the last try of the test.
    """
    found: dict[FigureKey, list[StoredFigure | None]] = {}
    count = len(window.nights)
    for index in range(count - 1, -1, -1):
        night = window.nights[index]
        for figure in night.figures:
            found.setdefault(night.figure_key(figure), [None] * count)[index] = figure
    levels = {
        key.series: statistics.median(abs(point.value) for point in points if point is not None)
        for key, points in found.items()
        if key.name in MEDIAN
    }
    return [_series(key, window, points, levels.get(key.series, 0.0)) for key, points in found.items()]


def _series(key: FigureKey, window: ReviewWindow, points: Sequence[StoredFigure | None], level: float) -> TrendSeries:
    """Make a series; where most points are exact, leave out the few that are not.

    The least change of an exact clock is that of the framework: smaller ones are noted elsewhere, whatever their size.
    """
    names = window.names
    exact = [point.exact for point in points if point is not None]
    if 2 * sum(exact) < len(exact):
        return TrendSeries(key, names, tuple(points), level, min_effect=window.min_effect)
    lost = tuple(name for name, point in zip(names, points, strict=True) if point is not None and not point.exact)
    kept = tuple(point if point is not None and point.exact else None for point in points)
    return TrendSeries(key, names, kept, level, lost)


def watched(all_series: Sequence[TrendSeries]) -> Iterator[TrendSeries]:
    """Yield the series in which changes count: bounded ones and medians. A new image always moves some extreme."""
    return (series for series in all_series if series.bounded or series.key.name in MEDIAN)


def pictured(all_series: Sequence[TrendSeries]) -> dict[tuple[str, ...], list[TrendSeries]]:
    """Select the figures to draw, by series: bounded ones, else the median, else the first; and those that changed.

    The median comes first.
    """
    may_change = {series.key for series in watched(all_series)}
    found = {}
    for key, figures in group_by(all_series, lambda series: series.key.series).items():
        bounded = [figure for figure in figures if figure.bounded]
        medians = [figure for figure in figures if figure.key.name in MEDIAN]
        main = bounded or medians or figures[:1]
        more = [figure for figure in figures if figure not in main and figure.key in may_change and figure.changes]
        found[key] = sorted([*main, *more], key=lambda figure: figure.key.name not in MEDIAN)
    return found
