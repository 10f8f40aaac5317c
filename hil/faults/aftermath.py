"""The aftermath of a fault: whether the board still works, what brings it back, which grade that earns."""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from hil.board.board import Board
from hil.console import Transcript
from hil.errors import ConfigurationError, GuestError, HilError, RunnerError
from hil.faults import modules
from hil.faults.catalogue import Fault
from hil.faults.injecting import error_word
from hil.faults.leaks import leaked, open_resources
from hil.faults.maker import FaultMaker
from hil.faults.record import (
    AT_ONCE,
    BREAKS,
    BROKEN,
    BY_ITSELF,
    FRESH,
    HELD,
    NEVER,
    RESET,
    USABLE,
    WRONG,
    FaultRecord,
    Injection,
)
from hil.guest import Guest
from hil.wasm import Runner

SHELL_LIMIT = 5.0  # seconds for a shell to answer
LOST_LIMIT = 1.0  # seconds for one that did not answer before
RUN_LIMIT = 5.0  # seconds for the good module
TAIL = 12  # lines


def check_usable(runner: Runner) -> None:
    """Check that the shell answers and a good module runs to its end with the right output. Raises `HilError`."""
    lost = runner.guest.shell.lost
    runner.guest.run("true", timeout=LOST_LIMIT if lost else SHELL_LIMIT, check=True)
    run = runner.run(modules.module("greeting"), limit=RUN_LIMIT, restore=False)
    if not run.good or run.output != modules.GREETING:
        raise RunnerError(f"a good module did not run: {run}", evidence=runner.guest.board.console.evidence())


def attempt(maker: FaultMaker, fault: Fault) -> FaultRecord:
    """Make `fault`, judge what is left, and check for leaks. A board that is off is brought up first.

    Raises `ConfigurationError` as the fault does, and the errors of `Board.fresh`.
    """
    board = maker.board
    if board.report is None:  # the fault before has left it off
        board.fresh()
    old = weakref.ref(board.console.transcript)
    before = open_resources()
    record = judge(maker, fault.inject(maker), fault)
    if maker.tapped:
        maker.close()
        if error := _attempted(lambda: _afresh(board, maker.runner)):
            why = f"without the proxy, a fresh board does not work: {error.message}"
            record = replace(record, usable=NEVER, grade=WRONG, why=why)
    if board.up and old() is not None and board.console.transcript is not old():
        before["file descriptors"] += 2  # of the old transcript, which is still referenced
    if board.up and (more := leaked(before)):
        record = replace(record, grade=WRONG, why=f"the framework leaked {more}")
    return record


def judge(maker: FaultMaker, injection: Injection, fault: Fault) -> FaultRecord:
    """Check the board after `injection`, and bring it back. Takes bounded time; never raises `HilError`.

    Afterwards the board works, or `usable` is `never`.
    """
    begun = time.monotonic()
    usable, problem = _usable(maker, injection)
    recovery = time.monotonic() - begun
    words = injection.words or ((error_word(problem),) if problem else ("unharmed",))
    grade, why = _grade(fault, words, usable, problem)
    news = problem if problem is not None and error_word(problem) not in injection.words else None
    did = "; ".join(filter(None, [injection.did, f"then {error_word(news)}: {news.message}" if news else ""]))
    with closing(Transcript(injection.transcript)) as transcript:
        transcript.refresh()
        tail = transcript.tail(TAIL, start=injection.start)
        first = transcript.line_number(injection.start)
        last = transcript.line_number(max(injection.end, injection.start))
    return FaultRecord(
        fault=injection.fault,
        done=injection.done,
        did=did or "nothing",
        verdict=" ".join(dict.fromkeys(words)),
        usable=usable,
        recovery=round(recovery, 3),
        seconds=round(injection.seconds, 3),
        grade=grade,
        why=why,
        seed=injection.seed,
        board=maker.board.name,
        image=maker.board.manifest.name,
        transcript=str(injection.transcript),
        first=first,
        last=last,
        tail=tail,
        test=maker.test,
    )


def _usable(maker: FaultMaker, injection: Injection) -> tuple[str, HilError | None]:
    """Return when the board was usable again, and the error before; the board is renewed if nothing less helps."""
    board, runner = maker.board, maker.runner
    if injection.restarted:  # the shell's session is gone with the old boot
        runner = Runner(Guest(board))
    dead = board.report is None or board.console.ended
    problem = _attempted(lambda: check_usable(runner)) if board.report is not None else None
    if problem is None and not dead:
        return (BY_ITSELF if injection.restarted else AT_ONCE), None
    if not dead and not _attempted(lambda: _reset(runner)) and not _attempted(lambda: check_usable(runner)):
        return RESET, problem
    fresh = _attempted(lambda: _afresh(board, maker.runner))
    return (NEVER if fresh else FRESH), (fresh or problem)


def _afresh(board: Board, runner: Runner) -> None:
    board.fresh()
    check_usable(runner)


def _reset(runner: Runner) -> None:
    """End agents that are left; the runner ends its module when the next one comes."""
    guest = runner.guest
    if guest.shell.lost:
        raise GuestError("there is no shell to end agents with")
    guest.run(f"killall -9 {runner.facts.command} 2>/dev/null;true", timeout=SHELL_LIMIT)


def _attempted(act: Callable[[], object]) -> HilError | None:
    """Return the error of `act`; `ConfigurationError` passes."""
    try:
        act()
    except ConfigurationError:
        raise
    except HilError as error:
        return error
    return None


def _grade(fault: Fault, words: tuple[str, ...], usable: str, problem: HilError | None) -> tuple[str, str]:
    """Return the grade and its reason."""
    if usable == NEVER:
        return WRONG, "a fresh board does not work either"
    strange = [word for word in words if not re.fullmatch(fault.ought, word)]
    unnamed = [word for word in strange if word not in BREAKS]
    if unnamed:
        return WRONG, f"{' '.join(unnamed)}: neither expected ({fault.ought}) nor the name of a break"
    if strange:
        return BROKEN, f"{' '.join(dict.fromkeys(words))} instead of {fault.ought}"
    if USABLE.index(usable) <= USABLE.index(fault.usable):
        return HELD, "as expected"
    return BROKEN, f"usable {usable} instead of {fault.usable}" + (f": {problem.message}" if problem else "")
