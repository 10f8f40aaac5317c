"""What do two workers bring? Usage: workers.py [TESTS] [ROUNDS]

A suite of 20 tests that wait (`sleep 2` in the guest), and one of as many that compute there, by xdist with one worker
and with two, alternating, each test on a fresh board from a warm snapshot. The time is that from the first test's begin
to the last one's end: without collection, but with what a worker's first test imports.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

from fresh import load, run, suite

BOUND, COMPUTE_BOUND = 1.7, 1.0  # times as fast
KINDS = {"wait": "sleep 2", "compute": "i=0;while [ $i -lt 40000 ];do i=$((i+1));done"}
BOUNDS = {"wait": BOUND, "compute": COMPUTE_BOUND}


def main(tests: int, rounds: int) -> int:
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        run(suite(Path(name) / "one", 1, "true"), 1)  # makes the snapshot where there is none
        for number in range(rounds):
            for kind, command in KINDS.items():
                directory = suite(Path(name) / kind, tests, command)
                took = {
                    workers: run(directory, tests, "--fresh", "test", "-n", str(workers)).span
                    for workers in ((1, 2) if number % 2 == 0 else (2, 1))
                }
                ratios[kind].append(took[1] / took[2])
                told = f"one worker {took[1]:.1f} s, two {took[2]:.1f} s, {ratios[kind][-1]:.2f} times as fast"
                print(f"round {number + 1}: {tests} tests that {kind}: {told}; {load()}", flush=True)
    medians = {kind: statistics.median(some) for kind, some in ratios.items()}
    for kind, ratio in medians.items():
        print(f"tests that {kind}: two workers are {ratio:.2f} times as fast as one (bound {BOUNDS[kind]})")
    return int(any(ratio < BOUNDS[kind] for kind, ratio in medians.items()))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*given, *(20, 3)[len(given) :]))
