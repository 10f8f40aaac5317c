"""The kinds of failures, by which the report sorts them into categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.errors import BootError, GuestError, RunnerError

if TYPE_CHECKING:
    from hil.wasm import Execution

VERDICTS = ("exited", "failed", "faulted", "silent", "stuck", "no-agent")
KINDS = (
    *("boot", "died", "guest", *VERDICTS),
    "garbled",  # exited with 0, but the module's output was damaged on the line
    *("runner", "output", "bound-failed", "bound-inconclusive", "fault-made", "expectation"),
    *("test", "configuration", "infrastructure", "killed", "not-run", "bound-marginal"),
)
"""All kinds. `reports/allurerc.mjs` has a category for each."""


def kind_of(
    fault: str, error: BaseException, last: Execution | None = None, *, fatal: bool = False, made: bool = False
) -> str:
    """Return the kind of a failure of the origin `fault`, one of `hil.errors.ORIGINS`, with `error`.

    `last` is the test's last execution, `fatal` is set for a fatal message on its console, `made` for an injected
    fault. Of several kinds the one that explains the others counts.
    """
    outcomes = {check.outcome for check in getattr(error, "checks", ())}  # `BoundsNotKept` is slow to import
    if fault == "test" and outcomes:
        return "bound-inconclusive"
    if fault != "image":
        return fault
    if isinstance(error, BootError):
        return "boot"
    if made:
        return "fault-made"
    if fatal:
        return "died"
    if outcomes:
        return "bound-failed" if "fail" in outcomes else "bound-inconclusive"
    if isinstance(error, GuestError):
        return "guest"
    if last is not None and not last.good and not last.stopped:
        return "garbled" if last.verdict.good else last.verdict.name
    if isinstance(error, RunnerError):
        return "runner"
    return "expectation" if last is None else "output"
