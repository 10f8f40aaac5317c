"""How long the history needs to take in a large run, and to read the figures of 30 nights."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hil import Clock, Series, ms, p99
from hil.history.rows import RecordedRun, Run, Test
from hil.history.store import History
from hil.measure.decision import decide
from hil.measure.results import CheckResult, SeriesRecord

TESTS, SERIES, SAMPLES = 5000, 2000, 200
NIGHTS, FIGURES = 30, 100
READ = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from hil.history.store import History
with History(Path(sys.argv[1])) as history:
    figures = history.figures(history.runs())
print(f"{time.perf_counter() - start:.3f} {len(figures)}")
"""


def made(ident: str, night: str, began: float, tests: int, series: int) -> RecordedRun:
    random, clock = np.random.default_rng(1), Clock("guest counter", 1.6e-8, "", 1e-5)
    run = Run(ident, night, "job-b", "p", "b", began, began + 60, 0, "done", {})
    several = [
        Test(run=ident, test=name, nodeid=name, suite="s", board="b", clock="real time", outcome="passed", seconds=1.0)
        for name in (f"suites/s/test_a.py::x[b-{n}]" for n in range(tests))
    ]
    records = []
    for number in range(series):
        origin = {"test": f"suites/s/test_a.py::x[b-{number}]", "board": "b", "image": "reference 5f", "module": "n 9a"}
        one = Series("response time", f"n.wasm {number}", random.gamma(9, 1e-3, SAMPLES), clock, provenance=origin)
        records.append(SeriesRecord(one, (CheckResult.of(decide(p99 <= 60 * ms, one)),)))
    return RecordedRun(run, several, records=records)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        large, nights = Path(directory) / "large.sqlite", Path(directory) / "nights.sqlite"
        taken = made("r", "2026-01-01", 1e9, TESTS, SERIES)
        start = time.perf_counter()
        with History(large, write=True) as history:
            history.add(taken)
        took, size = time.perf_counter() - start, large.stat().st_size / 2**20
        print(f"{TESTS} results with {SERIES} series of {SAMPLES} taken in: {took:.2f} s (bound 5 s), {size:.1f} MiB")
        with History(nights, write=True) as history:
            for number in range(NIGHTS):
                history.add(made(f"r{number}", f"night {number:02}", 1e9 + number * 86400, 200, FIGURES))
        command = [sys.executable, "-c", READ, str(nights)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
        took_text, count = done.stdout.split()
        print(f"{count} figures of {NIGHTS} nights with {FIGURES} series, imports and all: {took_text} s (bound 1 s)")


if __name__ == "__main__":
    main()
