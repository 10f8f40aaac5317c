"""Reports: their history, executors, the quality gate, the command."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from merged_results import put, result
from support import until

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import project
from hil.report import build
from hil.report.allure_history import LIMIT, AllureHistory
from hil.report.merge import Part

# history


def point(timestamp: int, *ids: str) -> dict[str, Any]:
    results = {f"h-{one}": {"id": one, "status": "passed", "labels": [], "trace": "x" * 100} for one in ids}
    return {
        "uuid": f"u{timestamp}",
        "name": "n",
        "timestamp": timestamp,
        "testResults": results,
        "metrics": {},
        "url": "",
    }


def history(path: Path, *points: dict[str, Any], junk: str = "") -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in points) + junk)
    return path


def stamps(path: Path) -> list[int]:
    return [json.loads(line)["timestamp"] for line in path.read_text().splitlines()]


def test_a_report_made_again_or_gone_on_with_is_one(tmp_path: Path) -> None:
    path = history(tmp_path / "h", point(1, "a"), point(5, "b", "c"), point(9, "z"))
    points = AllureHistory.read(path)
    points.before(frozenset("bcd"), 7, 3, tmp_path / "past")
    assert stamps(tmp_path / "past") == [1], "neither itself nor what was later"
    points.add(history(tmp_path / "made", point(1, "a"), point(99, "b", "c", "d")), frozenset("bcd"), 7)
    assert stamps(path) == [1, 7, 9], "in order of the runs, not of the reports"
    assert "trace" not in path.read_text().splitlines()[1]


def test_results_that_were_added_to_do_not_hide_what_was_before(tmp_path: Path) -> None:
    """One test was run again into the same directory: the report before is held against it."""
    points = AllureHistory.read(history(tmp_path / "h", point(1, "a", "b")))
    points.before(frozenset(["a", "b2"]), 7, 2, tmp_path / "past")
    assert stamps(tmp_path / "past") == [1]


def test_the_history_has_an_end_and_bears_broken_lines(tmp_path: Path) -> None:
    every = [point(number, f"i{number}") for number in range(1, LIMIT + 1)]
    path = history(
        tmp_path / "h", *every, junk='{"timestamp": "x"}\n[]\n{"timestamp": 3, "testResults": {"a": 1}}\n{"uu'
    )
    points = AllureHistory.read(path)
    assert len(points.points) == LIMIT
    points.before(frozenset(["new"]), 1000, 5000, tmp_path / "past")
    assert stamps(tmp_path / "past") == list(range(LIMIT - 19, LIMIT + 1)), "fewer for many tests"
    points.add(history(tmp_path / "made", point(0, "new")), frozenset(["new"]), 1000)
    assert stamps(path) == [*range(2, LIMIT + 1), 1000]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_a_history_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="cannot read the reports' history"):
        AllureHistory.read(tmp_path)
    (tmp_path / "file").write_text("")
    points = AllureHistory(tmp_path / "file" / "h")
    with pytest.raises(InfrastructureError, match="cannot write the reports' history"):
        points.add(history(tmp_path / "made", point(0, "new")), frozenset(["new"]), 1000)


def test_reports_at_once_are_all_in_their_history(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    readers = [AllureHistory.read(path) for _ in range(8)]  # all before any of them writes
    for number, points in enumerate(readers):
        made = tmp_path / f"made-{number}"
        made.write_text(json.dumps({"timestamp": 1, "testResults": {"k": {"id": str(number)}}}) + "\n")
        points.add(made, frozenset([str(number)]), 1000 + number)
    assert len(AllureHistory.read(path).points) == 8


# executors, the gate, the command


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        (
            {"GITLAB_CI": "true", "CI_JOB_NAME": "hil", "CI_PIPELINE_IID": "7", "CI_JOB_URL": "https://g.example/1"},
            ("GitLab", "hil #7", "https://g.example/1", 7),
        ),
        (
            {
                "GITHUB_ACTIONS": "true",
                "GITHUB_SERVER_URL": "https://g.example",
                "GITHUB_REPOSITORY": "a/b",
                "GITHUB_RUN_ID": "99",
                "GITHUB_RUN_NUMBER": "8",
                "GITHUB_WORKFLOW": "hil",
            },
            ("GitHub Actions", "hil #8", "https://g.example/a/b/actions/runs/99", 8),
        ),
        (
            {"JENKINS_URL": "http://j", "JOB_NAME": "hil", "BUILD_NUMBER": "9", "BUILD_URL": "http://j/9"},
            ("Jenkins", "hil #9", "http://j/9", 9),
        ),
        ({"BUILDKITE": "true", "BUILDKITE_BUILD_URL": "javascript:alert(1)"}, ("Buildkite", "", None, None)),
    ],
)
def test_a_ci_system_is_known_by_its_variables(variables: dict[str, str], expected: tuple[object, ...]) -> None:
    told = build.executor(variables)
    assert told is not None
    assert (told["name"], told["buildName"], told.get("buildUrl"), told.get("buildOrder")) == expected
    assert build.executor(variables, "2026-11-24")["buildName"] == "2026-11-24"  # type: ignore[index]


def test_a_night_is_an_executor_and_a_person_none() -> None:
    assert build.executor({}) is None
    assert build.executor({}, "2026-11-24") == {"name": "hil nightly", "type": "hil", "buildName": "2026-11-24"}


def test_the_gate_is_read_or_refused() -> None:
    told = build.rules(
        '[{"rule": "a", "success": true, "message": "m"}, {"rule": "b", "success": false, "message": "n"}]'
    )
    assert [str(rule) for rule in told] == ["kept: m (a)", "NOT kept: n (b)"]
    gates = [build.Built(Path(), 1, rules).gate_kept for rules in (told[:1], told, ())]
    assert gates == [True, False, False]
    for text in ("", "{}", '[{"rule": 1}]', "[1]"):
        with pytest.raises(InfrastructureError, match=re.escape(repr(text))):
            build.rules(text)


def test_the_command_tells_and_ends_as_the_gate_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def fake(parts: Any, output: Path, *, title: str, history: Path | None) -> build.Built:
        asked.append((parts, output, title, history))
        return build.Built(output, 1, (build.Rule("failures", False, "1 failed"),), ("the run was killed",))

    monkeypatch.setattr(build, "build", fake)
    page = str(tmp_path / "page.html")
    done = CliRunner().invoke(main, ["report", str(tmp_path), "-o", page, "--gate"])
    assert done.exit_code == 1
    assert done.stdout.split() == [page]
    assert "the run was killed" in done.stderr
    assert "gate: NOT kept: 1 failed (failures)" in done.stderr
    done = CliRunner().invoke(main, ["report", "-o", page, "--history-file", str(tmp_path / "h"), "--title", "T"])
    assert (done.exit_code, "gate" in done.stderr) == (0, False)
    assert asked == [
        ([Part(tmp_path)], Path(page), "Hardware-in-the-loop tests", None),
        ([Part(project.current().reports / "results")], Path(page), "T", tmp_path / "h"),
    ]


def test_no_results_and_no_generator_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "none"))):
        build.build([Part(tmp_path / "none")], tmp_path / "page.html", title="T")
    assert sorted(os.listdir(tmp_path)) == [], "nothing is left behind"
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match=re.escape(str(tmp_path / "file" / "page.html"))):
        build.build([Part(tmp_path)], tmp_path / "file" / "page.html", title="T")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match="not installed"):
        build.build([Part(tmp_path)], tmp_path / "page.html", title="T")


@pytest.mark.parametrize(("code", "told"), [("exit 3", "status 3:\nsaid"), ("sleep 9", r"0\.5 s")])
def test_a_generator_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str) -> None:
    tool = tmp_path / "node"
    tool.write_text(f"#!/bin/sh\necho said >&2\n{code}\n")
    tool.chmod(0o755)
    monkeypatch.setattr("hil.report.generator.node", lambda: tool)
    monkeypatch.setattr(build, "LIMIT", 0.5)
    with pytest.raises(InfrastructureError, match=told):
        build.build([Part(put(tmp_path / "r", result("1")))], tmp_path / "page.html", title="T")
    until(lambda: sorted(os.listdir(tmp_path)) == ["node", "r"])


def test_a_report_is_made_where_names_are_not_utf_8(tmp_path: Path) -> None:
    directory = tmp_path / "pr\udcfcfung[1]"
    put(directory / "r", result("1"), {**result("2", "b"), "name": "half \ud83d", "parameters": [None]})
    (directory / "r" / "broken-container.json").write_text("{")
    built = build.build([Part(directory / "r")], directory / "report.html", title="\udcfc")
    assert built.path.is_file()
    assert built.count == 2
    assert (directory / "allure-history.jsonl").is_file()
