"""Two nights of a small suite on the reference image, the second with one failure of each kind and a dead board."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from limits import HANG

ROOT = Path(__file__).parents[2]
SUITE = '''
"""What the runner says, and how fast."""

import pytest
from hil import maximum, ms
from hil.wasm.verdict import exited

WORSE = {worse}
pytestmark = pytest.mark.board


def test_greeting(runner, sample):
    assert runner.run(sample("hello.wasm")).verdict == exited(0)


def test_words(runner, sample):
    run = runner.run(sample("hello.wasm"))
    assert run.lines[0] == ("hello, moon" if WORSE else "hello, sel4")


def test_response(runner, sample, measure):
    series = measure.executions(runner, sample("hello.wasm"), repeats=8)
    measure.check(series, maximum <= (0.1 * ms if WORSE else 10_000 * ms))


@pytest.mark.destructive
def test_silence(guest, runner, sample):
    if WORSE:  # an agent that says nothing
        guest.run("printf '#!/bin/sh\\\\n' > $(command -v wasmedge_emit)", check=True)
    run = runner.run(sample("hello.wasm"))
    assert run.verdict == exited(0), str(run)
'''
PLAN = """
limit = 60
retries = 0

[[job]]
name = "morning"
suites = ["talk"]
boards = ["qemu-reference"]
"""
DEAD = """
[[job]]
name = "dead"
suites = ["answer"]
boards = ["dark.yaml"]
"""
ANSWER = "def test_answer(guest):\n    guest.run('true', check=True)\n"
# a machine without any power in it
DARK = (
    (ROOT / "boards" / "qemu-reference.yaml")
    .read_text()
    .replace("../images", str(ROOT / "images"))
    .replace("HilQemuDriver: {", "HilQemuDriver: {arguments: [-machine, nothing], ")
)


def nights(directory: Path) -> tuple[Path, Path]:
    """Run both in `directory`; the nights' directories, in the order in which they were."""
    assert "-machine, nothing" in DARK
    for path, text in {"talk/test_hello.py": "", "answer/test_answer.py": ANSWER, "dark.yaml": DARK}.items():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(text)
    return _night(directory, worse=False), _night(directory, worse=True)


def _night(directory: Path, *, worse: bool) -> Path:
    (directory / "talk" / "test_hello.py").write_text(SUITE.format(worse=worse))
    (directory / "plan.toml").write_text(PLAN + DEAD * worse)
    command = [sys.executable, "-c", "from hil.cli import main; main()"]
    command += ["nightly", "plan.toml", "--directory", "nights"]
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=HANG,
        capture_output=True,
        text=True,
    )
    assert done.returncode == (1 if worse else 0), done.stdout + done.stderr
    return (directory / "nights" / "latest").resolve()
