"""The summary of a night: one screen of Markdown, readable as plain text."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence

from hil.errors import ORIGINS
from hil.history.journal import NOT_RUN
from hil.measure.units import lasted
from hil.nightly.outcome import RunOutcome
from hil.nightly.state import Night
from hil.review.console_pages import NightPages, PageLink
from hil.review.finding import FindingKind, short
from hil.review.overview import Review
from hil.text import printable, printable_line

COUNTED = ("passed", *ORIGINS, NOT_RUN, "skipped")
HEAD = ("run", "board", *COUNTED, "time")
MEANING = {
    0: "good",
    1: "image or test failed",
    2: "the configuration is wrong",
    3: "the test bed failed, or not all was run",
    4: "another night was running",
}
RUNS, FAILURES, FINDINGS, RETRIES, NOTES = 9, 4, 9, 3, 6  # lines of each part at most
WIDTH = 240  # characters of a finding or cause


def summary(night: Night, outcomes: Sequence[RunOutcome], review: Review | None, notes: Sequence[str]) -> str:
    """Return the summary's text of at most 40 lines."""
    parts = [
        [_title(night, outcomes), _times(night), *_verdict(review)],
        _table(outcomes),
        [
            *_most(FAILURES, _failures(night, outcomes, review), "failures"),
            *_most(FINDINGS, _findings(review), "findings"),
        ],
        _most(RETRIES, _retries(outcomes), "repeated runs and tests"),
        [f"- {note}" for note in notes[:NOTES]],
    ]
    return "\n\n".join("\n".join(map(printable_line, part)) for part in parts if part) + "\n"


def not_run(night: Night) -> str:
    """Return the summary of a night that could not run at all."""
    reason = printable(night.state.why)  # several lines
    return f"{printable_line(_title(night, ()))}\n{printable_line(_times(night))}\n\n- **it did not run** {reason}\n"


def _title(night: Night, outcomes: Sequence[RunOutcome]) -> str:
    state = night.state
    result: str = state.state
    if result != "did not run":
        counts = [outcome.account.counts() for outcome in outcomes]
        failed, left = (sum(count[name] for count in counts for name in names) for names in (ORIGINS, (NOT_RUN,)))
        words = [f"{sum(count['passed'] for count in counts)} passed"]
        words += [f"{number} {name}" for number, name in ((failed, "failed"), (left, "not run")) if number]
        result = "interrupted; " * (result == "interrupted") + ", ".join(words)
    number = state.status or 0
    return f"# Night {night.name}: {result} (status {number}: {MEANING.get(number, 'interrupted')})"


def _times(night: Night) -> str:
    state = night.state
    took = (state.ended or time.time()) - state.began
    began, ended = (time.strftime("%Y-%m-%d %H:%M", time.localtime(at)) for at in (state.began, state.ended))
    return f"plan {state.plan}, {began} to {ended[11:]} ({lasted(took)})"


def _verdict(review: Review | None) -> Iterator[str]:
    if review:
        before = review.window.before
        yield review.verdict + (f" (the night before: {before.name})" if before else "")


def _most(count: int, lines: Iterable[str], noun: str) -> list[str]:
    lines = list(lines)
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


def _failures(night: Night, outcomes: Sequence[RunOutcome], review: Review | None) -> Iterator[str]:
    """Yield failed runs, with the night's own reason, and the failed tests of runs that were not reviewed.

    A run that did not begin is a finding where there is a review.
    """
    pages = NightPages(night.path)
    reviewed = {run.name for run in review.window.night.runs} if review else set()
    for outcome in outcomes:
        run = outcome.state.name
        for failure in outcome.failures:
            if (failure.test and run in reviewed) or (review and run in night.idle):
                continue
            test = f"{failure.test}: " if failure.test else ""
            link = pages.console(run, failure.test, failure.transcript) if test else None
            yield f"- **{failure.origin}** {failure.run}: {test}{short(failure.cause, WIDTH)}{_link(link)}"


def _findings(review: Review | None) -> Iterator[str]:
    """Yield the review's findings but those on failed runs, of which the night has the exact reason."""
    for finding in review.findings if review else ():
        if review and finding.kind not in (FindingKind.KILLED, FindingKind.BROKEN):
            origin = f" ({finding.fault})" if finding.fault else ""
            text = short("; ".join((finding.text, *finding.details[:1])), WIDTH)
            link = review.console(finding.example) if finding.example else None
            yield f"- **{finding.kind}**{origin} {text}{_link(link)}"


def _link(link: PageLink | None) -> str:
    return "" if link is None else f"; [{link.text}]({link.href})" if link.href else f"; {link.text}"


def _retries(outcomes: Sequence[RunOutcome]) -> Iterator[str]:
    for outcome in outcomes:
        for reason in outcome.retries:
            yield f"- **tried again** {outcome.state.name}: {short(reason, WIDTH)}"
        for test in outcome.account.tests.values():
            if test.retried:
                yield f"- **tried again** {test.nodeid}, then {test.outcome}: {short(test.retried[0], WIDTH)}"
