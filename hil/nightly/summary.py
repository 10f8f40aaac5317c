"""The summary of a night: one screen of Markdown, readable as plain text."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from hil.errors import ORIGINS
from hil.history.journal import NOT_RUN
from hil.measure.units import lasted
from hil.nightly.outcome import Failure, RunOutcome
from hil.nightly.review import NightReview
from hil.nightly.state import Night
from hil.review.finding import Finding, FindingKind
from hil.text import printable, printable_line

HEAD = ("run", "board", "passed", "image", "test", "configuration", "infrastructure", NOT_RUN, "skipped", "time")
COUNTED = HEAD[2:-1]
MEANING = {
    0: "good",
    1: "image or test failed",
    2: "the configuration is wrong",
    3: "the test bed failed, or not all was run",
    4: "another night was running",
}
RUNS, FAILURES, FINDINGS, RETRIES, NOTES = 9, 4, 9, 3, 6  # lines of each part at most
WIDTH = 240  # characters of a finding or cause


def summary(night: Night, outcomes: Sequence[RunOutcome], review: NightReview, notes: Sequence[str]) -> str:
    """Return the summary's text of at most 40 lines."""
    parts = [
        [_title(night, outcomes), _times(night), *_verdict(review)],
        _table(outcomes),
        [
            *_most(FAILURES, list(_failures(night, outcomes, review)), "failures"),
            *_most(FINDINGS, list(_findings(night, review)), "findings"),
        ],
        _most(RETRIES, list(_retries(outcomes)), "repeated runs and tests"),
        [f"- {note}" for note in notes[:NOTES]],
    ]
    return "\n\n".join("\n".join(map(printable_line, part)) for part in parts if part) + "\n"


def not_run(night: Night) -> str:
    """Return the summary of a night that could not run at all."""
    reason = printable(night.state.why)  # several lines
    return f"{printable_line(_title(night, ()))}\n{printable_line(_times(night))}\n\n- **it did not run** {reason}\n"


def _title(night: Night, outcomes: Sequence[RunOutcome]) -> str:
    state = night.state
    if state.state == "did not run":
        result = "did not run"
    else:
        counts = {name: sum(outcome.account.counts()[name] for outcome in outcomes) for name in COUNTED}
        failed = sum(counts[origin] for origin in ORIGINS)
        words = [f"{counts['passed']} passed", f"{failed} failed" if failed else ""]
        words.append(f"{counts[NOT_RUN]} not run" if counts[NOT_RUN] else "")
        result = ("interrupted; " if state.state == "interrupted" else "") + ", ".join(filter(None, words))
    number = state.status or 0
    return f"# Night {night.name}: {result} (status {number}: {MEANING.get(number, 'interrupted')})"


def _times(night: Night) -> str:
    state = night.state
    took = (state.ended or time.time()) - state.began
    began, ended = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (state.began, state.ended))
    return f"plan {state.plan}, {began} to {ended[11:]} ({lasted(took)})"


def _verdict(review: NightReview) -> Iterator[str]:
    if review.verdict:
        yield review.verdict + (f" (the night before: {review.before})" if review.before else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..."


def _most(count: int, lines: list[str], noun: str) -> list[str]:
    return lines if len(lines) <= count else [*lines[: count - 1], f"- and {len(lines) - count + 1} more {noun}"]


def _table(outcomes: Sequence[RunOutcome]) -> list[str]:
    """Return the rows of the runs; those with failures first where there are too many."""
    if not outcomes:
        return []
    shown = list(outcomes)
    if len(shown) > RUNS:
        shown = sorted(shown, key=lambda outcome: not outcome.statuses)[: RUNS - 1]
    rows = [HEAD, *map(_row, shown)]
    if rest := [outcome for outcome in outcomes if outcome not in shown]:
        counts = [str(sum(outcome.account.counts()[name] for outcome in rest) or "-") for name in COUNTED]
        rows.append((f"{len(rest)} more", "", *counts, lasted(sum(outcome.seconds for outcome in rest))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in rows]
    return [lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]


def _row(outcome: RunOutcome) -> tuple[str, ...]:
    counts = outcome.account.counts()
    known = outcome.account.collected
    cells = (str(counts[name] or "-") if known or name != NOT_RUN else "all" for name in COUNTED)
    return outcome.state.name, outcome.state.board, *cells, lasted(outcome.seconds)


def _failures(night: Night, outcomes: Sequence[RunOutcome], review: NightReview) -> Iterator[str]:
    """Yield failed runs, with the night's own reason, and the failed tests of runs that were not reviewed.

    A run that did not begin is a finding where there is a review.
    """
    for outcome in outcomes:
        reviewed = outcome.state.name in review.runs
        for failure in outcome.failures:
            if (failure.test and reviewed) or (review.runs and outcome.state.name in night.idle):
                continue
            yield _failure(night, failure)


def _failure(night: Night, failure: Failure) -> str:
    where = f"{failure.run}: " + (f"{failure.test}: " if failure.test else "")
    return f"- **{failure.origin}** {where}{_short(failure.cause)}{_link(night, failure.transcript)}"


def _findings(night: Night, review: NightReview) -> Iterator[str]:
    """Yield the review's findings but those on failed runs, of which the night has the exact reason."""
    for finding in review.findings:
        if finding.kind not in (FindingKind.KILLED, FindingKind.BROKEN):
            yield _finding(night, finding)


def _finding(night: Night, finding: Finding) -> str:
    origin = f" ({finding.fault})" if finding.fault else ""
    detail = f"; {finding.details[0]}" if finding.details else ""
    return f"- **{finding.kind}**{origin} {_short(finding.text + detail)}{_link(night, finding.transcript)}"


def _link(night: Night, transcript: str) -> str:
    """Return the path of a transcript, relative to the night where it is in its directory."""
    if not transcript:
        return ""
    inside = Path(transcript).is_relative_to(night.path)
    return f"; {os.path.relpath(transcript, night.path) if inside else transcript}"


def _retries(outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    for outcome in outcomes:
        for reason in outcome.retries:
            yield f"- **tried again** {outcome.state.name}: {_short(reason)}"
        for test in outcome.account.tests.values():
            if test.retried:
                yield f"- **tried again** {test.nodeid}, then {test.outcome}: {_short(test.retried[0])}"
