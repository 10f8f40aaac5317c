"""The conclusion of a deployment: from the bytes on the line and the agent's status to an `Execution`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hil.console import Transcript
from hil.guest import CommandTimeout, Guest, Result
from hil.image.manifest import agent_of
from hil.text import printable_line
from hil.wasm.execution import Execution
from hil.wasm.reading import Reading, read
from hil.wasm.request import Request
from hil.wasm.verdict import Failed, Faulted, NoAgent, Silent, Stuck

NOT_FOUND, INTERRUPTED = 127, 130  # exit statuses of the shell
NO_RUNNER, BUSY, TOO_LARGE = 245, 246, 247  # exit statuses of the reference image's agent, which seals


@dataclass(frozen=True)
class Deployment:
    """One deployment: the request, the agent's command line, the nonce of its seal, the transcript of its console.

    `timeout` is the time in seconds that the agent may take. `restored` is the reason for which the board was made
    fresh before, None if it was not.
    """

    request: Request
    command: str
    nonce: str | None
    timeout: float
    transcript: Transcript
    restored: str | None


def conclude(guest: Guest, deployment: Deployment, result: Result | CommandTimeout, *, stopped: bool) -> Execution:
    """Return the execution of an ended agent; with `stopped` it was ended by ^C. Mark the board dirty where it is."""
    board, request = guest.board, deployment.request
    facts, foreign = agent_of(board.manifest), board.manifest.console.foreign
    nonce, name = deployment.nonce, printable_line(request.module.name)
    console = deployment.transcript.read(result.start, result.end)
    if isinstance(result, CommandTimeout):
        board.dirty = f"{name} left the runner stuck"
        why = "^C did not stop it" if stopped else f"no end in {deployment.timeout:g} s"
        back = "interrupted" if result.recovered else "the shell does not respond after ^C"
        reading = read(console, facts, foreign=foreign)
        reading = replace(reading, verdict=Stuck(f"{why}; {back}"), intact=None, heard=True)
        status, stamps = None, (0, 0)
    else:
        reading = read(console, facts, nonce=nonce, foreign=foreign)
        if stopped and not reading.seal:  # an interrupted agent seals nothing: the runner's own lines decide
            nonce, reading = None, read(console, facts, foreign=foreign)
        reading = _judged(guest, reading, result, nonce, name)
        status, stamps = result.status, (result.begin_ns, result.end_ns)
    return Execution(
        **vars(reading),
        module=request.module,
        arguments=request.arguments,
        agent_status=status,
        request_ns=stamps[0],
        answer_ns=stamps[1],
        transcript=deployment.transcript.path,
        start=result.start,
        end=result.end,
        restored=deployment.restored,
        stopped=stopped and status == INTERRUPTED,
        pins=request.pins,
        env=request.env,
        directories=tuple(f"{given.at}{':rw' * given.writable}" for given in request.directories),
    )


def _judged(guest: Guest, reading: Reading, result: Result, nonce: str | None, name: str) -> Reading:
    """Return the reading of an ended agent, with what its status adds; mark the board dirty where it is."""
    board, text = guest.board, result.text.strip()
    if reading.seal:
        return reading
    if result.status == NOT_FOUND:
        return Reading(NoAgent(text), b"")
    if nonce and result.status in (NO_RUNNER, BUSY):
        board.dirty = "the runner does not answer"
        return Reading(NoAgent(text or board.dirty), b"")
    if nonce and result.status == TOO_LARGE:
        return Reading(Failed(text.rpartition("\n")[2]), b"")
    if isinstance(reading.verdict, Silent):
        board.dirty = f"the runner was silent on {name}"
    elif isinstance(reading.verdict, Faulted):
        board.dirty = f"{name} took the runner down"
    return reading
