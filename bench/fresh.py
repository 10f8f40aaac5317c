"""How long do tests take that each get a fresh, checked board, with spares and without? Usage: fresh.py [TESTS [RUNS]]

A suite of 100 tests that run `true` in the guest, by pytest with `--fresh test`: with the default number of spares,
with one, without any and, as the peer, on one board for all. Who goes first alternates between rounds.
Also what the other benches of whole runs share: how such a suite is made and run.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BOUND = 45.0  # seconds for 100 tests with spares
LIMIT = 3600.0  # seconds for a run
INI = "[pytest]\naddopts = -p no:hypothesispytest -p no:cacheprovider --board qemu-reference\n"
WAYS = {
    "spares": ("--fresh", "test"),
    "one spare": ("--fresh", "test", "--hil-spare", "1"),
    "no spare": ("--fresh", "test", "--hil-spare", "0"),
    "one board": ("--fresh", "session"),
}
# monotonic stamps of one machine: those of workers are comparable
NOTES = """
import os, time
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    begin = time.monotonic()
    yield
    with open(os.environ["BENCH_NOTES"], "a") as file:
        file.write(f"{begin} {time.monotonic()}\\n")
"""


@dataclass(frozen=True)
class Run:
    """A good run of pytest. `seconds` is the whole of it, `span` from its first test's begin to its last one's end."""

    seconds: float
    span: float


def suite(directory: Path, tests: int, command: str, conftest: str = NOTES) -> Path:
    """Write a suite of `tests` that run `command` in the guest into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "pytest.ini").write_text(INI)
    (directory / "conftest.py").write_text(conftest)
    (directory / "test_generated.py").write_text(
        f"import pytest\n\n\n@pytest.mark.parametrize('number', range({tests}))\ndef test_one(guest, number):\n"
        f"    guest.run({command!r}, timeout=60, check=True)\n"
    )
    return directory


def run(directory: Path, tests: int, *options: str) -> Run:
    """Run the suite in `directory`, and see that all its `tests` passed."""
    with tempfile.NamedTemporaryFile() as notes:
        begin = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, "."],
            cwd=directory,
            env={**os.environ, "BENCH_NOTES": notes.name},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
        )
        seconds = time.monotonic() - begin
        stamps = [float(word) for word in Path(notes.name).read_text().split()]
    if done.returncode or not re.search(rf"\b{tests} passed\b", done.stdout) or "no snapshot" in done.stdout:
        raise SystemExit(f"the run was not good, status {done.returncode}:\n{done.stdout[-4000:]}")
    return Run(seconds, max(stamps) - min(stamps))


def load() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"


def main(tests: int, rounds: int) -> int:
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        run(suite(Path(name) / "one", 1, "true"), 1)  # makes the snapshot where there is none
        directory = suite(Path(name) / "many", tests, "true")
        for number in range(rounds):
            order = list(WAYS)
            for way in order[number % len(order) :] + order[: number % len(order)]:
                runs[way].append(run(directory, tests, *WAYS[way]))
                print(f"{way}: {runs[way][-1].seconds:.1f} s, {load()}", flush=True)
    for way in ("spares", "one spare", "no spare"):
        pairs = list(zip(runs[way], runs["no spare"], runs["one board"], strict=True))
        each = statistics.median((fresh.span - one.span) / max(1, tests - 1) for fresh, _, one in pairs)
        ratio = statistics.median(fresh.seconds / without.seconds for fresh, without, _ in pairs)
        seconds = statistics.median(fresh.seconds for fresh, *_ in pairs)
        print(
            f"{way}: {seconds:.1f} s, {ratio:.2f} of no spare; a fresh board costs {each:.2f} s more a test than none"
        )
    seconds, bound = statistics.median(each.seconds for each in runs["spares"]), BOUND * tests / 100
    print(f"{seconds:.1f} s (bound {bound:.0f})")
    return int(seconds > bound)


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sys.exit(main(words[0] if words else 100, words[1] if len(words) > 1 else 1))
