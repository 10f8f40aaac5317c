"""Findings about runs: cut short, broken or missing ones, and tests that were not run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hil.history.journal import NOT_RUN
from hil.review.finding import Finding, FindingKind, common, named, short
from hil.review.review_window import ReviewedNight, ReviewWindow, board_of, streak

if TYPE_CHECKING:
    from hil.history.rows import Run, Test

FINE = (None, 0, 1)  # exit statuses of a run that tested


def bad_runs(window: ReviewWindow) -> Iterator[Finding]:
    """Yield runs that were cut short, could not test, were not run, or were there the night before."""
    night, before = window.night, window.before
    for run in night.runs:
        tests = night.tests_of(run)
        left = sum(test.outcome == NOT_RUN for test in tests)
        if run.state == "killed":
            text = f"{run.name} was cut short" + (f"; {left} of its {len(tests)} tests were not run" if left else "")
            yield _finding(FindingKind.KILLED, text, run, tests, fault="infrastructure")
        elif not tests or run.status not in FINE:
            begin = streak([_is_broken(of_night, run.name) for of_night in window.nights])
            text = f"{run.name}: {_problem(run)}" + (f", {len(tests)} tests" if tests else "")
            since, new = window.names[begin] if begin else "", begin == len(window.nights) - 1
            yield _finding(FindingKind.BROKEN, text, run, tests, since=since, new=new)
    for name, why in window.idle.items():
        if why:
            yield Finding(FindingKind.NOT_RUN, f"{name}: {short(why)}", run=name, new=True)
    names = {run.name for run in night.runs} | window.idle.keys()
    for run in before.runs if before else ():
        if run.name not in names:
            yield _finding(FindingKind.MISSING, f"{run.name} ran on {run.night}, but not in this night", run, [])


def skipped_tests(window: ReviewWindow, dead: frozenset[str]) -> Iterator[Finding]:
    """Yield tests that a finished run did not come to."""
    night = window.night
    for run in night.runs:
        tests = [test for test in night.tests_of(run) if test.outcome == NOT_RUN]
        if tests and run.state == "done" and board_of(run) not in dead:
            cause = next((f": {short(test.cause)}" for test in tests if test.cause), "")
            text, details = (
                f"{run.name}: {len(tests)} tests were not run{cause}",
                (named([test.test for test in tests]),),
            )
            yield _finding(FindingKind.NOT_RUN, text, run, tests, details=details)


def gone_tests(window: ReviewWindow) -> Iterator[Finding]:
    """Yield tests that ran the night before but are missing now."""
    night, before = window.night, window.before
    for then in before.runs if before else ():
        run = next((run for run in night.runs if run.name == then.name and run.state == "done"), None)
        now = {test.test for test in night.tests_of(run)} if run else set()
        gone = [test for test in before.tests_of(then) if test.test not in now] if before and now else []
        if run and gone:
            are = "s" if len(gone) > 1 else ""
            text = f"{run.name}: {len(gone)} test{are} of {then.night} {'are' if are else 'is'} gone"
            yield _finding(FindingKind.GONE, text, run, gone, details=(named([test.test for test in gone]),))


def _finding(kind: FindingKind, text: str, run: Run, tests: Sequence[Test], **more: Any) -> Finding:
    """Return a finding on a run; it is new unless `more` contradicts."""
    clock = common(test.clock for test in tests)
    return Finding(kind, text, board_of(run), run=run.name, clock=clock, **{"new": True} | more)


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
    return None if run is None else run.status not in FINE or not night.tests_of(run)
