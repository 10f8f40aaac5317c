"""Runs that were cut short are completed from their journals."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from limits import HANG
from merged_results import combined, got, named, put, result, tags

from hil.history import journal
from hil.history.journal import Head
from hil.report.merge import Part, merge

SUITE = """
import os, signal, pytest
def test_before(): pass
def test_during():
    if os.environ.get("KILL"): os.kill(os.getpid(), signal.SIGKILL)
@pytest.mark.parametrize("n", [1, 2])
def test_after(n): pass
"""


def spend(directory: Path, *, kill: str = "") -> int:
    (directory / "suite").mkdir(exist_ok=True)
    (directory / "suite" / "test_x.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "hil.plugin", "-p", "allure_pytest.plugin", "suite"]
    command += ["-p", "no:cacheprovider", "--alluredir", "r"]
    environment = {**os.environ, "KILL": kill, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # labgrid's takes a second
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, timeout=HANG).returncode


def test_a_killed_run_is_shown_as_killed(tmp_path: Path) -> None:
    """Then the suite is run again, whole, into the same directory."""
    results = tmp_path / "r"
    assert spend(tmp_path, kill="yes") == -signal.SIGKILL
    kept = set(got(results))
    assert len(kept) == 1
    merged, found = combined(tmp_path, Part(results))
    told = {one["name"]: (one["status"], tags(one, "kind")) for one in found.values()}
    assert told == {
        "test_before": ("passed", []),
        "test_during": ("broken", ["killed"]),
        "test_after[1]": ("unknown", ["not-run"]),
        "test_after[2]": ("unknown", ["not-run"]),
    }
    (during,) = (one for one in found.values() if one["name"] == "test_during")
    assert during["statusDetails"]["message"]
    assert tags(during, "fault") == ["infrastructure"]
    (note,) = merged.notes
    assert "killed" in note
    assert "3 of 4" in note
    (globals_,) = (tmp_path / "merged").glob("*-globals.json")
    assert json.loads(globals_.read_text())["errors"][0]["message"] == note
    again = tmp_path / "again"
    again.mkdir()
    assert merge([Part(results)], again).ids == merged.ids, "made again it is the same"
    assert set(got(results)) == kept, "the user's results are left alone"

    assert spend(tmp_path) == 0
    assert len(list(results.glob("journal*.jsonl"))) == 2
    whole = {one["name"]: one for uuid, one in got(results).items() if uuid not in kept}
    assert len(whole) == 4
    for one in found.values():
        same = whole[one["name"]]
        assert one["testCaseId"] == same["testCaseId"], "its history goes on"
        assert one["fullName"] == same["fullName"]
        for name in ("epic", "suite", "subSuite", "feature"):
            assert tags(one, name) == tags(same, name)
    both = tmp_path / "both"
    both.mkdir()
    last = merge([Part(results)], both)
    assert len(got(both)) == 8
    assert last.ids == {named(one["uuid"]) for one in whole.values()}, "what the killed run lacks is an earlier try"


def write(path: Path, *lines: dict[str, Any], ended: bool = False, **head: Any) -> Path:
    first = {"journal": journal.VERSION, "time": 1.0, "id": "run", "root": "/x", "clock": "real time", **head}
    text = [first, *lines, *([{"end": 2, "time": 9.0}] if ended else [])]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in text))
    return path


TESTS = ["s/test_x.py::test_a[+lab=box-x]", "s/test_x.py::test_b[+lab=box]"]
CHOICES = {"+lab=box": ""}


def test_tests_on_a_place_keep_their_names(tmp_path: Path) -> None:
    """Which board a place has is known from the tests that had it."""
    there = result(
        "1", "s/test_x.py::test_a[stub-x]", _run="run", _node=TESTS[0], _chosen="+lab=box", board="stub", epic="mine"
    )
    there["parameters"] = [{"name": name, "value": name} for name in ("board", "image", "clock")]
    part = Part(put(tmp_path / "r", there), "job-box", write(tmp_path / "j", {"collected": TESTS}, choices=CHOICES))
    merged, found = combined(tmp_path, part)
    (made,) = (one for uuid, one in found.items() if uuid != "1")
    assert made["testCaseId"] == hashlib.md5(b"s/test_x.py::test_b[stub]").hexdigest()
    assert {one["name"]: one["value"] for one in made["parameters"]} == {
        "board": "stub",
        "image": "image",
        "clock": "clock",
    }
    assert (tags(made, "epic"), tags(made, "run")) == (["mine"], ["job-box"])
    assert merged.notes[0].startswith("job-box: ")
    assert "killed" in merged.notes[0]


@pytest.mark.parametrize(("ended", "why"), [(True, "status 2"), (False, "killed")])
def test_results_that_were_not_written_are_made_of_the_journal(tmp_path: Path, ended: bool, why: str) -> None:
    names = [f"s/test_x.py::test_{name}" for name in ("pass", "fail", "skip", "none")]
    lines = [{"collected": names}]
    for name, outcome in zip(names, ("passed", "failed", "skipped"), strict=False):
        more = {"fault": "image", "cause": "GuestError: no"} if outcome == "failed" else {}
        lines += [{"begin": name, "time": 2.0}]
        lines += [{"test": name, "when": "call", "outcome": outcome, "seconds": 1.0, **more}]
        lines += [{"test": name, "when": "teardown", "outcome": "passed", "seconds": 0.0}]
    part = Part(tmp_path / "r", journal=write(tmp_path / "j", *lines, ended=ended))
    _, found = combined(tmp_path, part)
    told = {one["name"]: (one["status"], tags(one, "kind")) for one in found.values()}
    assert told == {
        "test_pass": ("passed", []),
        "test_fail": ("failed", ["expectation"]),
        "test_skip": ("skipped", []),
        "test_none": ("unknown", ["not-run"]),
    }
    messages = {one["name"]: one["statusDetails"]["message"] for one in found.values()}
    assert all(why in message for message in messages.values())
    assert "GuestError: no" in messages["test_fail"]


def test_a_run_that_goes_on_is_told_as_such(tmp_path: Path) -> None:
    head = Head.here()
    part = Part(tmp_path / "r", journal=write(tmp_path / "j", {"collected": ["a.py::a", "a.py::b"]}, **head))
    put(tmp_path / "r", result("1", _run="run", _node="a.py::a", start=5000))
    merged, found = combined(tmp_path, part)
    assert ["1 of 2" in note for note in merged.notes] == [True]
    assert set(found) == {"1"}


def test_a_run_of_another_machine_goes_on_while_it_tells(tmp_path: Path) -> None:
    path = write(tmp_path / "j", {"collected": ["a.py::a"]}, host="elsewhere", pid=1)
    merged, _ = combined(tmp_path, Part(tmp_path / "r", journal=path))
    assert "0 of 1" in merged.notes[0]
    os.utime(path, (time.time() - 7200,) * 2)
    (tmp_path / "more").mkdir()
    assert "killed" in merge([Part(tmp_path / "r", journal=path)], tmp_path / "more").notes[0]


@pytest.mark.parametrize("text", ["", "x\n", '{"collected": ["a"]}\n', '{"journal": 1, "ti', "[]\n"])
def test_a_journal_that_says_nothing_adds_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "j").write_text(text)
    assert combined(tmp_path, Part(tmp_path, journal=tmp_path / "j"))[0].count == 0


def test_repetitions_keep_their_numbers(tmp_path: Path) -> None:
    names = [f"s/test_x.py::test_a[b-{number}]" for number in (1, 2)]
    path = write(tmp_path / "j", {"collected": names}, choices={"b": "b"}, repeat=2)
    _, found = combined(tmp_path, Part(tmp_path / "r", journal=path))
    assert {one["testCaseId"] for one in found.values()} == {hashlib.md5(b"s/test_x.py::test_a[b]").hexdigest()}
    numbers = [p["value"] for one in found.values() for p in one["parameters"] if p["name"] == "repetition"]
    assert sorted(numbers) == ["1", "2"]


def test_a_clock_that_is_set_back_counts_no_test_twice(tmp_path: Path) -> None:
    """A real run, whose results are then as if the clock had gone back an hour after its first test."""
    assert spend(tmp_path) == 0
    for path in (tmp_path / "r").glob("*-result.json"):
        facts = json.loads(path.read_text())
        for name in ("start", "stop"):
            facts[name] -= 3_600_000
        path.write_text(json.dumps(facts))
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert (len(found), merged.count, merged.notes) == (4, 4, [])


def test_of_two_runs_in_one_directory_each_is_completed_by_its_own(tmp_path: Path) -> None:
    """A run that was killed beside one that was not, at the same time, on the same tests."""
    write(tmp_path / "r" / "journal-1.jsonl", {"collected": ["s/test_x.py::test_a"]}, id="killed")
    write(tmp_path / "r" / "journal.jsonl", {"collected": ["s/test_x.py::test_a"]}, ended=True, id="whole")
    put(tmp_path / "r", result("1", start=2000, _run="whole", _node="s/test_x.py::test_a"))
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert merged.count == 2
    assert sorted(one["status"] for one in found.values()) == ["passed", "unknown"]
