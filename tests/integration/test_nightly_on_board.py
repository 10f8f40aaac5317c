"""Nights on the reference image: a real one, then a planted regression beside a board that never comes up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from limits import HANG

ROOT = Path(__file__).parents[2]
HIL = [sys.executable, "-c", "from hil.cli import main; main()"]
PLAN = """
limit = 60
retries = 0

[[job]]
name = "smoke"
suites = ["smoke", "figures"]
boards = ["qemu-reference"]
"""
DEAD = """
[[job]]
name = "dead"
suites = ["smoke"]
boards = ["dark.yaml"]
"""
# a machine without any power in it
DARK = (
    (ROOT / "boards" / "qemu-reference.yaml")
    .read_text()
    .replace("../images", str(ROOT / "images"))
    .replace("HilQemuDriver: {", "HilQemuDriver: {arguments: [-machine, nothing], ")
)
FIGURES = """
import pytest
from hil.measure import Clock, Series, max, s

@pytest.mark.board
def test_x(board, measure):
    clock = Clock("guest counter", resolution=1e-8, floor=1e-6)
    values = [{base} + n * 1e-6 for n in range(40)]
    measure.check(Series("response time", "x.wasm", values, clock, provenance={{"board": board.name}}), max <= 1 * s)
    assert {base} < 0.015, "too slow"
"""


def night(directory):
    command = [*HIL, "nightly", "tiny.toml", "--directory", "nights"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=directory, env=environment, timeout=HANG, capture_output=True, text=True)


def test_a_regression_and_a_dead_board_are_told(tmp_path):
    (tmp_path / "figures").mkdir()
    suite = tmp_path / "figures" / "test_figures.py"
    plan = tmp_path / "tiny.toml"
    suite.write_text(FIGURES.format(base=0.010))
    plan.write_text(PLAN)
    done = night(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ": 6 passed (status 0: good)" in done.stdout
    first = (tmp_path / "nights" / "latest").resolve()
    assert (first / "report.html").stat().st_size > 100_000
    kept = first / "smoke-qemu-reference" / "try-1"
    assert list(kept.glob("transcripts/*/*.raw")), "transcripts are kept with the night"

    assert "-machine, nothing" in DARK
    (tmp_path / "dark.yaml").write_text(DARK)
    suite.write_text(FIGURES.format(base=0.020))
    plan.write_text(PLAN + DEAD)
    done = night(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    text = (tmp_path / "nights" / "latest" / "summary.md").read_text()
    assert "5 passed, 6 failed" in text
    (dead,) = (line for line in text.splitlines() if line.startswith("- **dead board** (infrastructure) dark "))
    assert "QEMU did not start" in dead
    (failure,) = (line for line in text.splitlines() if line.startswith("- **new failure** (image) "))
    assert f"test_figures.py::test_x[qemu-reference] (passed on {first.name}): AssertionError: too slow" in failure
    assert len(text.splitlines()) <= 40
