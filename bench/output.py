"""What does output cost in many short lines, beside few long pieces? Usage: output.py [ROUNDS]

The sample `big.wasm` prints lines of 64 bytes, each by a call of its own; as the peer it prints 4,201 bytes by one
call. Both on the reference image, alternating, in real time; the seconds are the guest's counter's, without deployment.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from hil.board.board import Board
from hil.guest import Guest
from hil.wasm import Runner
from hil.wasm.samples import Samples

LINES, LINE, PIECE = 2000, 64, 4201  # of big.wasm
BOUND = 0.9  # of the peer's rate
PIECES = 5  # runs of the peer in a round


def seconds(runner: Runner, argument: str) -> float:
    run = runner.run(Samples()("big.wasm"), argument)
    if not run.good or run.seal is None:
        raise SystemExit(f"the run was not good: {run}")
    return run.seal.run_ticks / run.seal.hz


def main(rounds: int = 5) -> int:
    short, long = [], []
    with tempfile.TemporaryDirectory() as work, Board("qemu-reference", transcripts=Path(work)) as board:
        board.boot()
        runner = Runner(Guest(board))
        empty = seconds(runner, "0")  # what each run costs without output
        for _ in range(rounds):
            short.append(LINES * LINE / (seconds(runner, str(LINES)) - empty))
            long += [PIECE / (seconds(runner, "line") - empty) for _ in range(PIECES)]
    lines, pieces = statistics.median(short), statistics.median(long)
    print(f"lines of {LINE} bytes: {lines / 1e3:.1f} kB/s, pieces of {PIECE} bytes: {pieces / 1e3:.1f} kB/s")
    print(f"ratio {lines / pieces:.2f}, bound {BOUND}")
    return 0 if lines / pieces >= BOUND else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
