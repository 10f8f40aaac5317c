"""The review of a night as its summary shows it. Errors here never fail the night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.measure.units import shown
from hil.nightly.notes import error_text
from hil.nightly.state import Night

if TYPE_CHECKING:
    from hil.review.finding import Finding
    from hil.review.trend_series import TrendSeries


@dataclass(frozen=True)
class NightReview:
    """The findings of a night, its verdict, and the name of the night `before`; empty where there is no review.

    `runs` are the names of the runs that were reviewed. `notes` are lines for the summary.
    """

    verdict: str = ""
    before: str = ""
    findings: tuple[Finding, ...] = ()
    runs: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def review_night(history: Path, night: Night, min_effect: float) -> NightReview:
    """Write the night's overview and trend pages, and return its review.

    A figure whose level changed by less than `min_effect`, as a share, is no finding here unless its clock is exact.
    """
    if not history.exists():  # no run has written a journal
        return NightReview()
    try:
        return _review(history, night, min_effect)
    except Exception as error:  # the night's results stand in any case
        return NightReview(notes=(f"no overview: {error_text(error)}",))


def _review(file: Path, night: Night, min_effect: float) -> NightReview:
    from hil.history.store import History
    from hil.review.level_changes import level_changes
    from hil.review.overview import review
    from hil.review.review_window import ReviewWindow
    from hil.review.trend_series import trend_series

    with History(file) as history:
        window = replace(ReviewWindow.of(history, night.name), idle=night.idle)
        left_out = [f"history: {reason}" for reason in history.left_out]
    made = review(window, night.path)
    all_series = trend_series(window)
    small = {
        change.series.key
        for change in level_changes(all_series)
        if not change.series.exact and abs(change.share) < min_effect
    }
    return NightReview(
        made.verdict,
        window.before.name if window.before else "",
        tuple(finding for finding in made.findings if not finding.keys or not small.issuperset(finding.keys)),
        frozenset(run.name for run in window.night.runs),
        (*_exact_changes(all_series), f"overview: {made.overview} ({made.verdict})", *left_out),
    )


def _exact_changes(all_series: Sequence[TrendSeries]) -> Iterator[str]:
    """Yield a line if figures of exact clocks, which repeat to the bit, changed since they were last measured."""
    exact = [series for series in all_series if series.now and series.exact and len(series.values) > 1]
    changed = [series for series in exact if series.values[-1] != series.values[-2]]
    if changed:
        first, key = changed[0], changed[0].key
        since = first.night(len(first.values) - 2)
        old, new = (shown(value, key.unit) for value in first.values[-2:])
        example = f"{key.quantity} of {key.subject}, {key.board}: {key.name} {old} -> {new} since {since}"
        yield f"exact figures: {len(changed)} of {len(exact)} changed: {example}" + ", ..." * (len(changed) > 1)
