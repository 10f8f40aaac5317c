"""Trend pages: one for each quantity, with its figures over the window's nights and where they changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.history.rows import FigureKey
from hil.measure.units import shown
from hil.plots.trend import TrendPoint, trend
from hil.review import rendering
from hil.review.review_window import ReviewWindow, group_by
from hil.review.trend_series import PERSISTENCE, TrendSeries
from hil.stats.change import nights_needed

DIRECTORY = "trends"


@dataclass(frozen=True)
class FigureTrend:
    """One figure over nights: its picture, empty for a single night, its changes, and other remarks, in words."""

    series: TrendSeries
    svg: str
    changes: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A series over nights: those of its figures that are drawn."""

    anchor: str
    title: str
    key: FigureKey
    figures: tuple[FigureTrend, ...]

    @property
    def changed(self) -> bool:
        return any(figure.changes for figure in self.figures)


@dataclass(frozen=True)
class TrendPage:
    """The page of a quantity, in the file `name`."""

    quantity: str
    name: str
    sections: tuple[Section, ...]


def anchor(key: FigureKey) -> str:
    return rendering.name_of(*key.series)


def file_of(quantity: str) -> str:
    """Return the file name of a quantity's page."""
    name = rendering.name_of(quantity)
    return f"{f'quantity-{name}' if name == 'index' else name}.html"


def write(directory: Path, window: ReviewWindow, drawn: dict[tuple[str, ...], list[TrendSeries]]) -> None:
    """Write the pages into `directory`, and their index. Raises `InfrastructureError` for disk errors."""
    quantities = group_by(drawn.values(), lambda figures: figures[0].key.quantity)
    made = [
        TrendPage(quantity, file_of(quantity), tuple(_sections(window, sorted(several, key=_order))))
        for quantity, several in sorted(quantities.items())
    ]
    rendering.write(directory / "index.html", "trends.html", window=window, pages=made)
    for page in made:
        rendering.write(directory / page.name, "trend.html", window=window, page=page)


def _order(figures: Sequence[TrendSeries]) -> tuple[str, ...]:
    key = figures[0].key
    return (key.board, key.subject, key.test, *key.series)


def _sections(window: ReviewWindow, several: Sequence[Sequence[TrendSeries]]) -> Iterator[Section]:
    """Yield the sections of a page, each with a different title."""
    titles = [_titles(figures[0].key) for figures in several]
    counts = [Counter(of_length) for of_length in zip(*titles, strict=True)]
    for figures, candidates in zip(several, titles, strict=True):
        unique = (title for title, count in zip(candidates, counts, strict=True) if count[title] == 1)
        title = next(unique, candidates[-1])
        drawn = tuple(_drawn(window, series, title) for series in figures)
        yield Section(anchor(figures[0].key), title, figures[0].key, drawn)


def _titles(key: FigureKey) -> tuple[str, ...]:
    """Return possible titles, from the shortest to one that no other series has."""
    seed = f", seed {key.seed}" if key.seed else ""
    short = f"{key.subject or '(no subject)'} on {key.board}{seed}"
    full = f"{short}, {key.clock}, {key.unit}, {key.run}, {key.test}"
    return short, f"{short}, {key.clock}", f"{short}, {key.test}", full


def _drawn(window: ReviewWindow, series: TrendSeries, title: str) -> FigureTrend:
    key = series.key
    svg = ""
    if len(series.values) > 1:
        notes = [(note.night, note.text) for note in window.notes]
        names = {"quantity": key.quantity, "subject": title, "figure": key.name, "unit": key.unit, "clock": key.clock}
        svg = trend(list(_points(series)), series.changes, notes, **names)
    return FigureTrend(series, svg, tuple(_changes(series)), tuple(_remarks(series)))


def _points(series: TrendSeries) -> Iterator[TrendPoint]:
    for number, figure in enumerate(series.taken):
        known = {name: getattr(figure, name) for name in ("value", "lower", "upper", "bound", "outcome")}
        yield TrendPoint(series.night(number), image=figure.image_sha256, **known)


def _changes(series: TrendSeries) -> Iterator[str]:
    """Yield the changes in words."""
    unit = series.key.unit
    for change in series.changes:
        until = f" to {series.night(change.until)}" if change.kind == "drift" else ""
        old, new = series.taken[change.at - 1], series.taken[change.at]
        digests = [figure.image_sha256[:8] or "(unknown)" for figure in (old, new)]
        image = f", image {new.image} {' -> '.join(digests)}" if digests[0] != digests[1] else ""
        sizes = f"{shown(change.old, unit)} -> {shown(change.new, unit)}"
        yield f"{series.night(change.at)}{until}: {change}, {sizes}{image}"


def _remarks(series: TrendSeries) -> Iterator[str]:
    """Yield why there are no changes, and the nights that are left out."""
    count = len(series.values)
    least = nights_needed(persistence=PERSISTENCE, exact=series.exact)
    if count < least:
        yield f"{count} night{'s' * (count > 1)}; changes are looked for from {least} nights on"
    elif not series.changes:
        yield "no change"
    if series.inexact:
        yield f"left out, not exact in that night: {', '.join(series.inexact)}"
