"""Reports by the real generator, and what it says in them: transitions, categories, known issues, the gate."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from limits import HANG, processor_time

from hil.report import kinds
from hil.report.build import HISTORY, Built, build
from hil.report.labels import digest
from hil.report.merge import Part

LOAD = [] if any(point.value == "hil.plugin" for point in entry_points(group="pytest11")) else ["-p", "hil.plugin"]
FILE = re.compile(r'd\("([^"]+)","([^"]*)"\)')


def data(page: Path) -> dict[str, Any]:
    """What the generator has put into a page, by its names."""
    found = FILE.findall(page.read_text("utf-8"))
    return {name: json.loads(base64.b64decode(text)) for name, text in found if name.endswith(".json")}


def shown(page: Path) -> dict[str, Any]:
    """The page's tests by name, without tries that others followed."""
    every = [one for name, one in data(page).items() if name.startswith("data/test-results/")]
    return {one["name"]: one for one in every if not one["isRetry"]}


def category(one: Mapping[str, Any]) -> list[str]:
    return [found["name"] for found in one["categories"]]


def label(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def put(directory: Path, name: str, status: str, *labels: dict[str, str], **more: Any) -> None:
    directory.mkdir(exist_ok=True)
    now = int(1000 * time.time())
    facts = {"uuid": f"{directory} {name}", "name": name, "testCaseId": name, "status": status, "labels": [*labels]}
    facts |= {"start": now, "stop": now + 5, "statusDetails": {"message": f"{name} went wrong"}, **more}
    (directory / f"{digest(name)}-result.json").write_text(json.dumps(facts))


SUITE = """
'''Nights.'''
import os, pytest
night = int(os.environ["NIGHT"])
def test_good(): pass
def test_regressed(): assert night < 3
def test_fixed(): assert night == 3
def test_still(): assert 0
def test_flaky(): assert night == 2
def test_not_there_yet(): pytest.skip("x")
if night == 3:
    def test_added(): assert 0
@pytest.mark.known_issue("77", "it jumps")
def test_known(): assert night < 3
@pytest.mark.known_issue("78", "it was mended", until="2001-01-01")
def test_overdue(): pass
"""


def night(directory: Path, number: int, *options: str) -> Built:
    """A run of the suite in a checkout of its own, and its report; they share nothing but the history."""
    checkout = directory / f"checkout {number}"
    (checkout / "suites" / "smoke").mkdir(parents=True)
    (checkout / "suites" / "smoke" / "test_x.py").write_text(SUITE)
    (checkout / "pyproject.toml").write_text("[tool.hil]\ntracker = 'https://tracker.example/{}'\n")
    command = [sys.executable, "-m", "pytest", *LOAD, "suites", "-p", "no:cacheprovider", "--alluredir", "results"]
    environment = {**os.environ, "NIGHT": str(number)}
    done = subprocess.run(
        [*command, *options], cwd=checkout, env=environment, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 1, done.stdout
    return build(
        [Part(checkout / "results")],
        directory / f"{number}.html",
        title=f"Night {number}",
        history=directory / HISTORY,
        night=f"night {number}",
    )


@pytest.mark.slow  # three reports; test_report_in_browser has two nights
def test_three_nights(tmp_path: Path) -> None:
    """New failures, flaky ones, fixed ones: over nights on checkouts in different places, one with two workers."""
    night(tmp_path, 1)
    night(tmp_path, 2, "-n", "2")
    third = night(tmp_path, 3)
    found = shown(third.path)
    transitions = {name: one.get("transition") for name, one in found.items()}
    assert transitions == {
        "test_good": None,
        "test_regressed": "regressed",
        "test_fixed": "fixed",
        "test_still": None,
        "test_flaky": "regressed",
        "test_not_there_yet": None,
        "test_added": "new",
        "test_known": "regressed",
        "test_overdue": None,
    }
    assert [name for name, one in found.items() if one["flaky"]] == ["test_flaky"]
    assert [len(found[name]["history"]) for name in ("test_good", "test_added")] == [2, 0]
    text = third.path.read_text("utf-8")
    options = json.loads(re.search(r"allureReportOptions = (\{.*\})", text)[1])  # type: ignore[index]
    assert options["executor"]["buildName"] == "night 3"
    assert options["reportName"] == "Night 3"
    assert "googletagmanager" not in text

    widgets = data(third.path)
    (known,) = widgets["widgets/resolution-categories.json"]["groups"]
    assert (known["issue"]["id"], known["comment"]) == ("77", "77: it jumps")
    assert [one["name"] for one in known["testResults"]] == ["test_known"]
    assert found["test_known"]["links"] == [{"name": "77", "url": "https://tracker.example/77", "type": "issue"}]
    rules = {rule["rule"]: rule for rule in widgets["widgets/quality-gate.json"]["default"]}
    names = {one["id"]: name for name, one in found.items()}
    counted = {names[one] for one in rules["failures/maxFailures"]["testResults"]}
    assert counted == {"test_regressed", "test_still", "test_flaky", "test_added"}, "all but the known one"
    assert [(rule.name, rule.kept) for rule in third.gate] == [
        ("failures/maxFailures", False),
        ("tests/minTestsCount", True),
        ("tests/allRun", True),
    ]

    history = (tmp_path / HISTORY).read_text()
    parts = [Part(tmp_path / "checkout 3" / "results")]
    again = build(parts, tmp_path / "again.html", title="Night 3", history=tmp_path / HISTORY)
    assert {name: one.get("transition") for name, one in shown(again.path).items()} == transitions
    assert len((tmp_path / HISTORY).read_text().splitlines()) == len(history.splitlines()) == 3, "it is no fourth night"


def test_every_failure_has_one_category(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for kind in kinds.KINDS:
        fault = kind if kind in ("test", "configuration", "infrastructure") else "image"
        status = {"not-run": "unknown", "bound-marginal": "passed"}.get(kind, "failed")
        stage = [label("stage", "login")] if kind == "boot" else []
        put(results, kind, status, label("kind", kind), label("fault", fault), *stage)
    for fault in ("image", "test", "configuration", "infrastructure"):
        put(results, f"old {fault}", "broken", label("fault", fault))
    put(results, "theirs", "broken")
    put(results, "good", "passed")
    put(results, "tried again", "passed", label("fault", "infrastructure"))
    made = build([Part(results)], tmp_path / "report.html", title="T")
    found = shown(made.path)
    assert made.count == len(found) == len(kinds.KINDS) + 7
    of_kinds = [category(found[kind]) for kind in kinds.KINDS]
    assert all(len(names) == 1 for names in of_kinds)
    assert len({names[0] for names in of_kinds}) == len(kinds.KINDS), "one each"
    assert category(found["old image"]) == category(found["expectation"])
    for fault in ("test", "configuration", "infrastructure"):
        assert category(found[f"old {fault}"]) == category(found[fault])
    assert category(found["theirs"]) == ["Other: nobody has said whose fault it is"]
    assert category(found["good"]) == category(found["tried again"]) == []
    store = data(made.path)["widgets/categories.json"]
    groups = {node["name"] for node in store["nodes"].values() if node["type"] == "group"}
    assert "stage: login" in groups
    listed = [store["nodes"][root]["name"] for root in store["roots"]]
    assert listed == [names[0] for names in of_kinds] + ["Other: nobody has said whose fault it is"], "in this order"
    gate = {rule.name: rule.kept for rule in made.gate}
    assert gate == {"failures/maxFailures": False, "tests/minTestsCount": True, "tests/allRun": False}


def test_what_is_known_without_a_tracker_is_accepted_and_the_gate_kept(tmp_path: Path) -> None:
    results = tmp_path / "results"
    put(results, "known", "failed", label("known", "77"), label("known-text", "it jumps"), label("kind", "died"))
    put(results, "good", "passed", label("host", "qemu (box-1)"), label("thread", "box-1"))
    made = build([Part(results)], tmp_path / "report.html", title="T")
    assert made.gate_kept, made.gate
    (group,) = data(made.path)["widgets/resolution-categories.json"]["groups"]
    assert (group["resolution"], group["comment"]) == ("accepted", "77: it jumps")
    (on_line,) = data(made.path)["widgets/timeline.json"]
    assert (on_line["host"], on_line["thread"]) == ("qemu (box-1)", "box-1")


def test_runs_of_a_night_are_told_apart_and_their_tries_not(tmp_path: Path) -> None:
    for number in range(3):
        directory = tmp_path / str(number)
        status = "broken" if number == 0 else "passed"
        put(directory, "test_x", status, label("_chosen", "a"), uuid=str(number), start=1000 + number, stop=2000)
        (directory / "environment.properties").write_text(f"board = a\nimage.sha256 = {1 + number // 2}\n")
    parts = [Part(tmp_path / str(number), run) for number, run in enumerate(("smoke-a", "smoke-a", "other-a"))]
    made = build(parts, tmp_path / "report.html", title="T")
    every = [one for name, one in data(made.path).items() if name.startswith("data/test-results/")]
    told = sorted((one["groupedLabels"]["run"][0], one["isRetry"], one["retriesCount"]) for one in every)
    assert told == [("other-a", False, 0), ("smoke-a", False, 1), ("smoke-a", True, 0)]
    assert len({one["historyId"] for one in every}) == 2
    environment = {one["name"]: one["values"] for one in data(made.path)["widgets/allure_environment.json"]}
    assert environment == {"board": ["a"], "image sha256": ["1 (smoke-a); 2 (other-a)"]}
    assert made.gate_kept


@pytest.mark.slow
def test_a_killed_run_in_the_report(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import os, signal\ndef test_a(): pass\ndef test_b(): os.kill(os.getpid(), signal.SIGKILL)\ndef test_c(): pass\n"
    )
    command = [sys.executable, "-m", "pytest", *LOAD, "-p", "no:cacheprovider", "--alluredir", "results"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=HANG).returncode < 0
    made = build([Part(tmp_path / "results")], tmp_path / "report.html", title="T")
    told = {name: (one["status"], category(one)) for name, one in shown(made.path).items()}
    assert told == {
        "test_a": ("passed", []),
        "test_b": ("broken", ["Run: killed while this test ran"]),
        "test_c": ("unknown", ["Run: not run"]),
    }
    (error,) = data(made.path)["widgets/globals.json"]["errors"]
    assert error["message"] == made.notes[0]
    assert "killed" in error["message"]
    assert not made.gate_kept


@pytest.mark.slow
def test_five_thousand_results_take_their_time_and_no_more(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for number in range(5000):
        put(results, f"test_{number}", "passed", label("epic", f"suite {number % 10}"), label("board", "qemu"))
    with processor_time() as spent:
        made = build([Part(results)], tmp_path / "report.html", title="T")
    assert made.count == 5000
    assert spent() < 60
