"""Findings about figures: levels that changed, shifts since the night before, and bounds that are not kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hil.compare.shifts import BaselineOutcome, SeriesComparison
from hil.measure import margins
from hil.measure.units import shown
from hil.review.finding import NAMED, Finding, FindingKind, common, short, since_text
from hil.review.level_changes import CLEAR, LevelChange, grouped, level_changes, moved, noise_of
from hil.review.night_changes import NightChanges, night_changes
from hil.review.review_window import ReviewWindow, group_by, streak
from hil.review.trend_series import MEDIAN, PERSISTENCE, TrendSeries

if TYPE_CHECKING:
    from hil.history.rows import FigureKey, StoredFigure

NOT_KEPT = ("fail", "inconclusive")


def changed_levels(window: ReviewWindow, all_series: Sequence[TrendSeries]) -> Iterator[Finding]:
    """Yield steps, drifts and improvements, those that may share a cause as one finding."""
    for group in grouped(list(level_changes(all_series))):
        main = group[0]
        key = main.series.key
        kind = FindingKind.DRIFT if main.kind == "drift" else FindingKind.STEP
        changes = _changes(window, main.series, main.at)
        yield _finding(
            kind if main.worse else FindingKind.BETTER,
            f"{key.board}: {key.quantity} of {key.subject}, {main.text} since {main.since}",
            window,
            [change.series.key for change in group],
            since=main.since,
            new=main.new,
            fault="image" if changes.by_image else "",
            details=(
                *_causes(main, changes),
                *_others([(change.series.key, change.text) for change in group]),
                *_broken_bounds(group),
                *(f"note of {note.night}: {short(note.text)}" for note in window.notes if note.night == main.since),
            ),
        )


def shifts(
    window: ReviewWindow, all_series: Sequence[TrendSeries], explained: Iterable[FigureKey]
) -> Iterator[Finding]:
    """Yield the series of real clocks that are larger than the night before, those of one board as one finding.

    Where enough nights show how much the figure differs from night to night, the shift has to stand out from that.
    `explained` are figures that other findings report.
    """
    known = {key.series for key in explained}
    by_board: dict[str, list[tuple[float, TrendSeries, str]]] = {}
    for series in all_series:
        found = window.compared.get(series.key.series)
        if found is None or series.key.name not in MEDIAN or series.key.series in known:
            continue
        if found.outcome is not BaselineOutcome.DIFFERENT or not _stands_out(series, found):
            continue
        larger = [shift for shift in found.shifts if shift.outcome is BaselineOutcome.DIFFERENT]
        unit = series.key.unit
        text = ", ".join(moved(shift.figure, shift.old, shift.old + shift.value, unit) for shift in larger)
        share = max(shift.value / abs(shift.old) if shift.old else math.inf for shift in larger)
        by_board.setdefault(series.key.board, []).append((share, series, text))
    for board, several in by_board.items():
        several.sort(key=lambda row: (not row[1].bounded, -row[0]))
        _, main, text = several[0]
        changes = _changes(window, main, len(main.taken) - 1)
        yield _finding(
            FindingKind.SHIFT,
            f"{board}: {main.key.quantity} of {main.key.subject}, {text} since {window.night.name}",
            window,
            [series.key for _, series, _ in several],
            since=window.night.name,
            new=True,
            fault="image" if changes.by_image else "",
            details=(*filter(None, [changes.text]), *_others([(series.key, text) for _, series, text in several])),
        )


def _stands_out(series: TrendSeries, found: SeriesComparison) -> bool:
    earlier = series.values[:-1]
    if len(earlier) < 2 * PERSISTENCE:
        return True
    return abs(found.shifts[0].value) >= CLEAR * noise_of([earlier])


def _finding(kind: FindingKind, text: str, window: ReviewWindow, keys: Sequence[FigureKey], **more: Any) -> Finding:
    """Return a finding about figures, the first of which is the main one."""
    key = keys[0]
    where = {"board": key.board, "test": key.test, "run": key.run, "clock": _clock(key.clock, key.seed)}
    tests = [test for test in window.night.tests if window.night.key(test) == (key.run, key.test)]
    return Finding(kind, text, example=tests[-1] if tests else None, keys=tuple(keys), **where | more)


def _clock(name: str, seed: str) -> str:
    return f"{name}, seed {seed}" if seed else name


def _changes(window: ReviewWindow, series: TrendSeries, at: int) -> NightChanges:
    """Compare the night of the value number `at` with the last one before it that has the figure."""
    before, after = (window.nights[series.known[index]] for index in (at - 1, at))
    return night_changes(before, series.taken[at - 1], after, series.taken[at])


def _causes(main: LevelChange, changes: NightChanges) -> Iterator[str]:
    """Yield the possible causes."""
    digests = len({point.image_sha256 for point in main.series.taken[main.at - 1 :]})
    if main.kind == "drift" and digests > 2:
        yield f"there were {digests} images from {changes.then} on"
    elif changes.text:
        yield changes.text
    if main.single:
        yield "seen in this night alone"


def _others(changed: Sequence[tuple[FigureKey, str]]) -> Iterator[str]:
    """Yield all but the first of some changes, a line for each series."""
    main = changed[0][0].series
    by_series = group_by(changed[1:], lambda change: change[0].series)
    for of_series in list(by_series.values())[:NAMED]:
        key = of_series[0][0]
        name = "" if key.series == main else f" {key.quantity} of {key.subject}"
        yield f"also{name}: {'; '.join(text for _, text in of_series)}"
    if len(by_series) > NAMED:
        yield f"also: {len(by_series) - NAMED} more series"


def _broken_bounds(group: Sequence[LevelChange]) -> Iterator[str]:
    for change in group:
        figure = change.series.now
        if figure and figure.bound is not None and figure.outcome in NOT_KEPT:
            yield bound_text(figure)


def bound_text(figure: StoredFigure) -> str:
    """Return a figure and its bound: `FAIL: p50 of jitter of pins is 432 ms, limit 2 ms (216 times the limit)`."""
    what = f"{figure.name} of {figure.quantity} of {figure.subject}"
    text = functools.partial(shown, unit=figure.unit)
    return margins.bound_text(figure.outcome or "", what, figure.value, figure.bound or 0.0, text)


def broken_bounds(window: ReviewWindow, explained: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield bounds that are not kept, by test; not those of `explained` tests, whose level change says it."""
    by_night = [{of_night.figure_key(figure): figure for figure in of_night.figures} for of_night in window.nights]
    broken = [key for key, figure in by_night[-1].items() if figure.outcome in NOT_KEPT]  # of several tries the last
    for test, keys in group_by(broken, lambda key: (key.run, key.test)).items():
        if test in explained:
            continue
        first, *others = (by_night[-1][key] for key in keys)
        past = [figures.get(keys[0]) for figures in by_night]
        begin = streak([None if not figure or not figure.outcome else figure.outcome in NOT_KEPT for figure in past])
        finding = _finding(
            FindingKind.BOUND,
            f"{keys[0].board}: {bound_text(first)}{since_text(window, begin)}",
            window,
            keys,
            clock=common(_clock(key.clock, key.seed) for key in keys),
            since=window.names[begin] if begin else "",
            new=begin == len(past) - 1,
        )
        fault, changed = _cause(window, past, begin)
        fault = fault or (finding.example.fault if finding.example else "") or "image"
        yield replace(finding, fault=fault, details=(*map(bound_text, others), *changed))


def _cause(window: ReviewWindow, past: Sequence[StoredFigure | None], begin: int) -> tuple[str, list[str]]:
    """Return the failure origin of a broken bound, empty where it is unknown, and what changed when it began."""
    now, last = past[begin], next((index for index in reversed(range(begin)) if past[index]), 0)
    before = past[last]
    if before is None or now is None or last == begin:
        return "", []
    changes = night_changes(window.nights[last], before, window.nights[begin], now)
    details = [changes.text] if changes.text else []
    # the bound alone explains the failure where it was tightened below the value that kept it before
    if before.bound is None or now.bound is None or now.bound >= min(before.bound, before.value):
        return "", details
    value = shown(before.value, before.unit)
    return "test", [*details, f"the value of {window.names[last]}, {value}, exceeds the new bound, too"]
