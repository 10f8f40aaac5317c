"""Waits in virtual time on the reference image: what ends by a time limit repeats to the bit, on any host."""

from __future__ import annotations

import os
import random
import signal
import threading

import pytest

from hil.board.board import Board
from hil.console import LineTimeout
from hil.guest import CommandTimeout, Guest
from hil.wasm.health_check import check_health

DATA = random.Random(7).randbytes(8_000)


def session(board: Board, slow: bool) -> tuple[list[int], str, str]:
    """Wait for what does not come, with an idle and with a busy guest, and upload a file; QEMU stumbles meanwhile."""
    guest, console, pid = Guest(board), board.console, board.qemu.pid
    stop = threading.Event()

    def stumble() -> None:
        while not stop.wait(0.2):
            os.kill(pid, signal.SIGSTOP)
            stop.wait(0.3)
            os.kill(pid, signal.SIGCONT)

    hog = threading.Thread(target=stumble)
    if slow:
        hog.start()
    try:
        stamps = []
        for command in ("sleep 60", "while :; do :; done"):
            with pytest.raises(CommandTimeout) as caught:
                guest.run(command, timeout=0.5)
            assert caught.value.recovered
            stamps.append(console.stamp(console.position - 1))
        with pytest.raises(LineTimeout):
            console.wait_for(b"never", timeout=0.3)
        assert guest.put(DATA, "/tmp/data")
        result = guest.run("sha256sum </tmp/data", check=True)
        stamps += [console.stamp(result.start), round(console.now * 1e9)]
        assert board.virtual is not None
        assert board.virtual.exact, str(board.virtual)
        return stamps, console.lockstep.history, result.text
    finally:
        stop.set()
        if slow:
            hog.join()


@pytest.mark.slow  # tests/unit/test_exact.py has the same waits in a small machine, on a host that stumbles
def test_waits_that_time_out_and_an_upload_repeat_to_the_bit_on_a_host_that_stumbles(tmp_path):
    with Board(
        "qemu-reference", seed=1, transcripts=tmp_path, health_check=lambda board: check_health(Guest(board))
    ) as board:
        runs = []
        for slow in (False, True):
            board.fresh()
            runs.append(session(board, slow))
        assert runs[0] == runs[1]
