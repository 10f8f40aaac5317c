"""Trend pages: one for each quantity, with its figures over the window's nights and where they changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.measure.units import shown
from hil.plots.trend import TrendPoint, trend
from hil.review import pages
from hil.review.figure_key import FigureKey
from hil.review.review_window import ReviewWindow
from hil.review.trend_series import PERSISTENCE, TrendSeries
from hil.stats.change import Change, nights_needed

DIRECTORY = "trends"


@dataclass(frozen=True)
class TrendRow:
    """A night in a figure's table."""

    night: str
    value: str
    limits: str
    bound: str
    outcome: str
    image: str
    module: str
    n: int
    changed: str


@dataclass(frozen=True)
class Remark:
    """A sentence about a figure's trend; `change` marks a change of its level."""

    text: str
    change: bool = False


@dataclass(frozen=True)
class FigureTrend:
    """One figure over nights. `svg` is empty for a single night."""

    name: str
    svg: str
    remarks: tuple[Remark, ...]
    rows: tuple[TrendRow, ...]

    @property
    def changes(self) -> list[Remark]:
        return [remark for remark in self.remarks if remark.change]


@dataclass(frozen=True)
class Section:
    """A series over nights: those of its figures that are drawn."""

    anchor: str
    title: str
    test: str
    clock: str
    figures: tuple[FigureTrend, ...]

    @property
    def changed(self) -> bool:
        return any(figure.changes for figure in self.figures)


@dataclass(frozen=True)
class TrendPage:
    """The page of a quantity."""

    quantity: str
    name: str
    sections: tuple[Section, ...]


def anchor(key: FigureKey) -> str:
    return pages.name_of(*key.series)


def file_of(quantity: str) -> str:
    """Return the file name of a quantity's page."""
    name = pages.name_of(quantity)
    return f"{f'quantity-{name}' if name == 'index' else name}.html"


def write(directory: Path, window: ReviewWindow, drawn: dict[tuple[str, ...], list[TrendSeries]]) -> list[Path]:
    """Write the pages into `directory`, their index first. Raises `InfrastructureError` for disk errors."""
    quantities: dict[str, list[list[TrendSeries]]] = {}
    for figures in drawn.values():
        quantities.setdefault(figures[0].key.quantity, []).append(figures)
    made = [
        TrendPage(quantity, file_of(quantity), tuple(_sections(window, sorted(several, key=_order))))
        for quantity, several in sorted(quantities.items())
    ]
    index = pages.write(directory / "index.html", "trends.html", window=window, pages=made)
    return [index, *(pages.write(directory / page.name, "trend.html", window=window, page=page) for page in made)]


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
        key = figures[0].key
        drawn = tuple(_drawn(window, series, title) for series in figures)
        yield Section(anchor(key), title, key.test, key.clock, drawn)


def _titles(key: FigureKey) -> tuple[str, ...]:
    """Return possible titles, from the shortest to one that no other series has."""
    seed = f", seed {key.seed}" if key.seed else ""
    short = f"{key.subject or '(no subject)'} on {key.board}{seed}"
    return (
        short,
        f"{short}, {key.clock}",
        f"{short}, {key.test}",
        f"{short}, {key.clock}, {key.unit}, {key.run}, {key.test}",
    )


def _drawn(window: ReviewWindow, series: TrendSeries, title: str) -> FigureTrend:
    key = series.key
    svg = ""
    if len(series.values) > 1:
        svg = trend(
            [_point(series, number) for number in range(len(series.values))],
            series.changes,
            [(note.night, note.text) for note in window.notes],
            quantity=key.quantity,
            subject=title,
            figure=key.name,
            unit=key.unit,
            clock=key.clock,
        )
    return FigureTrend(key.name, svg, tuple(_remarks(series)), tuple(_rows(series)))


def _point(series: TrendSeries, number: int) -> TrendPoint:
    figure = series.taken[number]
    limits = figure.lower, figure.upper
    return TrendPoint(series.night(number), figure.value, *limits, figure.bound, figure.outcome, figure.image_sha256)


def _remarks(series: TrendSeries) -> Iterator[Remark]:
    """Yield the changes in words, or why there are none."""
    unit, count = series.key.unit, len(series.values)
    for change in series.changes:
        sizes = f"{shown(change.old, unit)} -> {shown(change.new, unit)}"
        until = f" to {series.night(change.until)}" if change.kind == "drift" else ""
        yield Remark(f"{series.night(change.at)}{until}: {change}, {sizes}{_digests(series, change)}", change=True)
    least = nights_needed(persistence=PERSISTENCE, exact=series.exact)
    if count < least:
        yield Remark(f"{count} night{'s' * (count > 1)}; changes are looked for from {least} nights on")
    elif not series.changes:
        yield Remark("no change")
    if series.inexact:
        yield Remark(f"left out, not exact in that night: {', '.join(series.inexact)}")


def _digests(series: TrendSeries, change: Change) -> str:
    old, new = series.taken[change.at - 1], series.taken[change.at]
    if old.image_sha256 == new.image_sha256:
        return ""
    return f", image {new.image} {old.image_sha256[:8] or '(unknown)'} -> {new.image_sha256[:8] or '(unknown)'}"


def _rows(series: TrendSeries) -> Iterator[TrendRow]:
    """Yield the nights, newest first."""
    unit = series.key.unit
    changed = {change.at: str(change) for change in series.changes}
    for number in range(len(series.values) - 1, -1, -1):
        figure = series.taken[number]
        limits = [shown(limit, unit) if limit is not None else "?" for limit in (figure.lower, figure.upper)]
        yield TrendRow(
            series.night(number),
            shown(figure.value, unit),
            "" if figure.lower == figure.upper else " .. ".join(limits),
            "" if figure.bound is None else shown(figure.bound, unit),
            figure.outcome or "",
            f"{figure.image} {figure.image_sha256[:8]}".strip(),
            f"{figure.module} {figure.module_sha256[:8]}".strip(),
            figure.n,
            changed.get(number, ""),
        )
