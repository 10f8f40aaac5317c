"""The kinds of failures, by which the report sorts them into categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.errors import BootError, GuestError, RunnerError

if TYPE_CHECKING:
    from hil.wasm import Execution

BOOT, DIED, GUEST, RUNNER, FAULT_MADE, OUTPUT, EXPECTATION = (
    "boot",
    "died",
    "guest",
    "runner",
    "fault-made",
    "output",
    "expectation",
)
GARBLED = "garbled"  # exited with 0, but the module's output was damaged on the line
VERDICTS = ("exited", "failed", "faulted", "silent", "stuck", "no-agent")
BOUND_FAILED, BOUND_INCONCLUSIVE, BOUND_MARGINAL = "bound-failed", "bound-inconclusive", "bound-marginal"
KILLED, NOT_RUN = "killed", "not-run"
KINDS = (
    *(BOOT, DIED, GUEST, *VERDICTS, GARBLED, RUNNER, OUTPUT),
    *(BOUND_FAILED, BOUND_INCONCLUSIVE, FAULT_MADE, EXPECTATION),
    *("test", "configuration", "infrastructure", KILLED, NOT_RUN, BOUND_MARGINAL),
)
"""All kinds. `reports/allurerc.mjs` has a category for each."""


def kind_of(
    fault: str, error: BaseException, last: Execution | None = None, *, fatal: bool = False, made: bool = False
) -> str:
    """Return the kind of a failure of the origin `fault`, one of `hil.errors.ORIGINS`, with `error`.

    `last` is the test's last execution, `fatal` is set for a fatal message on its console, `made` for an injected
    fault. Of several kinds the one that explains the others counts.
    """
    checks = getattr(error, "checks", ())  # of `BoundsNotKept`, whose module is slow to import
    if fault == "test" and checks:
        return BOUND_INCONCLUSIVE
    if fault != "image":
        return fault
    if isinstance(error, BootError):
        return BOOT
    if made:
        return FAULT_MADE
    if fatal:
        return DIED
    if checks:
        failed = any(check.outcome == "fail" for check in checks)
        return BOUND_FAILED if failed else BOUND_INCONCLUSIVE
    if isinstance(error, GuestError):
        return GUEST
    if last is not None and not last.verdict.good:
        return last.verdict.name
    if last is not None and not last.good:
        return GARBLED
    if isinstance(error, RunnerError):
        return RUNNER
    return EXPECTATION if last is None else OUTPUT
