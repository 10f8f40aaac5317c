"""Does a run that is killed leave anything behind? Usage: kill.py [N] [SEED]

N runs of pytest (20) with a cache of their own get a kill -9 at random instants, spread over all that a run does: its
start, boot, saving and publishing of a snapshot, restore, test, end. After each no process of the run may be left, and
the snapshot has to be whole (it is restored and proven) or absent. At the end a run has to be good, and nothing more
than a snapshot be left.
"""

from __future__ import annotations

import fcntl
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fresh import load, suite

from hil.board.board import Board
from hil.errors import HilError
from hil.guest import Guest
from hil.host.directories import cache_root
from hil.qemu import snapshot_store
from hil.wasm.health_check import check_health

PHASES = ("start", "boot", "save", "publish", "restore", "test", "end")
COLD = ("boot", "save", "publish")  # those of a run that finds no snapshot
TESTS = 3
GONE_LIMIT = 5.0  # seconds for all processes of a killed run to end
QUICKER = 0.8  # is a phase taken for where a run has ended before its kill
SHORTEST = 0.003  # seconds within which a kill hits what takes less
PHASE_LIMIT = 180.0  # seconds for a run to come to a phase
MARK = "BENCH_KILL"  # a variable that all processes of a run inherit
TELL = f"""
import os
import pytest
from hil.board.board import Board
from hil.board.qemu_driver import HilQemuDriver
from hil.image import workshop

def tell(phase):
    os.write(int(os.environ["{MARK}_FD"]), phase.encode() + b"\\n")

def told(owner, name, phase):
    what = getattr(owner, name)

    def first_tell(*given, **named):
        tell(phase)
        return what(*given, **named)

    setattr(owner, name, first_tell)

told(Board, "_boot", "boot")
told(HilQemuDriver, "save", "save")
told(workshop, "publish", "publish")
told(Board, "_restore", "restore")

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    tell("test")

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    tell("end")
"""


class Pytest:
    """A run of the suite in `directory` that tells of its phases."""

    def __init__(self, directory: Path, output: Path) -> None:
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self._phases, theirs = os.pipe()
        self._told = b""
        with output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-q", "--fresh", "test", "."],
                cwd=directory,
                env={**os.environ, MARK: self.mark, f"{MARK}_FD": str(theirs)},
                pass_fds=[theirs],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        os.close(theirs)

    def tells(self, deadline: float) -> bool:
        """Whether a phase, or the run's end, is told before the monotonic `deadline`."""
        if b"\n" in self._told:
            return True
        return bool(select.select([self._phases], [], [], max(0.0, deadline - time.monotonic()))[0])

    def phase(self) -> str:
        """The next phase, empty at the run's end."""
        deadline = time.monotonic() + PHASE_LIMIT
        while b"\n" not in self._told:
            if not self.tells(deadline):
                raise SystemExit(f"no new phase in {PHASE_LIMIT:g} s")
            data = os.read(self._phases, 4096)
            if not data:
                return ""
            self._told += data
        line, _, self._told = self._told.partition(b"\n")
        return line.decode()

    def over(self) -> None:
        self.process.wait(PHASE_LIMIT)
        os.close(self._phases)

    def left(self) -> list[str]:
        """The processes of this run that are still there."""
        mark, found = f"{MARK}={self.mark}".encode(), []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ")
                    found.append(command.decode("utf-8", "replace")[:90])
            except OSError:  # it has ended, or is nobody's business
                continue
        return found


@dataclass
class Row:
    """What came of the kills in one phase."""

    kills: int = 0
    slowest: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def undisturbed(directory: Path, output: Path) -> dict[str, float]:
    """Let a run go to its end; how many seconds each of its phases takes at most."""
    took: dict[str, float] = {}
    begin, now = time.monotonic(), "start"
    run = Pytest(directory, output)
    while now:
        after = run.phase()
        end = time.monotonic()
        took[now] = max(took.get(now, 0.0), end - begin)
        now, begin = after, end
    run.over()
    if run.process.returncode or run.left():
        raise SystemExit(f"an undisturbed run was not good: {run.left()}\n{output.read_text()[-3000:]}")
    return took


def killed(directory: Path, output: Path, phase: str, number: int, delay: float) -> tuple[Pytest, str]:
    """Kill a run `delay` seconds into its `number`th `phase`; in which phase it was, empty where it had ended."""
    run = Pytest(directory, output)
    now = "start"
    while now and (number := number - (now == phase)):
        now = run.phase()
    end = time.monotonic() + delay
    while now and run.tells(end):
        now = run.phase()
    run.process.kill()
    run.over()
    return run, now


def gone(run: Pytest, row: Row) -> None:
    begin = time.monotonic()
    while left := run.left():
        if time.monotonic() > begin + GONE_LIMIT:
            row.wrong.append(f"still there after {GONE_LIMIT:g} s: {left}")
            return
        time.sleep(0.01)
    row.slowest = max(row.slowest, time.monotonic() - begin)


def shelved() -> list[str]:
    """What is on the shelves of the cache."""
    return sorted(path.name for path in snapshot_store.root().glob("*/*") if path.name != "lock")


def judge(row: Row, transcripts: Path) -> None:
    """See that the snapshot is whole or absent, and nobody's."""
    for lock in snapshot_store.root().glob("*/lock"):
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                row.wrong.append("its lock is still held")
                return
    names = shelved()
    rest = [name for name in names if name != "whole"]
    row.outcomes["rest of a killed one"] += bool(rest)
    if len(names) - len(rest) > 1 or any(name != "staging" and not name.startswith("old-") for name in rest):
        row.wrong.append(f"on the shelves: {names}")
    if "whole" not in names:
        row.outcomes["absent"] += 1
        return
    with Board(
        "qemu-reference", transcripts=transcripts, health_check=lambda board: check_health(Guest(board))
    ) as board:
        try:
            board.fresh()
        except HilError as error:
            row.wrong.append(f"it cannot be restored: {error.brief}")
            return
        if (board.restores, board.boots) != (1, 0):
            row.wrong.append(f"it was not good: {board.restores} restores, {board.boots} boots instead of one restore")
    row.outcomes["whole"] += 1


def cache(directory: Path) -> None:
    """Have a cache of our own below `directory`, with the images of the other one."""
    with Board("qemu-reference") as board:
        board.image()
    images = cache_root() / "images"
    os.environ["XDG_CACHE_HOME"] = str(directory)
    cache_root().mkdir(parents=True)
    (cache_root() / "images").symlink_to(images)


def stock(spare: Path, cold: bool) -> None:
    """Take the snapshot away to `spare`, where a run is to find none; else bring it back where there is none."""
    (directory,) = snapshot_store.root().glob("*/")
    whole = directory / "whole"
    if cold and whole.exists():
        shutil.rmtree(spare, ignore_errors=True)
        whole.rename(spare)
    elif not cold and not whole.exists():
        spare.rename(whole)


def main(kills: int, seed: int) -> int:
    chance = random.Random(seed)
    rows = {phase: Row() for phase in PHASES}
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        cache(root / "cache")
        directory = suite(root / "suite", TESTS, "usleep 300000", TELL)
        output, transcripts = root / "output", root / "ours"
        scratch = root / "tmp"
        scratch.mkdir()
        os.environ["TMPDIR"] = str(scratch)
        usual = undisturbed(directory, output)
        print("usually: " + ", ".join(f"{phase} {usual[phase]:.2f} s" for phase in PHASES) + f"; {load()}", flush=True)
        done = 0
        order: list[str] = []
        while done < kills:
            order = order or chance.sample(PHASES, len(PHASES))
            phase = order.pop()
            stock(root / "spare", phase in COLD)
            number = chance.randint(1, TESTS) if phase in ("restore", "test") else 1
            delay = chance.uniform(0, max(usual[phase], SHORTEST))
            run, hit = killed(directory, output, phase, number, delay)
            if not hit:
                usual[phase] *= QUICKER
                order.append(phase)
                continue
            done, row = done + 1, rows[hit]
            row.kills += 1
            wrong = len(row.wrong)
            gone(run, row)
            judge(row, transcripts)
            for text in row.wrong[wrong:]:
                print(f"kill {done} in {hit}, {delay:.3f} s after the begin of {phase} {number}: {text}", flush=True)
        stock(root / "spare", cold=True)
        undisturbed(directory, output)
        rest = [*(one for one in shelved() if one != "whole"), *(path.name for path in scratch.iterdir())]
        alike = "whole" in shelved()
    print("| phase | kills | all gone after, at most | snapshot whole | absent | with rests | wrong |")
    print("|---|---|---|---|---|---|---|")
    for phase, row in rows.items():
        told = [row.outcomes[one] for one in ("whole", "absent", "rest of a killed one")]
        print(f"| {phase} | {row.kills} | {row.slowest:.2f} s | {' | '.join(map(str, told))} | {len(row.wrong)} |")
    wrong = sum(len(row.wrong) for row in rows.values())
    print(f"after the last, undisturbed run: {'a whole snapshot' if alike else 'NO SNAPSHOT'}, rests: {rest or 'none'}")
    print(f"{done} kills in {time.monotonic() - begin:.0f} s, seed {seed}: {wrong} wrong (bound 0); {load()}")
    return int(bool(wrong or rest or not alike))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    sys.exit(main(*given, *(20, 1)[len(given) :]))
