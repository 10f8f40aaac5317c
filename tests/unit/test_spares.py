"""Spare machines: restored by a real QEMU while a test runs, used in place of a restore, and never left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import HANG
from support import children, stub_board, until
from test_snapshot import cache, run, savable

from hil.board import spare as spare_module
from hil.board.board import Board
from hil.board.lifecycle import Lifecycle
from hil.board.spare import HandOver, SpareBoard, Spares
from hil.errors import ConfigurationError, InfrastructureError, RunnerError
from hil.qemu.determinism import console_trace

__all__ = ["cache", "run"]
pytest_plugins = ["pytester"]


def answers(board: Any) -> None:
    board.console.write(b"\n")
    board.console.wait_for(b"# ", timeout=HANG)


class Checks:
    """A health check of spares: what it has seen, in which thread, and whose result was handed over."""

    def __init__(self, check: Callable[[SpareBoard], None] = answers) -> None:
        self.check = check
        self.seen: list[SpareBoard] = []
        self.threads: set[threading.Thread] = set()
        self.handed: list[SpareBoard] = []

    def __call__(self, spare: SpareBoard) -> HandOver:
        self.seen.append(spare)
        self.threads.add(threading.current_thread())
        self.check(spare)
        return lambda: self.handed.append(spare)


class Opened:
    """Boards with spares, and what they report."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.boards: list[Board] = []
        self.attempts: list[str] = []
        self.events: list[str] = []

    def __call__(self, check: Checks, count: int = 1, **options: Any) -> Board:
        lifecycle = Lifecycle(
            lambda up: self.events.append(f"up {up.transcript.stem}"), lambda down: self.events.append("down")
        )
        board = Board(
            str(self.path),
            transcripts=self.path.parent / "transcripts",
            health_check=answers,
            on_attempt=lambda kind, error: self.attempts.append(f"{kind}: {error.message if error else 'good'}"),
            lifecycle=lifecycle,
            spares=Spares(count, check),
            **options,
        )
        self.boards.append(board)
        return board

    @property
    def transcripts(self) -> list[str]:
        return sorted(path.stem for path in (self.path.parent / "transcripts").glob("*.raw"))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    act, before = Opened(savable(stub_board(tmp_path))), children(os.getpid())
    yield act
    for board in act.boards:
        board.close()
    until(lambda: set(children(os.getpid())) <= set(before))


def test_a_board_continues_with_a_checked_machine(opened: Opened) -> None:
    check = Checks()
    board = opened(check)
    board.fresh()
    board.spares.settle()
    assert (board.restores, len(check.seen), len(opened.transcripts)) == (1, 1, 3), "a boot, a restore and the spare"
    assert opened.events == [*opened.events[:-1], f"up {board.console.transcript.path.stem}"], "the spare is not up yet"
    (spare,) = check.seen
    assert not check.handed
    before = board.console.transcript.path
    report = board.fresh()
    assert board.console is spare.console
    assert check.handed == [spare]
    assert threading.current_thread() not in check.threads
    assert report.restored is not None
    assert board.console.transcript.path != before
    answers(board)  # it goes on
    assert opened.events[-2:] == ["down", f"up {spare.console.transcript.path.stem}"]
    assert opened.attempts == ["boot: good", "restore: good", "restore: good"]
    assert (board.boots, board.restores) == (1, 2)
    board.spares.settle()
    assert len(check.seen) == 2, "there is a new one"
    used = [stem for stem in opened.transcripts if stem != check.seen[1].console.transcript.path.stem]
    board.close()
    assert opened.transcripts == used, "nothing is left of the one that was not used"


def test_a_failed_spare_counts_as_a_failed_restore(opened: Opened) -> None:
    def refuse(spare: SpareBoard) -> None:
        raise RunnerError("the runner does not answer")

    board = opened(Checks(refuse))
    board.fresh()
    board.fresh()
    assert opened.attempts[-2:] == ["restore: the runner does not answer", "restore: good"]
    assert (board.boots, board.restores) == (1, 3)


def test_a_configuration_that_was_wrong_for_a_moment_is_no_failure(opened: Opened) -> None:
    def refuse(spare: SpareBoard) -> None:
        raise ConfigurationError("PATH has no emulator")

    board = opened(Checks(refuse))
    board.fresh()
    board.fresh()
    assert opened.attempts == ["boot: good", "restore: good", "restore: good"]


def test_a_spare_that_died_is_replaced_by_a_restore(opened: Opened) -> None:
    check = Checks()
    board = opened(check)
    board.fresh()
    board.spares.settle()
    (spare,) = board.spares._spares
    assert spare.machine.qemu is not None
    os.kill(spare.machine.qemu.pid, signal.SIGKILL)
    until(lambda: spare.machine.qemu is None or not spare.machine.qemu.running)
    board.fresh()
    assert board.console is not check.seen[0].console
    assert [attempt.partition(" ")[2].startswith("the spare has ended") for attempt in opened.attempts[-2:]] == [1, 0]
    answers(board)


def test_a_board_that_is_closed_does_not_wait_for_its_spare(opened: Opened) -> None:
    begun = threading.Event()

    def hang(spare: SpareBoard) -> None:
        begun.set()
        spare.console.wait_for(b"never", timeout=3600)

    board = opened(Checks(hang))
    board.fresh()
    assert begun.wait(HANG)
    transcripts = len(opened.transcripts)
    board.close()
    assert len(opened.transcripts) == transcripts - 1


def test_there_is_none_where_memory_is_short_or_none_is_wanted(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Checks()
    board = opened(check)
    with monkeypatch.context() as patched:
        patched.setattr(spare_module, "available_memory", lambda: 63 << 20)
        board.fresh()
    board.spares.wanted = 0
    board.fresh()
    board.spares.settle()
    assert not check.seen
    board.spares.wanted = 2
    board.refill_spares()
    board.spares.settle()
    assert len(check.seen) == 1, "no more than its number"


def test_a_tapped_line_is_not_that_of_a_spare(opened: Opened) -> None:
    check, tapped = Checks(), []

    def tap(port: int) -> int:
        tapped.append(port)
        return port

    board = opened(check)
    board.fresh()
    board.line.tap = tap
    board.fresh()
    assert len(tapped) == 1
    board.line.tap = None
    board.fresh()
    assert board.console is check.seen[0].console


def test_in_virtual_time_a_spare_is_the_same_to_the_bit(opened: Opened) -> None:
    check = Checks()
    board = opened(check, seed=1)
    traces = []
    for number in range(3):
        board.spares.wanted = number  # the first two are restored in the foreground
        board.fresh()
        answers(board)
        assert board.virtual is not None
        assert board.virtual.exact
        traces.append((console_trace(board.console, board.console.position), board.console.token(8)))
    assert board.console is check.seen[0].console
    assert traces[0] == traces[1] == traces[2]


def test_where_a_spare_cannot_be_started_the_board_is_restored(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object) -> None:
        raise InfrastructureError("the disk is full")

    board = opened(Checks())
    board.spares.wanted = 0
    board.fresh()
    board.spares.wanted = 1
    with monkeypatch.context() as patched:
        patched.setattr(type(board.machine("a spare")), "new_transcript", full)
        board.refill_spares()
    board.fresh()
    assert opened.attempts[-1] == "restore: good"


# through pytest


def test_a_test_that_counts_what_is_open_makes_no_spare(run: Any) -> None:
    code = """
        def test_first(board):
            assert len(board.spares._spares) == 2
        def test_counts(board, faults):
            assert [spare.checked.done() for spare in board.spares._spares] == [True], "one of two was for this test"
            board.fresh()
            assert not board.spares._spares
        def test_last(board):
            assert board.restores == 4
    """
    run(code, "--clock", "real", "--hil-spare", "2").assert_outcomes(passed=3)


def test_the_next_tests_get_spares_which_none_that_judges_real_time_makes(run: Any, pytester: pytest.Pytester) -> None:
    code = """
        import pytest
        consoles = []
        @pytest.mark.parametrize("n", range(3))
        def test_x(board, n):
            assert board.restores == n + 1
            assert board.console not in consoles, "each has its own"
            consoles.append(board.console)
            assert len(board.spares._spares) == 2
        @pytest.mark.timing
        def test_judges(board):
            assert [spare.checked.done() for spare in board.spares._spares] == [True], "one of two was for this test"
            board.fresh()
            assert not board.spares._spares
        def test_1(board):
            assert len(board.spares._spares) == 1, "as many as tests follow"
        def test_2(board):
            assert board.restores == 7
            assert not board.spares._spares
    """
    run(code, "--clock", "real", "--hil-spare", "2").assert_outcomes(passed=6)
    transcripts = [*pytester.path.glob("reports/transcripts/*/*.raw")]
    assert len(transcripts) == 8, "a boot and seven restores"
