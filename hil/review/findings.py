"""All findings of a night, the worst first, and the verdict on the night."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hil.review import board_findings, failure_findings, figure_findings, run_findings
from hil.review.finding import Finding, FindingKind
from hil.text import counted

if TYPE_CHECKING:
    from hil.review.review_window import ReviewWindow
    from hil.review.trend_series import TrendSeries


def findings(window: ReviewWindow, all_series: Sequence[TrendSeries]) -> list[Finding]:
    """Return all findings of the window's last night; `all_series` are those of the window."""
    dead = list(board_findings.dead_boards(window))
    dead_boards = frozenset(finding.board for finding in dead)
    changed = list(figure_findings.changed_levels(window, all_series))
    worse = {(key.run, key.test) for finding in changed if finding.bad for key in finding.keys}
    bounds = list(figure_findings.broken_bounds(window, worse))
    figures = [key for finding in (*changed, *bounds) for key in finding.keys]
    explained = worse | {(key.run, key.test) for finding in bounds for key in finding.keys}
    found = [
        *dead,
        *run_findings.bad_runs(window),
        *failure_findings.failures(window, dead_boards, explained),
        *bounds,
        *changed,
        *figure_findings.shifts(window, all_series, figures),
        *board_findings.flaky_boots(window, dead_boards),
        *failure_findings.test_bed_failures(window, dead_boards),
        *run_findings.skipped_tests(window, dead_boards),
        *run_findings.gone_tests(window),
        *failure_findings.fixed_tests(window),
    ]
    kinds = list(FindingKind)

    def gravity(finding: Finding) -> tuple[Any, ...]:
        return not finding.bad, not finding.new, kinds.index(finding.kind), finding.board, finding.test

    return sorted(found, key=gravity)


def verdict(found: Sequence[Finding], window: ReviewWindow) -> str:
    """Return the night's result in a few words, compared to the night before."""
    return _compared(found, window) if window.ended else f"not finished; so far {_compared(found, window)}"


def _compared(found: Sequence[Finding], window: ReviewWindow) -> str:
    new, known = (sum(finding.bad and finding.new is new for finding in found) for new in (True, False))
    better = sum(not finding.bad for finding in found)
    if window.before is None:
        bad = new + known
        return f"first night of its plan: {counted(bad, 'thing')} to look at" if bad else "first night: all good"
    if new:
        return f"worse than the night before: {counted(new, 'thing')}" + (f"; {known} known" if known else "")
    if better:
        return f"better than the night before: {counted(better, 'thing')}" + (f"; {known} known" if known else "")
    return f"as the night before: {counted(known, 'thing')} known" if known else "good: nothing to look at"
