"""What does a module in each language cost on a board? Usage: languages.py [BOARD]...

A row for each sample in a language: its size, the seconds of the first upload and of the second (on the restored
board), of its usual case interpreted and compiled ahead of time, and its verdict. The peer of each figure is its
neighbour in the row, of the same boot. A language without toolchain here is named.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from hil.board.board import Board
from hil.errors import MissingToolchain
from hil.guest import Guest
from hil.wasm import Runner
from hil.wasm.execution import Execution
from hil.wasm.module import Module
from hil.wasm.samples import Case, Sample, Samples

HEADER = ("language", "KiB", "upload s", "again s", "interpreted s", "compiled s", "verdict")
LIMIT = 300.0  # seconds of a run


def uploaded(board: Board, module: Module) -> float:
    """Restore the board, and return the seconds until it has the module."""
    board.fresh()
    begin = time.monotonic()
    Runner(Guest(board)).place(module)
    return time.monotonic() - begin


def seconds(run: Execution) -> float:
    return run.seal.run_ticks / run.seal.hz if run.seal else float("nan")


def row(board: Board, sample: Sample, case: Case, module: Module) -> tuple[str, ...]:
    first, again = uploaded(board, module), uploaded(board, module)
    runner = Runner(Guest(board))
    compiled = runner.run(module, *case.arguments, limit=LIMIT, aot=True)
    plain = runner.run(module, *case.arguments, limit=LIMIT)
    figures = (first, again, seconds(plain), seconds(compiled))
    verdict = str(plain.verdict) if plain.verdict == compiled.verdict else f"{plain.verdict}, {compiled.verdict}"
    return sample.language, f"{len(module.data) / 1024:.0f}", *(f"{figure:.2f}" for figure in figures), verdict


def table(name: str) -> None:
    print(f"\n{name}\n" + " | ".join(HEADER))
    samples = Samples()
    with tempfile.TemporaryDirectory() as work, Board(name, transcripts=Path(work)) as board:
        board.fresh()
        for sample in samples:
            if not sample.language:
                continue
            try:
                print(" | ".join(row(board, sample, sample.case[0], samples(sample.file))), flush=True)
            except MissingToolchain as missing:
                print(f"{sample.language} | {missing.message.splitlines()[0]}", flush=True)


def main(*boards: str) -> int:
    for name in boards or ("qemu-reference", "qemu-plain"):
        table(name)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
