"""Findings about figures: levels that changed, and bounds that are not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hil.measure.units import shown
from hil.report.margins import excess
from hil.review.finding import NAMED, Finding, FindingKind, common, short, since_text
from hil.review.level_changes import LevelChange, grouped, level_changes
from hil.review.night_changes import NightChanges, figure_changes
from hil.review.review_window import ReviewedNight, ReviewWindow, streak
from hil.review.trend_series import TrendSeries

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test

NOT_KEPT = ("fail", "inconclusive")


def changed_levels(window: ReviewWindow, all_series: Sequence[TrendSeries]) -> Iterator[Finding]:
    """Yield steps, drifts and improvements, those that may share a cause as one finding."""
    for group in grouped(list(level_changes(all_series))):
        main = group[0]
        key = main.series.key
        kind = FindingKind.DRIFT if main.kind == "drift" else FindingKind.STEP
        changes = _changes(window, main)
        yield Finding(
            kind if main.worse else FindingKind.BETTER,
            f"{key.board}: {key.quantity} of {key.subject}, {main.text} since {main.since}",
            board=key.board,
            test=key.test,
            run=key.run,
            clock=_clock(key.clock, key.seed),
            since=main.since,
            new=main.new,
            fault="image" if changes.by_image else "",
            details=(
                *_causes(main, changes),
                *_others(main, group),
                *_broken_bounds(group),
                *(f"note of {note.night}: {short(note.text)}" for note in window.notes if note.night == main.since),
            ),
            example=_test(window.night, key.run, key.test),
            keys=tuple(change.series.key for change in group),
        )


def _clock(name: str, seed: str) -> str:
    return f"{name}, seed {seed}" if seed else name


def _test(night: ReviewedNight, run: str, name: str) -> Test | None:
    """Return the last try of a test."""
    tests = [test for test in night.tests if night.key(test) == (run, name)]
    return tests[-1] if tests else None


def _changes(window: ReviewWindow, change: LevelChange) -> NightChanges:
    """Compare the night in which the change began to the last one before it that has the figure."""
    series = change.series
    before, after = (window.nights[series.known[at]] for at in (change.at - 1, change.at))
    return figure_changes(before, series.taken[change.at - 1], after, series.taken[change.at])


def _causes(main: LevelChange, changes: NightChanges) -> Iterator[str]:
    """Yield the possible causes."""
    digests = len({point.image_sha256 for point in main.series.taken[main.at - 1 :]})
    if main.kind == "drift" and digests > 2:
        yield f"there were {digests} images from {changes.then} on"
    elif changes.text:
        yield changes.text
    if main.single:
        yield "seen in this night alone"


def _others(main: LevelChange, group: Sequence[LevelChange]) -> Iterator[str]:
    """Yield the rest of a group, a line for each series."""
    by_series: dict[tuple[str, ...], list[LevelChange]] = {}
    for change in group[1:]:
        by_series.setdefault(change.series.key.series, []).append(change)
    for count, others in enumerate(by_series.values()):
        key = others[0].series.key
        if count == NAMED:
            yield f"also: {len(by_series) - count} more series"
            return
        same = key.series == main.series.key.series
        name = "" if same else f" {key.quantity} of {key.subject}"
        yield f"also{name}: {'; '.join(change.text for change in others)}"


def _broken_bounds(group: Sequence[LevelChange]) -> Iterator[str]:
    for change in group:
        figure = change.series.now
        if figure and figure.bound is not None and figure.outcome in NOT_KEPT:
            yield bound_text(figure)


def bound_text(figure: StoredFigure) -> str:
    """Return a figure and its bound: `FAIL: p50 of jitter of pins is 432 ms, limit 2 ms (216 times the limit)`."""
    limit = figure.bound or 0.0
    beyond = f" ({excess(figure.value, limit)})" if figure.value > limit else ""
    return (
        f"{(figure.outcome or '').upper()}: {figure.name} of {figure.quantity} of {figure.subject} "
        f"is {shown(figure.value, figure.unit)}, limit {shown(limit, figure.unit)}{beyond}"
    )


def broken_bounds(window: ReviewWindow, explained: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield bounds that are not kept, by test; not those of `explained` tests, whose level change says it."""
    night = window.night
    bad: dict[tuple[str, str], dict[tuple[str, str, str], StoredFigure]] = {}
    for figure in night.figures:
        key = night.key(figure)
        what = (figure.quantity, figure.subject, figure.name)
        if key in explained or figure.bound is None:
            continue
        if figure.outcome in NOT_KEPT:
            bad.setdefault(key, {})[what] = figure
        else:  # a later try kept it
            bad.get(key, {}).pop(what, None)
    by_night = [
        {(*of.key(figure), figure.quantity, figure.subject, figure.name): figure for figure in of.figures}
        for of in window.nights
    ]
    for key, found in bad.items():
        if not found:
            continue
        first, *others = found.values()
        past = [figures.get((*key, first.quantity, first.subject, first.name)) for figures in by_night]
        begin = streak([None if f is None or f.outcome is None else f.outcome in NOT_KEPT for f in past])
        now, then = past[begin], next((index for index in range(begin - 1, -1, -1) if past[index]), None)
        before = None if then is None else past[then]
        test = _test(night, *key)
        fault, details = (test.fault if test and test.fault else "image"), []
        if before is not None and now is not None and then is not None:
            changes = figure_changes(window.nights[then], before, window.nights[begin], now)
            details = [changes.text] if changes.text else []
            if _tightened(before, now):
                fault = "test"
                details.append(
                    f"the value of {window.names[then]}, {shown(before.value, before.unit)}, exceeds the new bound, too"
                )
        yield Finding(
            FindingKind.BOUND,
            f"{night.board(first)}: {bound_text(first)}{since_text(window, begin)}",
            board=night.board(first),
            test=key[1],
            run=key[0],
            clock=common(_clock(figure.clock, figure.seed) for figure in found.values()),
            since=window.names[begin] if begin else "",
            new=begin == len(past) - 1,
            fault=fault,
            details=(*(bound_text(figure) for figure in others), *details),
            example=test,
            keys=tuple(night.figure_key(figure) for figure in found.values()),
        )


def _tightened(before: StoredFigure, now: StoredFigure) -> bool:
    """Check whether the bound alone explains the failure: it was tightened below the value that kept it before."""
    return before.bound is not None and now.bound is not None and now.bound < min(before.bound, before.value)
