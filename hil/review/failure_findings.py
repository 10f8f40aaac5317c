"""Findings about tests: failures by cause, fixed tests, and failures of the test bed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hil.errors import ORIGINS
from hil.review.finding import Finding, FindingKind, named, of_tests, others_named, short, tests_text
from hil.review.night_changes import changed_since
from hil.review.review_window import ReviewWindow, group_by, streak

if TYPE_CHECKING:
    from hil.history.rows import Test

BOUND_ERROR = "BoundsNotKept"  # the error of a failed bound; importing it takes long


def failures(window: ReviewWindow, dead: frozenset[str], explained: set[tuple[str, str]]) -> Iterator[Finding]:
    """Yield tests that failed by image or test: one finding for each origin and cause, on whichever boards.

    `explained` are tests whose bounds another finding reports.
    """
    night, earlier = window.night, window.nights[:-1]
    groups: dict[tuple[str, int, int | None, str], list[Test]] = {}
    for test in night.tests:
        key = night.key(test)
        if night.verdict(test) is not False or night.board(test) in dead:
            continue
        if key in explained and test.error == BOUND_ERROR:
            continue
        past = [of_night.verdicts.get(key) for of_night in window.nights]
        begin = streak([None if passed is None else not passed for passed in past])
        last = next((index for index in reversed(range(len(earlier))) if past[index]), None)
        groups.setdefault((test.fault, begin, last, test.cause), []).append(test)
    for (fault, begin, last, cause), tests in groups.items():
        new = begin == len(earlier)
        if new:
            since = " (no verdict on it before)" if last is None else f" (passed on {window.names[last]})"
        else:
            since = f" (since {window.names[begin]}{' or earlier' if last is None else ''})"
        runs = named([night.by_id[test.run].name for test in tests])
        yield of_tests(
            FindingKind.FAILURE if new else FindingKind.STILL,
            f"{runs}: {tests_text(tests)}{since}: {short(cause)}",
            night,
            tests,
            test=tests[0].test,
            since="" if last is None and not new else window.names[begin],
            new=new,
            fault=fault,
            details=(
                *others_named(tests),
                *(changed_since(window.before if last is None else earlier[last], window, tests[0]) if new else ()),
            ),
            example=tests[0],
        )


def fixed_tests(window: ReviewWindow) -> Iterator[Finding]:
    """Yield tests that pass, and failed when they last had a verdict."""
    night = window.night
    fixed: dict[tuple[str, str], list[Test]] = {}
    for key, test in {night.key(test): test for test in night.tests}.items():
        past = [earlier.verdicts[key] for earlier in window.nights[:-1] if key in earlier.verdicts]
        if night.verdicts.get(key) and past and not past[-1]:
            fixed.setdefault((key[0], night.board(test)), []).append(test)
    for (run, _), tests in fixed.items():
        text = f"{run}: {tests_text(tests)} passed again"
        details = others_named(tests)
        yield of_tests(FindingKind.FIXED, text, night, tests, test=tests[0].test, new=True, details=details)


def test_bed_failures(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """Yield failures by infrastructure or configuration, by cause."""
    night = window.night
    bad = [
        test
        for test in night.tests
        if test.outcome == "failed" and not test.blamed and not {night.board(test), test.place, test.dead_board} & dead
    ]
    groups = group_by(bad, lambda test: (test.fault, test.cause))
    for (fault, cause), tests in sorted(groups.items(), key=lambda group: ORIGINS.index(group[0][0] or "test")):
        runs = named([night.by_id[test.run].name for test in tests])
        yield of_tests(
            FindingKind.BED,
            f"{runs}: {tests_text(tests)} failed by the {fault}: {short(cause)}",
            night,
            tests,
            test=tests[0].test,
            new=True,
            fault=fault,
            details=changed_since(window.before, window, tests[0]),
            example=tests[0],
        )
