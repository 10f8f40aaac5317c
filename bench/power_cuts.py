"""Is a power cut in a deployment ever taken for anything else? Usage: power_cuts.py [N] [--workers W] [--seed K]

N deployments (50) of hello.wasm, in each of which the power is cut, or QEMU killed, at a random instant from before the
agent begins to after its end. What is told has to be the line's end with its cause, or a verdict that had arrived
whole, in a few seconds. Then a fresh board has to run the module, and the process to hold no more than before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from fresh import load

from hil.board.board import Board
from hil.console import Transcript
from hil.errors import HilError
from hil.faults.injector import Injector
from hil.faults.leaks import leaked, open_resources
from hil.faults.record import Injection
from hil.guest import Guest
from hil.stats.trend import trend
from hil.wasm import Execution, Runner, Samples
from hil.wasm.health_check import check_health

MODULE = "hello.wasm"
WARM = 5  # cuts before what the process holds is looked at
TOLD_LIMIT = 5.0  # seconds from the cut until it is told
GROWTH = 1 << 20  # bytes that the process may grow by in 1,000 cuts
PAGE = 4096
MARGIN = 1.2  # of the usual time of a deployment, for the last instant
CAUSES = {"cut_power": "was switched off", "kill_qemu": "was killed by SIGKILL"}
SEALED = re.compile(rb"hil-seal v=1 nonce=\S+ verdict=exited code=0 .* sum=[0-9A-Fa-f]{8}\r*\n")


@dataclass
class Result:
    """What a worker saw of its cuts."""

    cuts: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    told: list[float] = field(default_factory=list)
    back: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    restores: int = 0
    boots: int = 0


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def console(injection: Injection) -> bytes:
    """What was on the line from the fault's begin to its end."""
    transcript = Transcript(injection.transcript)
    try:
        transcript.refresh()
        return transcript.read(injection.start, injection.end)
    finally:
        transcript.close()


def outcome(injection: Injection, cause: str, executing: re.Pattern[bytes]) -> tuple[str, str]:
    """Where in the deployment the cut fell, and what is wrong with what was told of it."""
    seen = console(injection)
    arrived = SEALED.search(seen) is not None
    where = "its verdict" if arrived else "its run" if executing.search(seen) else "its transfer"
    if injection.words == ("exited",):
        return "after its end", "" if arrived else f"a verdict that had not arrived: {injection.did}"
    if injection.words != ("LineClosed",):
        return where, f"not told as the line's end: {injection.did}"
    return where, "" if cause in injection.did else f"without its cause ({cause}): {injection.did}"


class Worker:
    """A board with what is asked of it again and again."""

    def __init__(self, board: Board) -> None:
        self.board, guest = board, Guest(board)
        board.health_check = lambda _: check_health(guest)
        board.fresh()
        samples = Samples()
        self.module, self._case = samples(MODULE), samples[MODULE].case[0]
        self.runner = Runner(guest)
        self._executing = re.compile(self.runner.facts.executing.encode())

    def good(self) -> Execution:
        """A deployment that is as it has to be. Raises `HilError`, and `ValueError` saying what is wrong."""
        run = self.runner.run(self.module, *self._case.arguments, limit=10, restore=False)
        if problems := self._case.problems(run):
            raise ValueError("; ".join(problems))
        return run

    def usual(self) -> float:
        """Seconds of a deployment."""
        runs = [self.good() for _ in range(WARM)]
        return statistics.median((run.answer_ns - run.request_ns) / 1e9 for run in runs)

    def cut(self, result: Result, chance: random.Random, latest: float) -> None:
        how, at = chance.choice(list(CAUSES)), chance.uniform(0, latest)
        with Injector(self.runner) as faults:
            fault: Callable[..., Injection] = getattr(faults, how)
            injection = fault(during=self.module, at=at)
        where, wrong = outcome(injection, CAUSES[how], self._executing)
        result.cuts += 1
        result.outcomes[where] += 1
        result.told.append(injection.seconds - at)
        if not wrong and result.told[-1] > TOLD_LIMIT:
            wrong = f"told only after {result.told[-1]:.1f} s"
        begin = time.monotonic()
        try:
            self.board.fresh()
            self.good()
        except (HilError, ValueError) as error:
            wrong += f"; the fresh board is not good: {error}"
        result.back.append(time.monotonic() - begin)
        if wrong:
            result.wrong.append(f"{how} after {at:.3f} s, {where}: {wrong}")


def work(name: str, number: int, cuts: int, seed: int) -> Result:
    """Make `cuts` power cuts; the snapshot is there."""
    result, chance = Result(), random.Random(f"{seed} {number}")
    with Board("qemu-reference", transcripts=Path(name) / str(number)) as board:
        worker = Worker(board)
        latest = MARGIN * worker.usual()
        before: dict[str, int] = {}
        while result.cuts < cuts:
            worker.cut(result, chance, latest)
            if result.cuts == min(WARM, cuts):
                before = open_resources()
            elif before and (more := leaked(before)):
                result.leaks.append(f"worker {number}, cut {result.cuts}: {more}")
                before = open_resources()
            result.memory.append(resident())
            if result.cuts % 50 == 0:
                told = f"{len(result.wrong)} wrong, {len(result.leaks)} leaks; {load()}"
                print(f"worker {number}: {result.cuts} cuts, {told}", flush=True)
        result.restores, result.boots = board.restores, board.boots
    return result


def main(cuts: int, workers: int, seed: int) -> int:
    begin = time.monotonic()
    shares = [share for number in range(workers) if (share := cuts // workers + (number < cuts % workers))]
    with tempfile.TemporaryDirectory() as name:
        with Board("qemu-reference", transcripts=Path(name)) as board:
            Worker(board)  # makes the snapshot where there is none
        with ProcessPoolExecutor(len(shares), multiprocessing.get_context("spawn")) as pool:
            futures = [pool.submit(work, name, number, share, seed) for number, share in enumerate(shares)]
            results = [future.result() for future in futures]
    outcomes = sum((result.outcomes for result in results), Counter())
    told, back = (sorted(chain.from_iterable(getattr(one, what) for one in results)) for what in ("told", "back"))
    wrong = [text for result in results for text in result.wrong]
    leaks = [text for result in results for text in result.leaks]
    for text in (*wrong, *leaks):
        print(text)
    print("cuts in a deployment, in " + ", ".join(f"{where} {count}" for where, count in sorted(outcomes.items())))
    for what, some in (("told", told), ("a good deployment on a fresh board", back)):
        print(f"{what} after {statistics.median(some):.2f} s, at most {some[-1]:.2f} s")
    restores, boots = (sum(getattr(one, what) for one in results) for what in ("restores", "boots"))
    flat = []
    for number, result in enumerate(results):
        memory = result.memory[WARM:]
        growth = trend(memory, quantum=PAGE) if len(memory) > 1 else None
        known = growth is not None and growth.lower is not None
        flat.append("GROWS" if growth and growth.grows(GROWTH) else "flat" if known else "not known, too few cuts")
        span = f"{result.memory[0] >> 10} KiB after the first cut, {result.memory[-1] >> 10} after the last"
        if growth is not None and growth.lower is not None:
            span += f", {growth.slope / 1024:.0f} KiB more per 1,000 cuts, at least {growth.lower / 1024:.0f}"
        print(f"worker {number}: memory {span}")
    took = f"{len(told)} cuts in {time.monotonic() - begin:.0f} s"
    print(f"{took}, {restores} restores, {boots} boots, seed {seed}; {load()}")
    print(f"wrong {len(wrong)}, leaks {len(leaks)}, memory {' and '.join(flat)} (bounds: none, none, flat)")
    return int(bool(wrong or leaks or "GROWS" in flat))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("cuts", nargs="?", type=int, default=50)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    sys.exit(main(given.cuts, given.workers, given.seed))
