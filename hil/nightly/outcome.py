"""The outcome of a night's runs, from their journals: of each try, of all tries together, and the exit status."""

from __future__ import annotations

import contextlib
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil.errors import ORIGINS
from hil.history import journal
from hil.history.journal import NOT_RUN, Account
from hil.nightly.state import Night, RunState, Try

STATUS = {"image": 1, "test": 1, "configuration": 2, "infrastructure": 3}  # by failure origin
IN_USE, INTERRUPTED = 4, 128  # the latter plus the signal's number
OUTPUT = "output.txt"
DIED = "it died"
ERROR_LINE = re.compile(r"^(?:ERROR: (?!usage: )|\S.*: error: )(.+)", re.M)


@dataclass(frozen=True)
class Failure:
    """A failed test, or with an empty `test` a failed run; `origin` is the failure origin."""

    run: str
    origin: str
    cause: str
    test: str = ""
    transcript: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """The outcome of one run, over all its tries. `retries` are the reasons for them."""

    state: RunState
    account: Account
    failures: tuple[Failure, ...]
    retries: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(attempt.seconds for attempt in self.state.tries)

    @property
    def statuses(self) -> set[int]:
        """The exit statuses of which the night's is the least."""
        not_run = self.account.counts()[NOT_RUN]
        return {STATUS[failure.origin] for failure in self.failures} | ({3} if not_run else set())


def status(outcomes: Sequence[RunOutcome]) -> int:
    """Return the night's exit status.

    1: image or test failed; else 2: the configuration is wrong; else 3: the test bed failed or tests were not run.
    """
    return min((number for outcome in outcomes for number in outcome.statuses), default=0)


def run_outcome(night: Night, state: RunState) -> RunOutcome:
    """Return the outcome of a run of `night`."""
    directories = night.directories(state)
    accounts = [journal.read(directory / journal.NAME) for directory in directories]
    if not accounts:
        return RunOutcome(state, Account(), tuple(_run_failures(state, Account(), None)))
    *earlier, last = accounts
    # the night was cut short and resumed: failures by image or test before that stay failures
    failed = {test.nodeid: test for account in earlier for test in account.failed if test.blamed}
    account = replace(last, tests={**last.tests, **failed})
    of_tests = (Failure(state.name, test.fault, test.cause, test.nodeid, test.transcript) for test in account.failed)
    retries = [
        attempt.ended or retry_reason(attempt, then) or exit_reason(attempt, then) or "the night was cut short"
        for attempt, then in zip(state.tries, earlier, strict=False)
    ]
    failures = (*_run_failures(state, account, directories[-1]), *of_tests)
    return RunOutcome(state, account, failures, tuple(retries))


def _run_failures(state: RunState, account: Account, directory: Path | None) -> Iterator[Failure]:
    """Yield the failures of a run as a whole."""

    def failure(origin: str, cause: str) -> Failure:
        return Failure(state.name, origin, cause)

    for where, cause in account.problems:
        yield failure("test", f"{where}: {cause}")
    if state.state == "not run":
        yield failure("configuration", state.why)
        return
    if directory is None or state.state != "done":
        yield failure("infrastructure", state.why or "it was not run to its end")
        return
    last = state.tries[-1]
    if reason := last.ended or exit_reason(last, account):
        yield failure("infrastructure", reason)
    elif last.status == 4:
        yield failure("configuration", f"pytest rejected its options: {last_error(directory / OUTPUT)}")
    elif last.status == 5 or not account.tests:
        if not account.problems:
            yield failure("configuration", "it has no tests: check its suites, markers and options")
    elif last.status and not account.failed and not account.problems:
        reason = f"pytest ended with status {last.status}, and no test failed: {last_error(directory / OUTPUT)}"
        yield failure("image", reason)


def exit_reason(attempt: Try, account: Account) -> str:
    """Return how the process ended where pytest did not end it; empty where it did."""
    if attempt.ended or attempt.status is None:
        return ""
    if attempt.status < 0:
        with contextlib.suppress(ValueError):
            return f"{DIED} by {signal.Signals(-attempt.status).name}"
        return f"{DIED} by signal {-attempt.status}"
    if attempt.status == 3:
        return f"{DIED} of an internal error of pytest: {account.died or 'see its output'}"
    if attempt.status == 2 and not account.problems:
        return "another process interrupted it"
    return ""


def retry_reason(attempt: Try, account: Account) -> str:
    """Return why a run is repeated: it died or had no board. Empty where image or test have failed."""
    failed = account.failed
    if any(test.blamed for test in failed) or account.problems:
        return ""
    if reason := exit_reason(attempt, account):
        return reason
    if failed and not account.reached and all(test.fault == "infrastructure" for test in failed):
        return f"it had no board: {failed[0].cause}"
    return ""


def result_line(attempt: Try, account: Account) -> str:
    """Return the number of tests by outcome, the duration, and how the try ended if not by itself."""
    counts = account.counts()
    words = [f"{counts[name]} {name}" for name in ("passed", *ORIGINS, journal.NOT_RUN, "skipped") if counts[name]]
    reason = attempt.ended or exit_reason(attempt, account)
    return f"{', '.join(words) or 'no tests'}, {attempt.seconds:.0f} s" + (f"; {reason}" if reason else "")


def last_error(output: Path) -> str:
    """Return pytest's error about its options from its output, or else the last line."""
    try:
        text = output.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    found = ERROR_LINE.search(text)
    return found[1] if found else text.rpartition("\n")[2]
