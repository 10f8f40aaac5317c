"""What is left after a fault, by facts: does the board do its work, and if not, what brings it back?"""

from __future__ import annotations

import re
import time
import weakref
from collections.abc import Callable
from dataclasses import replace

from hil.board.board import Board
from hil.console import Transcript
from hil.errors import ConfigurationError, GuestError, HilError, RunnerError
from hil.faults import modules
from hil.faults.catalogue import Fault
from hil.faults.held import held, leaked
from hil.faults.injector import Injector, word_of
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
LOST_LIMIT = 1.0  # seconds for one that has been found not to answer before
RUN_LIMIT = 5.0  # seconds for the good module
TAIL = 12  # lines


def check_usable(runner: Runner) -> None:
    """See that the board works: the shell answers, and a good module runs to its end with the right output.

    Raises `HilError` saying what does not.
    """
    lost = runner.guest.shell.lost
    runner.guest.run("true", timeout=LOST_LIMIT if lost else SHELL_LIMIT, check=True)
    run = runner.run(modules.module("greeting"), limit=RUN_LIMIT, restore=False)
    if not run.good or run.output != modules.GREETING:
        raise RunnerError(f"a good module did not run: {run}", evidence=runner.guest.board.console.evidence())


def judge(injector: Injector, injection: Injection, fault: Fault) -> FaultRecord:
    """Find out what the board is good for after `injection`, and bring it back. Bounded; never raises `HilError`.

    The board works afterwards, or `usable` is `never`.
    """
    begun = time.monotonic()
    board = injector.board
    usable, problem = _usable(injector, injection)
    recovery = time.monotonic() - begun
    words = injection.words or ((word_of(problem),) if problem else ("unharmed",))
    grade, why = _grade(fault, words, usable, problem)
    news = problem if problem is not None and word_of(problem) not in injection.words else None
    did = "; ".join(filter(None, [injection.did, f"then {word_of(news)}: {news.message}" if news else ""]))
    transcript = Transcript(injection.transcript)
    try:
        transcript.refresh()
        end = max(injection.end, injection.start)
        tail = transcript.tail(TAIL, start=injection.start)
        first, last = transcript.line_number(injection.start), transcript.line_number(end)
    finally:
        transcript.close()
    return FaultRecord(
        injection.fault,
        injection.done,
        did or "nothing",
        " ".join(dict.fromkeys(words)),
        usable,
        round(recovery, 3),
        round(injection.seconds, 3),
        grade,
        why,
        injection.seed,
        board.name,
        board.manifest.name,
        str(injection.transcript),
        first,
        last,
        tail,
        injector.test,
    )


def attempt(injector: Injector, fault: Fault) -> FaultRecord:
    """Make `fault`, judge what is left, and see that nothing leaked. A board that is off is brought up first.

    Raises `ConfigurationError` as the fault does, and what `Board.fresh` raises.
    """
    board = injector.board
    if board.report is None:  # nothing brought it back from the fault before
        board.fresh()
    old = weakref.ref(board.console.transcript)
    before = held()
    finding = judge(injector, fault.inject(injector), fault)
    if injector.tapped:
        injector.close()
        if error := _attempted(lambda: _afresh(board, injector.runner)):
            why = f"without the proxy, a fresh board does not work: {error.message}"
            finding = replace(finding, usable=NEVER, grade=WRONG, why=why)
    if board.up and old() is not None and board.console.transcript is not old():
        before["file descriptors"] += 2  # somebody still reads the transcript that it had
    if board.up and (more := leaked(before)):
        finding = replace(finding, grade=WRONG, why=f"the framework leaked {more}")
    return finding


def _usable(injector: Injector, injection: Injection) -> tuple[str, HilError | None]:
    """When the board could be used again, and what was wrong before; the board is renewed where it had to be."""
    board, runner = injector.board, injector.runner
    if injection.restarted:  # a shell of its own: the old one's session is gone
        runner = Runner(Guest(board))
    dead = board.report is None or board.console.ended
    problem = _attempted(lambda: check_usable(runner)) if board.report is not None else None
    if problem is None and not dead:
        return (BY_ITSELF if injection.restarted else AT_ONCE), None
    if not dead and not _attempted(lambda: _reset(runner)) and not _attempted(lambda: check_usable(runner)):
        return RESET, problem
    fresh = _attempted(lambda: _afresh(board, injector.runner))
    return (NEVER if fresh else FRESH), (fresh or problem)


def _afresh(board: Board, runner: Runner) -> None:
    board.fresh()
    check_usable(runner)


def _reset(runner: Runner) -> None:
    """End agents that are left; with the next module the runner ends what it may still run."""
    guest = runner.guest
    if guest.shell.lost:
        raise GuestError("there is no shell to end agents with")
    guest.run(f"killall -9 {runner.facts.command} 2>/dev/null;true", timeout=SHELL_LIMIT)


def _attempted(act: Callable[[], object]) -> HilError | None:
    try:
        act()
    except ConfigurationError:
        raise
    except HilError as error:
        return error
    return None


def _grade(fault: Fault, words: tuple[str, ...], usable: str, problem: HilError | None) -> tuple[str, str]:
    """What a finding is worth, and why."""
    if usable == NEVER:
        return WRONG, "a fresh board does not work either"
    expected = all(re.fullmatch(fault.ought, word) for word in words)
    if expected and USABLE.index(usable) <= USABLE.index(fault.usable):
        return HELD, "as it ought to be"
    strange = [word for word in words if not re.fullmatch(fault.ought, word) and word not in BREAKS]
    if strange:
        return WRONG, f"{' '.join(strange)}: neither what ought to come of it ({fault.ought}) nor the name of a break"
    if not expected:
        return BROKEN, f"{' '.join(dict.fromkeys(words))} instead of {fault.ought}"
    return BROKEN, f"usable {usable}, and ought to be {fault.usable}" + (f": {problem.message}" if problem else "")
