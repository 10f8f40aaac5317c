"""A run on the reference image that is killed in the middle of a test: nothing that it had told is lost.

Its conftest records what the hooks for other plugins get from the real image.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from limits import HANG
from support import until

from hil.history.ingest import add
from hil.history.store import History

ROOT = Path(__file__).parents[2]
HELLO = ROOT / "wasm_samples" / "hello.wasm"
CONFTEST = """
import json

def note(hook, **facts):
    with open("hooks.jsonl", "a") as file:
        file.write(json.dumps({"hook": hook, **facts}) + "\\n")

def pytest_hil_board_up(board, guest, up):
    note("up", board=up.board, image=up.image, sha256=up.image_sha256, kind=up.kind, clock=up.clock, user=guest.run("id -u").text)

def pytest_hil_execution(item, execution):
    note("execution", test=item.name, call=execution.call, verdict=str(execution.verdict), intact=execution.intact)

def pytest_hil_series(item, series, checks):
    note("series", test=item.name, quantity=series.quantity, n=len(series), outcomes=[str(check.outcome) for check in checks])

def pytest_hil_board_down(guest, down):
    note("down", reason=down.reason, usable=down.usable, log=guest.run("dmesg", timeout=20).text)
"""
SUITE = f"""
import time
import pytest
from hil import maximum, s

@pytest.mark.board
def test_measured(runner, measure):
    assert runner.run({str(HELLO)!r}).good
    series = measure.executions(runner, {str(HELLO)!r}, repeats=5, limit=10)
    measure.check(series, maximum <= 10 * s)

@pytest.mark.board
def test_cut(runner, sample, measure):
    measure.executions(runner, sample("hello.wasm"), repeats=3)
    measure.flush()
    open("here", "w").close()
    time.sleep(600)
"""


@pytest.mark.slow  # tests/unit/test_history_runs.py kills a run whose board is a small machine
def test_a_killed_run_is_in_the_history_with_its_figures(tmp_path):
    suite = tmp_path / "mine"
    suite.mkdir()
    (suite / "test_mine.py").write_text(SUITE)
    (suite / "conftest.py").write_text(CONFTEST)
    command = [sys.executable, "-m", "pytest", f"--rootdir={tmp_path}", "-q", "-p", "no:cacheprovider", "mine"]
    command += ["--board=qemu-reference", "--hil-history", "h.sqlite"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        until(lambda: (tmp_path / "here").exists() or process.poll() is not None, HANG)
        assert process.poll() is None, (tmp_path / "output").read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    (journal,) = (tmp_path / "reports" / "transcripts").glob("*/journal.jsonl")
    with History(tmp_path / "h.sqlite", write=True) as history:
        added = add(history, [journal.parent])
        assert (added.runs, added.killed, added.notes) == (1, 1, [])
        (run,) = history.runs()
        measured, cut = history.tests([run])
        assert (measured.test, measured.suite, measured.outcome) == (
            *("mine/test_mine.py::test_measured[qemu-reference]", "mine", "passed"),
        )
        assert (cut.outcome, cut.cause, cut.board) == ("not run", "it was cut short", "qemu-reference")
        assert measured.image == "reference"
        figures = history.figures([run])
        checked = [figure for figure in figures if figure.bound is not None]
        assert [(figure.name, figure.test, figure.outcome, figure.n) for figure in checked] == [
            ("max", measured.test, "pass", 5),
        ]
        assert checked[0].image_sha256 == measured.image_sha256 == run.facts["image sha256"]
        assert {figure.test.partition("[")[0].rpartition("_")[2] for figure in figures} == {"measured", "cut"}
        assert [boot.fault for boot in history.boots([run])] == [""] * len(history.boots([run]))
        assert Path(measured.transcript).is_file()
    hooks = [json.loads(line) for line in (tmp_path / "hooks.jsonl").read_text().splitlines()]
    assert [event["hook"] for event in hooks if event["hook"] != "series"] == ["up", "execution", "down", "up"]
    (up, again), (down,) = (
        [event for event in hooks if event["hook"] == "up"],
        [event for event in hooks if "log" in event],
    )
    assert (up["board"], up["image"], up["kind"], up["user"]) == ("qemu-reference", "reference", "restore", "0\n")
    assert up["sha256"] == measured.image_sha256
    assert "virtual time" in up["clock"]
    assert again["kind"] == "restore"
    (execution,) = [event for event in hooks if event["hook"] == "execution"]
    assert (execution["test"], execution["call"]) == ("test_measured[qemu-reference]", "hello.wasm")
    assert (execution["verdict"], execution["intact"]) == ("exited(0)", True)
    series = [(event["test"], event["quantity"], event["n"], event["outcomes"]) for event in hooks if "n" in event]
    assert ("test_measured[qemu-reference]", "response time", 5, ["pass"]) in series
    assert ("test_cut[qemu-reference]", "response time", 3, []) in series
    assert (down["reason"], down["usable"]) == ("fresh", True)
    assert "Linux version" in down["log"]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[0]["id"] == run.id
