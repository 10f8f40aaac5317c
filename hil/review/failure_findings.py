"""Findings about tests: failures by cause, fixed tests, and failures of the test bed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hil.errors import ORIGINS
from hil.review.finding import Finding, FindingKind, and_more, board_names, common, named, run_names, short
from hil.review.night_changes import changed_details, test_changes
from hil.review.review_window import ReviewWindow, streak

if TYPE_CHECKING:
    from hil.history.rows import Test


def failures(window: ReviewWindow, dead: frozenset[str], explained: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield tests that failed by image or test: one finding for each origin and cause, on whichever boards.

    `explained` are tests whose bounds another finding reports.
    """
    night = window.night
    groups: dict[tuple[str, int, str, str], list[Test]] = {}
    for test in night.tests:
        key = night.key(test)
        if night.verdict(test) is not False or night.board(test) in dead:
            continue
        if key in explained and test.cause.startswith("BoundsNotKept"):
            continue
        past = _verdicts(window, key)
        begin = streak([None if passed is None else not passed for passed in past])
        groups.setdefault((test.fault, begin, _last_good(window, past), test.cause), []).append(test)
    for (fault, begin, last, cause), tests in groups.items():
        new = begin == len(window.nights) - 1
        if new:
            since = f" (passed on {last})" if last else " (no verdict on it before)"
        else:
            since = f" (since {window.names[begin]}{'' if last else ' or earlier'})"
        yield Finding(
            FindingKind.FAILURE if new else FindingKind.STILL,
            f"{run_names(night, tests)}: {tests[0].test}{and_more(tests)}{since}: {short(cause)}",
            board=board_names(night, tests),
            test=tests[0].test,
            run=run_names(night, tests),
            clock=common(test.clock for test in tests),
            since=window.names[begin] if last or new else "",
            new=new,
            fault=fault,
            details=(
                *([named([test.test for test in tests[1:]])] if tests[1:] else ()),
                *(_changed(window, last, tests[0]) if new else ()),
            ),
            example=tests[0],
        )


def _changed(window: ReviewWindow, last: str, test: Test) -> Iterator[str]:
    """Yield what changed since the test passed, or that nothing did."""
    then = next((night for night in window.nights[:-1] if night.name == last), window.before)
    text = test_changes(then, window.night, test).text if then else ""
    if text:
        yield text


def _verdicts(window: ReviewWindow, key: tuple[str, str]) -> list[bool | None]:
    """Return whether a test passed in each night; None without a verdict."""
    return [night.verdicts.get(key) for night in window.nights]


def _last_good(window: ReviewWindow, past: Sequence[bool | None]) -> str:
    """Return the last earlier night in which it passed; empty where there is none."""
    nights = zip(reversed(window.names[:-1]), reversed(past[:-1]), strict=True)
    return next((name for name, passed in nights if passed), "")


def fixed_tests(window: ReviewWindow) -> Iterator[Finding]:
    """Yield tests that pass, and failed when they last had a verdict."""
    night = window.night
    tests = {night.key(test): test for test in night.tests}
    fixed: dict[tuple[str, str], list[Test]] = {}
    for key, test in tests.items():
        past = [passed for passed in _verdicts(window, key)[:-1] if passed is not None]
        if night.verdicts.get(key) and past and past[-1] is False:
            fixed.setdefault((key[0], night.board(test)), []).append(test)
    for (run, board), passed in fixed.items():
        yield Finding(
            FindingKind.FIXED,
            f"{run}: {passed[0].test}{and_more(passed)} passed again",
            board=board,
            test=passed[0].test,
            run=run,
            clock=common(test.clock for test in passed),
            new=True,
            details=(named([test.test for test in passed[1:]]),) if passed[1:] else (),
        )


def test_bed_failures(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """Yield failures by infrastructure or configuration, by cause."""
    night = window.night
    groups: dict[tuple[str, str], list[Test]] = {}
    for test in night.tests:
        known = {night.board(test), test.place, night.down(test)} & dead
        if test.outcome == "failed" and test.fault not in ("image", "test") and not known:
            groups.setdefault((test.fault, test.cause), []).append(test)
    for (fault, cause), tests in sorted(groups.items(), key=lambda group: ORIGINS.index(group[0][0] or "test")):
        changed = test_changes(window.before, night, tests[0]) if window.before else None
        yield Finding(
            FindingKind.BED,
            f"{run_names(night, tests)}: {tests[0].test}{and_more(tests)} failed by the {fault}: {short(cause)}",
            board=board_names(night, tests),
            test=tests[0].test,
            run=run_names(night, tests),
            clock=common(test.clock for test in tests),
            new=True,
            fault=fault,
            details=tuple(changed_details(changed)) if changed else (),
            example=tests[0],
        )
