"""Findings about runs: cut short, broken or missing ones, and tests that were not run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from hil.review.finding import NOT_RUN, Finding, FindingKind, common, named, short
from hil.review.review_window import ReviewedNight, ReviewWindow, board_of, streak

if TYPE_CHECKING:
    from hil.history.rows import Run, Test

FINE = (None, 0, 1)  # exit statuses of a run that tested


def bad_runs(window: ReviewWindow) -> Iterator[Finding]:
    """Yield runs that were cut short, could not test, were not run, or were there the night before."""
    night, before = window.night, window.before
    for run in night.runs:
        tests = _tests(night, run)
        left = sum(test.outcome == NOT_RUN for test in tests)
        if run.state == "killed":
            text = f"{run.name} was cut short" + (f"; {left} of its {len(tests)} tests were not run" if left else "")
            yield _finding(FindingKind.KILLED, text, run, tests, fault="infrastructure")
        elif not tests or run.status not in FINE:
            begin = streak([_is_broken(night, run.name) for night in window.nights])
            yield _finding(
                FindingKind.BROKEN,
                f"{run.name}: {_problem(run)}" + (f", {len(tests)} tests" if tests else ""),
                run,
                tests,
                since=window.names[begin] if begin else "",
                new=begin == len(window.nights) - 1,
            )
    for name, why in window.idle.items():
        if why:
            yield Finding(FindingKind.NOT_RUN, f"{name}: {short(why)}", run=name, new=True)
    names = {run.name for run in night.runs} | window.idle.keys()
    for run in before.runs if before else ():
        if run.name not in names:
            yield _finding(FindingKind.MISSING, f"{run.name} ran on {run.night}, but not in this night", run, [])


def skipped_tests(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """Yield tests that a finished run did not come to."""
    for run in window.night.runs:
        tests = [test for test in _tests(window.night, run) if test.outcome == NOT_RUN]
        if tests and run.state == "done" and board_of(run) not in dead:
            cause = next((f": {short(test.cause)}" for test in tests if test.cause), "")
            details = (named([test.test for test in tests]),)
            text = f"{run.name}: {len(tests)} tests were not run{cause}"
            yield _finding(FindingKind.NOT_RUN, text, run, tests, details=details)


def gone_tests(window: ReviewWindow) -> Iterator[Finding]:
    """Yield tests that ran the night before but are missing now."""
    before = window.before
    for run in window.night.runs if before else ():
        assert before
        now = {test.test for test in _tests(window.night, run)}
        then = next((earlier for earlier in before.runs if earlier.name == run.name), None)
        if then is None or run.state != "done" or not now:
            continue
        if gone := [test for test in _tests(before, then) if test.test not in now]:
            several = len(gone) > 1
            text = f"{run.name}: {len(gone)} test{'s' * several} of {before.name} {'are' if several else 'is'} gone"
            details = (named([test.test for test in gone]),)
            yield _finding(FindingKind.GONE, text, run, gone, details=details)


def _finding(
    kind: FindingKind,
    text: str,
    run: Run,
    tests: list[Test],
    *,
    new: bool = True,
    fault: str = "",
    since: str = "",
    details: tuple[str, ...] = (),
) -> Finding:
    clock = common(test.clock for test in tests)
    return Finding(
        kind, text, board_of(run), run=run.name, clock=clock, since=since, new=new, fault=fault, details=details
    )


def _tests(night: ReviewedNight, run: Run) -> list[Test]:
    return [test for test in night.tests if test.run == run.id]


def _problem(run: Run) -> str:
    """Return the reason why a run could not test."""
    problems = [fact for name, fact in run.facts.items() if name.startswith("problem ")]
    if problems:
        more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
        return f"its tests could not be collected: {short(problems[0])}{more}"
    reasons = {
        2: "it was interrupted",
        3: f"an internal error of pytest: {short(run.facts.get('died', 'see its output'))}",
        4: "pytest rejected its options",
    }
    if run.status in (*FINE, 5):
        return "it has no tests"
    return reasons.get(run.status or 0, f"it ended with status {run.status}")


def _is_broken(night: ReviewedNight, name: str) -> bool | None:
    run = next((run for run in night.runs if run.name == name), None)
    return None if run is None else run.status not in FINE or not _tests(night, run)
