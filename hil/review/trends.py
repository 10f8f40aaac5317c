"""Trend pages: one for each quantity, with its figures over the window's nights and where they changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.measure.units import shown
from hil.plots.trend import TrendPoint, trend
from hil.review import pages
from hil.review.lines import PERSISTENCE, FigureKey, TrendSeries
from hil.review.window import ReviewWindow
from hil.stats.change import Change, needed

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
class Drawn:
    """One figure over nights. `svg` is empty where there is a single night."""

    name: str
    svg: str
    told: tuple[str, ...]
    rows: tuple[TrendRow, ...]


@dataclass(frozen=True)
class Section:
    """A series over nights: its figures that are worth a picture."""

    anchor: str
    title: str
    board: str
    test: str
    clock: str
    figures: tuple[Drawn, ...]
    changed: bool


@dataclass(frozen=True)
class Page:
    """A quantity's page."""

    quantity: str
    name: str
    sections: tuple[Section, ...]


def anchor(key: FigureKey) -> str:
    return pages.name_of(*key.series)


def file_of(quantity: str) -> str:
    """The name of a quantity's page."""
    name = pages.name_of(quantity)
    return f"{f'quantity-{name}' if name == 'index' else name}.html"


def write(directory: Path, window: ReviewWindow, pictured: dict[tuple[str, ...], list[TrendSeries]]) -> list[Path]:
    """Make the pages below `directory`; the first is their index. Raises `InfrastructureError`."""
    quantities: dict[str, list[list[TrendSeries]]] = {}
    for of_series in pictured.values():
        quantities.setdefault(of_series[0].key.quantity, []).append(of_series)
    made = [
        Page(quantity, file_of(quantity), tuple(_sections(window, sorted(all_of, key=_order))))
        for quantity, all_of in sorted(quantities.items())
    ]
    index = pages.write(directory / "index.html", "trends.html", window=window, pages=made)
    return [index, *(pages.write(directory / page.name, "trend.html", window=window, page=page) for page in made)]


def _order(of_series: Sequence[TrendSeries]) -> tuple[str, ...]:
    key = of_series[0].key
    return (key.board, key.subject, key.test, *key.series)


def _sections(window: ReviewWindow, all_of: Sequence[Sequence[TrendSeries]]) -> Iterator[Section]:
    """The sections of a page, each with a title of its own."""
    titles = [_titles(of_series[0].key) for of_series in all_of]
    taken = [Counter(several) for several in zip(*titles, strict=True)]
    for of_series, several in zip(all_of, titles, strict=True):
        single = (title for title, counts in zip(several, taken, strict=True) if counts[title] == 1)
        yield _section(window, of_series, next(single, several[-1]))


def _titles(key: FigureKey) -> tuple[str, ...]:
    """Titles, from the shortest to one that no other series has."""
    seed = f", seed {key.seed}" if key.seed else ""
    short = f"{key.subject or '(no subject)'} on {key.board}{seed}"
    return (
        short,
        f"{short}, {key.clock}",
        f"{short}, {key.test}",
        f"{short}, {key.clock}, {key.unit}, {key.run}, {key.test}",
    )


def _section(window: ReviewWindow, of_series: Sequence[TrendSeries], title: str) -> Section:
    key = of_series[0].key
    return Section(
        anchor(key),
        title,
        key.board,
        key.test,
        key.clock,
        tuple(_drawn(window, line, title) for line in of_series),
        any(line.changes for line in of_series),
    )


def _drawn(window: ReviewWindow, line: TrendSeries, title: str) -> Drawn:
    key = line.key
    svg = ""
    if len(line.values) > 1:
        svg = trend(
            [_point(line, number) for number in range(len(line.values))],
            line.changes,
            [(note.night, note.text) for note in window.notes],
            quantity=key.quantity,
            subject=title,
            figure=key.name,
            unit=key.unit,
            clock=key.clock,
        )
    return Drawn(key.name, svg, tuple(_told(line)), tuple(_rows(line)))


def _point(line: TrendSeries, number: int) -> TrendPoint:
    one = line.taken[number]
    digest = one.image_sha256
    return TrendPoint(line.night(number), one.value, one.lower, one.upper, one.bound, one.outcome, digest)


def _told(line: TrendSeries) -> Iterator[str]:
    """The changes in words, or why there can be none."""
    unit, count = line.key.unit, len(line.values)
    for change in line.changes:
        sizes = f"{shown(change.old, unit)} -> {shown(change.new, unit)}"
        until = f" to {line.night(change.until)}" if change.kind == "drift" else ""
        digests = _digests(line, change)
        yield f"{line.night(change.at)}{until}: {change}, {sizes}{digests}"
    least = needed(persistence=PERSISTENCE, exact=line.exact)
    if count < least:
        yield f"{count} night{'s' * (count > 1)}; a change can be told from {least} nights on"
    elif not line.changes:
        yield "no change"
    if line.inexact:
        yield f"left out, not exact in that night: {', '.join(line.inexact)}"


def _digests(line: TrendSeries, change: Change) -> str:
    old, new = line.taken[change.at - 1], line.taken[change.at]
    if old.image_sha256 == new.image_sha256:
        return ""
    return f", image {new.image} {old.image_sha256[:8] or '(not told)'} -> {new.image_sha256[:8] or '(not told)'}"


def _rows(line: TrendSeries) -> Iterator[TrendRow]:
    """The nights, newest first."""
    unit = line.key.unit
    changed = {change.at: str(change) for change in line.changes}
    for number in range(len(line.values) - 1, -1, -1):
        one = line.taken[number]
        limits = [shown(limit, unit) if limit is not None else "?" for limit in (one.lower, one.upper)]
        sure = one.lower == one.upper
        yield TrendRow(
            line.night(number),
            shown(one.value, unit),
            "" if sure else " .. ".join(limits),
            "" if one.bound is None else shown(one.bound, unit),
            one.outcome or "",
            f"{one.image} {one.image_sha256[:8]}".strip(),
            f"{one.module} {one.module_sha256[:8]}".strip(),
            one.n,
            changed.get(number, ""),
        )
