"""A board on a local tty, from its first boot to a retry after its line was lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import HANG
from tty_board import PASSWORD, tty_board

from hil.board.board import Board
from hil.faults.leaks import leaked, open_resources
from hil.guest import Guest
from hil.wasm import Module, Runner
from hil.wasm.verdict import exited

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "wasm_samples"
TESTS = """
import os, pathlib, subprocess
import pytest

pytestmark = pytest.mark.board
tries = []

@pytest.mark.destructive
def test_that_spoils_the_board(guest):
    guest.run("rm -f /tmp/bin/wasmedge_emit", check=True)

def test_that_loses_its_line_once(guest):
    tries.append(1)
    if len(tries) == 1:
        subprocess.run([os.environ["SWITCH"], "cut"], check=True)
    assert guest.run("echo here").text == "here\\n"

def test_whose_line_is_cut_on_purpose(faults):
    assert "the line was cut" in str(faults.line_cut(at=0.1))

def test_that_has_its_hand_on_the_power(power, board):
    power.off()

def test_after_that(runner, sample, board):
    assert runner.run(sample("hello.wasm")).good
    print("boots:", board.boots)
"""


@pytest.fixture
def board_file(tmp_path: Path) -> Iterator[Path]:
    with tty_board(tmp_path) as path:
        yield path


def test_it_boots_runs_modules_and_takes_files_again_and_again(board_file: Path, tmp_path: Path) -> None:
    data, before = os.urandom(50_000), open_resources()
    up: dict[str, int] = {}
    with Board(str(board_file), transcripts=tmp_path) as board:
        guest = Guest(board)
        for _ in range(3):
            board.fresh()
            done = Runner(guest).run(Module.load(SAMPLES / "hello.wasm"))
            assert (done.verdict, done.lines) == (exited(0), ["hello, sel4", "1+2-3*4 = -9"])
            assert guest.put(data, "/tmp/data")
            assert guest.get("/tmp/data") == data
            up = up or open_resources()
            assert not leaked(up)
        assert (board.boots, board.no_snapshot_reason) == (3, "a real board has none")
    del guest  # its shell has the last transcript open
    assert not leaked(before)
    kept = [path.read_text("latin-1") for path in tmp_path.glob("tty-*.*")]
    assert len(kept) == 6
    assert not [text for text in kept if PASSWORD in text]


@pytest.mark.parametrize(
    ("fresh", "boots"),
    [
        pytest.param("test", 12, marks=pytest.mark.slow),
        ("module", 7),
        pytest.param("session", 6, marks=pytest.mark.slow),
    ],
)
def test_suites_run_on_it(board_file: Path, tmp_path: Path, fresh: str, boots: int) -> None:
    (tmp_path / "test_own.py").write_text(TESTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rP", "-c", os.devnull, "--rootdir", tmp_path),
            *(ROOT / "suites" / "smoke", tmp_path / "test_own.py", "--board", board_file, "--fresh", fresh),
        ],
        cwd=tmp_path,
        env={**os.environ, "SWITCH": str(tmp_path / "switch")},
        timeout=HANG,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 passed, 1 retried" in done.stdout
    assert f"boots: {boots}" in done.stdout
