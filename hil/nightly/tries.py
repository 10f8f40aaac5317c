"""The try of a run: how its process ended, whether it is repeated, and its results in a line."""

from __future__ import annotations

import contextlib
import re
import signal
from pathlib import Path

from hil.errors import ORIGINS
from hil.history import journal
from hil.history.journal import Account
from hil.nightly.state import Try

OUTPUT = "output.txt"
DIED = "it died"
ERROR_LINE = re.compile(r"^(?:ERROR: (?!usage: )|\S.*: error: )(.+)", re.M)


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
