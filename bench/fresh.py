"""How long do tests take that each get a fresh, proven board? Usage: fresh.py [TESTS]

A suite of 100 tests that run `true` in the guest, by pytest with `--fresh test` and, as the peer, on one board for all.
Also what the other benches of whole runs share: how such a suite is made and run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BOUND = 90.0  # seconds for 100 tests
LIMIT = 3600.0  # seconds for a run
INI = "[pytest]\naddopts = -p no:hypothesispytest -p no:cacheprovider\nhil_board = qemu-reference\n"
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


def main(tests: int) -> int:
    with tempfile.TemporaryDirectory() as name:
        run(suite(Path(name) / "one", 1, "true"), 1)  # makes the snapshot where there is none
        directory = suite(Path(name) / "many", tests, "true")
        print(load(), flush=True)
        fresh = run(directory, tests, "--fresh", "test")
        print(f"{tests} tests, each on a fresh board: {fresh.seconds:.1f} s, {load()}", flush=True)
        one = run(directory, tests, "--fresh", "session")
    each = (fresh.span - one.span) / max(1, tests - 1)
    print(f"{tests} tests on one board: {one.seconds:.1f} s; a fresh one costs {each:.2f} s more a test")
    bound = BOUND * tests / 100
    print(f"{fresh.seconds:.1f} s (bound {bound:.0f}), of which {fresh.seconds - fresh.span:.1f} s are not tests")
    return int(fresh.seconds > bound)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))
