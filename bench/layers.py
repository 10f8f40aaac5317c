"""A large module for a fresh board: by a layer, and by an upload. Usage: layers.py [ROUNDS [BYTES [SEED]]]

Each round begins with a board that is restored from its snapshot and checked, as a test does. The module cannot be
compressed. `made` is the first time, in which the layer is saved. With a seed the board is in virtual time; give 30000
bytes then.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hil.board.board import Board
from hil.guest import Guest
from hil.qemu.snapshot_store import stored
from hil.wasm import Module, Runner
from hil.wasm.health_check import check_health

DEFAULTS = (2, 2_400_000, None)
HELLO = Path(__file__).parents[1] / "wasm_samples" / "hello.wasm"


def padded(size: int) -> Module:
    """Return `hello.wasm` with a custom section of `size` random bytes."""
    body = b"\3pad" + random.randbytes(size)
    length = bytes(len(body) >> shift & 0x7F | (0x80 if shift < 28 else 0) for shift in (0, 7, 14, 21, 28))
    return Module.raw("padded.wasm", HELLO.read_bytes() + b"\0" + length + body)


def timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def main(rounds: int, size: int, seed: int | None) -> int:
    module, took = padded(size), {"restore": [], "layer": [], "upload": []}
    with tempfile.TemporaryDirectory() as name, Board("qemu-reference", transcripts=Path(name), seed=seed) as board:
        guest = Guest(board)
        board.health_check = lambda _: check_health(guest)
        board.fresh()
        made = timed(lambda: Runner(guest).place(module))
        print(f"made: {made:.1f} s", flush=True)
        for number in range(rounds):
            for way in ("layer", "upload")[:: 1 if number % 2 else -1]:  # who goes first alternates
                took["restore"].append(timed(board.fresh))
                if way == "upload":
                    board.touch()
                took[way].append(timed(lambda: Runner(guest).place(module)))
                run = Runner(guest).run(module)
                if not run.good:
                    raise SystemExit(f"{way}: {run}")
            print(f"round {number + 1}: " + ", ".join(f"{way} {took[way][-1]:.2f} s" for way in took), flush=True)
        held = [entry for entry in stored() if module.sha256 in entry[2].get("contents", {}).values()]
        size = sum(size for _, size, _ in held)
        for directory, _, _ in held:
            shutil.rmtree(directory)  # the next run has another module
    medians = {way: statistics.median(seconds) for way, seconds in took.items()}
    print(", ".join(f"{way} {seconds:.2f} s" for way, seconds in medians.items()))
    print(f"{len(module.data)} bytes; the layer has {size / 2**20:.1f} MiB")
    ratio = medians["upload"] / medians["layer"]
    print(f"an upload takes {ratio:.1f} times as long as the layer (bound 5)")
    return int(ratio < 5)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*given, *DEFAULTS[len(given) :]))
