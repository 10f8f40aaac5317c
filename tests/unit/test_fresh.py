"""Fresh boards where something is in the way: what a snapshot is not to blame for, and what must not be handed out."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import stub_board

from hil.board.board import Board
from hil.console import LineTimeout
from hil.errors import ConfigurationError, InfrastructureError
from hil.qemu.lockstep import Refusal
from hil.qemu.process import Qemu
from hil.qemu.snapshot_store import SnapshotStore, stored


def answers(board: Board) -> None:
    """The stub's health check: it answers a line end with its prompt."""
    board.console.write(b"\n")
    board.console.wait_for(b"# ", timeout=2)


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board whose machine can be saved."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HIL_SNAPSHOTS_MIB", raising=False)
    path = stub_board(tmp_path)
    manifest = path.with_name("stub.toml")
    manifest.write_text(manifest.read_text().replace('"-kernel"', '"-m", "64", "-kernel"'))
    with Board(str(path), transcripts=tmp_path / "transcripts", health_check=answers) as one:
        yield one


def test_what_the_user_has_to_correct_costs_no_snapshot(board: Board) -> None:
    board.fresh()
    refused = ConfigurationError("a tapped line cannot be kept in lock step")

    def tap(port: int) -> int:
        raise refused

    board.line.tap = tap
    with pytest.raises(ConfigurationError, match="a tapped line"):
        board.fresh()
    assert len(stored()) == 1
    board.line.tap = None
    board.fresh()
    assert (board.boots, board.restores, board.no_snapshot_reason) == (1, 3, "")


def test_a_line_that_was_meddled_with_costs_no_snapshot(board: Board) -> None:
    board.fresh()
    near, far = socket.socketpair()

    def deaf(port: int) -> int:
        os.close(port)
        return near.detach()

    with far:
        board.line.tap = deaf
        with pytest.raises(LineTimeout):
            board.fresh()
    assert (len(stored()), board.up) == (1, False)
    board.line.tap = None
    board.fresh()
    assert (board.boots, board.restores, board.no_snapshot_reason) == (1, 3, "")


def test_a_machine_that_does_not_go_on_after_a_failed_save_is_not_handed_out(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep(*of: object) -> None:
        raise InfrastructureError("the disk became full")

    def stay(self: Qemu) -> None:
        """As where the monitor hangs: the machine stays stopped."""
        raise InfrastructureError("QEMU's monitor did not answer 'cont' in 10 s")

    monkeypatch.setattr(SnapshotStore, "save", keep)
    with monkeypatch.context() as patched:
        patched.setattr(Qemu, "go_on", stay)
        board.fresh()
    answers(board)
    assert (board.boots, board.restores, board.up) == (2, 0, True)
    assert "did not answer" in board.no_snapshot_reason


def test_a_lock_that_cannot_be_made_means_boots(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory in its place stands for a cache that may be read only, and a disk without room for its name."""
    real = SnapshotStore.__init__

    def init(self: SnapshotStore, key: list[str]) -> None:
        real(self, key)
        (self.directory / "lock").mkdir(parents=True)

    monkeypatch.setattr(SnapshotStore, "__init__", init)
    board.fresh()
    assert (board.boots, board.restores, board.up) == (1, 0, True)
    assert "/lock: Is a directory" in board.no_snapshot_reason


def test_what_nobody_has_proven_is_not_saved_for_others(board: Board) -> None:
    board.health_check = None
    board.fresh()
    board.fresh()
    assert (board.boots, board.restores, stored()) == (2, 0, [])


def test_virtual_time_without_lock_step_is_restored_and_not_called_exact(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.qemu.lockstep.refusal", lambda emulator, preload: Refusal("it exports too little"))
    with Board(str(board.path), transcripts=board.path.parent, health_check=answers, seed=1) as one:
        one.fresh()
        assert (one.boots, one.restores, one.no_snapshot_reason) == (1, 1, "")
        assert one.virtual is not None
        assert (one.virtual.exact, one.virtual.lost) == (False, "it exports too little")
