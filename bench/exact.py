"""What does virtual time cost in wall time over plain emulation? Usage: exact.py [ROUNDS]

The same work in both clocks, alternating: a boot, commands, executions and periodic releases.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hil import ms
from hil.board.board import Board
from hil.guest import Guest
from hil.measure.probe import Probe
from hil.wasm import Runner, Samples


def work(directory: Path, seed: int | None) -> dict[str, float]:
    """Seconds of wall time that each part took."""
    took: dict[str, float] = {}
    with Board("qemu-reference", transcripts=directory, seed=seed) as board:

        def timed(name: str, what: Callable[[], object]) -> None:
            begin = time.monotonic()
            what()
            took[name] = time.monotonic() - begin

        timed("boot", board.boot)
        guest = Guest(board)
        probe, place = Probe(guest), Runner(guest).place(Samples()("nbody-c.wasm"))
        timed("probe's upload", probe.counter)
        timed("100 commands", lambda: [guest.run("true") for _ in range(100)])
        timed("100 executions", lambda: probe.executions(place, ["10"], count=100))
        timed("400 releases", lambda: probe.cycles(5 * ms, count=400, partition=True))
    took["together"] = sum(took.values())
    return took


def main(rounds: int) -> None:
    ratios: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        work(Path(directory), 1)  # the first boot of a kind is made twice, as its proof
        for number in range(rounds):
            order = (None, 1) if number % 2 else (1, None)
            took = {seed: work(Path(directory), seed) for seed in order}
            for name in took[1]:
                ratios.setdefault(name, []).append(took[1][name] / took[None][name])
                print(f"round {number + 1}: {name}: virtual {took[1][name]:.2f} s, plain {took[None][name]:.2f} s")
    for name, values in ratios.items():
        print(f"{name}: median ratio {statistics.median(values):.2f}" + (" (bound 3)" if name == "together" else ""))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
