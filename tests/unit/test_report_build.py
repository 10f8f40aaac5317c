"""What is made of results before the generator has them: merged runs, killed runs, history, known issues, executors."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from limits import HANG
from support import until

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.history import journal
from hil.history.journal import Head
from hil.report import build, gate
from hil.report import merge as merge_module
from hil.report.allure_history import LIMIT, AllureHistory
from hil.report.executor import executor
from hil.report.labels import history_id
from hil.report.merge import Issue, Merged, Part, merge


def result(uuid: str, case: str = "case", status: str = "passed", start: int = 1000, **labels: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": case,
        "testCaseId": case,
        "status": status,
        "start": start,
        "stop": start + 10,
        "labels": [{"name": name.replace("__", "-"), "value": value} for name, value in labels.items()],
        "parameters": [{"name": "board", "value": "b"}, {"name": "what", "value": "<object at 0x1>", "excluded": True}],
    }


def put(directory: Path, *results: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for one in results:
        (directory / f"{one['uuid']}-result.json").write_text(json.dumps(one))
    return directory


def got(directory: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in directory.glob("*-result.json")]
    return {one["uuid"]: one for one in found}


def combined(tmp_path: Path, *parts: Part) -> tuple[Merged, dict[str, dict[str, Any]]]:
    output = tmp_path / "merged"
    output.mkdir()
    return merge(parts, output), got(output)


def named(uuid: str) -> str:
    return hashlib.md5(uuid.encode()).hexdigest()


def tags(one: dict[str, Any], name: str) -> list[str]:
    return [label["value"] for label in one["labels"] if label["name"] == name]


# merge


def test_runs_become_one_and_are_left_as_they_are(tmp_path: Path) -> None:
    for run in ("a", "b"):
        put(tmp_path / run, result(run, f"case {run}"))
        (tmp_path / run / f"{run}-attachment.txt").write_text(run)
        (tmp_path / run / "environment.properties").write_text(f"board = {run}\n")
        (tmp_path / run / "half.tmp").write_text("x")
    (tmp_path / "b" / "half-result.json").write_text('{"uuid"')
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    merged, found = combined(tmp_path, *(Part(tmp_path / run, run) for run in ("a", "b", "gone")))
    output = tmp_path / "merged"
    names = ["a-attachment.txt", "a-result.json", "b-attachment.txt", "b-result.json", "environment.properties"]
    assert sorted(os.listdir(output)) == names
    assert (output / "environment.properties").read_text() == "board = a (a); b (b)\n"
    assert {uuid: tags(one, "run") for uuid, one in found.items()} == {"a": ["a"], "b": ["b"]}
    assert (merged.count, merged.broken, len(merged.notes)) == (2, 1, 1)
    assert "half-result.json" in merged.notes[0]
    assert (merged.began, merged.ended) == (1000, 1010)
    assert {path: path.read_bytes() for path in before} == before


def test_tries_of_one_test_stay_one_test(tmp_path: Path) -> None:
    """A second try, also of a run, and also at another place where any will do."""
    put(tmp_path / "try-1", result("1", status="broken", start=1, _chosen="+lab=box", _node="n"))
    put(tmp_path / "try-2", result("2", start=2, _chosen="+lab=box", _node="n"))
    merged, found = combined(tmp_path, Part(tmp_path / "try-1", "run"), Part(tmp_path / "try-2", "run"))
    assert found["1"]["parameters"] == found["2"]["parameters"]
    assert merged.ids == {named("2")}, "the last counts"


def test_a_test_in_two_runs_or_on_two_places_is_two(tmp_path: Path) -> None:
    one = put(tmp_path / "one", result("1", _chosen="place:a"), result("2", _chosen="place:b"))
    two = put(tmp_path / "two", result("3", _chosen="place:a"))
    (two / "3-result.json").rename(two / "1-result.json")  # of the same name as another one's
    merged, found = combined(tmp_path, Part(one, "smoke-a"), Part(two, "again-a"))
    told = {uuid: [(p["name"], p["value"]) for p in one["parameters"][2:]] for uuid, one in found.items()}
    assert told == {"1": [], "2": [("chosen", "place:b")], "3": [("run", "again-a")]}
    assert len(merged.ids) == 3
    assert found["1"].get("historyId") is None, "who is alone keeps the id that is the same by hand and in a night"
    assert len({one["historyId"] for uuid, one in found.items() if uuid != "1"}) == 2


def test_ids_are_reckoned_as_the_generator_does() -> None:
    """testCaseId and the parameters that count, sorted, by MD5: see @allurereport/core, store/convert.js."""
    expected = f"{named('case')}.{named('board:b,clock:real')}"
    assert history_id("case", [("clock", "real"), ("board", "b")]) == expected


def test_results_of_others_are_taken_as_they_are(tmp_path: Path) -> None:
    put(tmp_path / "r", {"uuid": "x", "status": "passed"}, {"uuid": "y", "labels": None, "parameters": None})
    (tmp_path / "r" / "list-result.json").write_text("[]")
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert set(found) == {"x", "y"}
    assert (merged.count, merged.broken, len(merged.ids)) == (2, 1, 2)


# known issues


def test_known_issues_become_allure_s_rules(tmp_path: Path) -> None:
    url = "https://tracker.example/7/show"
    one = result("1", "a", "failed", known="7", known__text="it jumps", _known_url=url)
    one["statusDetails"] = {"known": True, "message": "x"}
    put(
        tmp_path / "r",
        one,
        result("2", "b", "broken", known="7", known__text="it jumps", _known_url=url),
        result("3", "c", "failed", known="no url", known__text="no tracker"),
        result("4", "d", "passed", known="8", known__text="it is gone"),
        result("5", "e", "failed"),
    )
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert set(merged.issues) == {
        Issue("7", "it jumps", url, ("a", "b")),
        Issue("no url", "no tracker", "", ("c",)),
    }
    assert found["1"]["statusDetails"] == {"message": "x"}
    told = build.resolutions(sorted(merged.issues, key=lambda one: one.number))
    assert told == {
        "links": {"issue": {"urlTemplate": "https://tracker.example/%s/show"}},
        "rules": [
            {
                "resolution": "issue",
                "issue": {"id": "7", "type": "issue"},
                "comment": "7: it jumps",
                "testCaseId": ["a", "b"],
            },
            {"resolution": "accepted", "comment": "no url: no tracker", "testCaseId": ["c"]},
        ],
    }


# killed runs

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
    there = result("1", "s/test_x.py::test_a[stub-x]", _node=TESTS[0], _chosen="+lab=box", board="stub", epic="mine")
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
    put(tmp_path / "r", result("1", _node="a.py::a", start=5000))
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
    told = executor(variables)
    assert told is not None
    assert (told["name"], told["buildName"], told.get("buildUrl"), told.get("buildOrder")) == expected
    assert executor(variables, "2026-11-24")["buildName"] == "2026-11-24"  # type: ignore[index]


def test_a_night_is_an_executor_and_a_person_none() -> None:
    assert executor({}) is None
    assert executor({}, "2026-11-24") == {"name": "hil nightly", "type": "hil", "buildName": "2026-11-24"}


def test_the_gate_is_read_or_refused() -> None:
    told = gate.rules(
        '[{"rule": "a", "success": true, "message": "m"}, {"rule": "b", "success": false, "message": "n"}]'
    )
    assert [str(rule) for rule in told] == ["kept: m (a)", "NOT kept: n (b)"]
    assert [gate.kept(rules) for rules in (told[:1], told, ())] == [True, False, False]
    for text in ("", "{}", '[{"rule": 1}]', "[1]"):
        with pytest.raises(InfrastructureError):
            gate.rules(text)


def test_the_command_tells_and_ends_as_the_gate_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def fake(parts: Any, output: Path, *, title: str, history: Path | None) -> build.Built:
        asked.append((parts, output, title, history))
        return build.Built(output, 1, (gate.Rule("failures", False, "1 failed"),), ("the run was killed",))

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
        ([Part(build.RESULTS_DIR)], Path(page), "T", tmp_path / "h"),
    ]


def test_no_results_and_no_generator_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(str(tmp_path / "none"))):
        build.build([Part(tmp_path / "none")], tmp_path / "page.html", title="T")
    assert sorted(os.listdir(tmp_path)) == [], "nothing is left behind"
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match=re.escape(str(tmp_path / "file" / "page.html"))):
        build.build([Part(tmp_path)], tmp_path / "file" / "page.html", title="T")
    monkeypatch.setattr(build, "REPORTS_DIR", tmp_path)
    with pytest.raises(ConfigurationError, match="not installed"):
        build.build([Part(tmp_path)], tmp_path / "page.html", title="T")


@pytest.mark.parametrize(("code", "told"), [("exit 3", "status 3:\nsaid"), ("sleep 9", r"0\.5 s")])
def test_a_generator_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str) -> None:
    tool = tmp_path / "node"
    tool.write_text(f"#!/bin/sh\necho said >&2\n{code}\n")
    tool.chmod(0o755)
    monkeypatch.setattr(build, "node", lambda: tool)
    monkeypatch.setattr(build, "LIMIT", 0.5)
    with pytest.raises(InfrastructureError, match=told):
        build.build([Part(put(tmp_path / "r", result("1")))], tmp_path / "page.html", title="T")
    until(lambda: sorted(os.listdir(tmp_path)) == ["node", "r"])


# results of others are data


def test_no_link_and_no_special_file_enters_a_report(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("a local file")
    (tmp_path / "secret.json").write_text(json.dumps(result("stolen")))
    results = put(tmp_path / "r", result("1"))
    (results / "a-attachment.txt").symlink_to(tmp_path / "secret.txt")
    (results / "b-result.json").symlink_to(tmp_path / "secret.json")
    (results / "c-container.json").symlink_to(tmp_path / "secret.json")
    (results / "environment.properties").symlink_to(tmp_path / "secret.txt")
    (results / "executor.json").symlink_to(tmp_path / "secret.json")
    for name in ("d-result.json", "e-attachment.png", "journal.jsonl", "f-globals.json"):
        os.mkfifo(results / name)
    with (results / "g-attachment.bin").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with (results / "h-result.json").open("wb") as file:
        file.truncate(1 << 40)
    merged, found = combined(tmp_path, Part(results))
    assert set(found) == {"1"}
    assert sorted(os.listdir(tmp_path / "merged")) == ["1-result.json"]
    assert (merged.count, merged.broken) == (1, 3)
    assert len(merged.notes) == 6, "five are named, and the number of the others"


def test_attachments_together_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge_module, "ALL_LIMIT", 1000)
    results = put(tmp_path / "r", result("1"))
    for name in ("a", "b"):
        (results / f"{name}-attachment.txt").write_bytes(bytes(600))
    merged, _ = combined(tmp_path, Part(results))
    assert [note.partition(":")[2].split(":")[0].strip() for note in merged.notes] == ["b-attachment.txt"]


@pytest.mark.parametrize("source", ["../secret.txt", "/etc/passwd", "a\\..\\b", "..", "", 7, None])
def test_an_attachment_s_source_leads_nowhere(tmp_path: Path, source: Any) -> None:
    odd = {"name": "x", "source": source}
    step = {"name": "s", "attachments": [odd, None], "steps": [{"name": "t", "attachments": [odd]}]}
    put(
        tmp_path / "r",
        {**result("1"), "attachments": [odd, {"name": "y", "source": "1-attachment.txt"}], "steps": [step]},
    )
    _, found = combined(tmp_path, Part(tmp_path / "r"))
    kept = [odd] if source is None else []
    assert found["1"]["attachments"][-1]["source"] == "1-attachment.txt"
    assert found["1"]["attachments"][:-1] == kept
    assert found["1"]["steps"][0]["attachments"] == kept
    assert found["1"]["steps"][0]["steps"][0]["attachments"] == kept


@pytest.mark.parametrize(
    "odd",
    [
        {"parameters": [None]},
        {"parameters": [7, {"name": None, "value": 3}]},
        {"labels": [None, {"name": "tag", "value": "x"}, "y"]},
        {"statusDetails": None},
        {"name": "half \ud83d of an emoji", "statusDetails": {"message": "\udcb0\0"}},
        {"steps": [None], "attachments": None, "titlePath": [None, "a"]},
        {"start": 1.5, "stop": None},
    ],
)
def test_an_odd_result_is_taken(tmp_path: Path, odd: dict[str, Any]) -> None:
    put(tmp_path / "r", result("1"), {**result("2", "b"), **odd})
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert (set(found), merged.notes) == ({"1", "2"}, [])


@pytest.mark.parametrize(
    "text",
    [
        b'{"uuid": "x", "start": 1e999}',
        b'{"uuid": "x", "start": 1e300}',
        b'{"uuid": "x", "start": "now"}',
        b'{"uuid": "x", "start": true}',
        b'{"uuid": "x", "start": -1}',
        b'{"uuid": "x", "stop": NaN}',
        b'{"uuid": ["x"]}',
        b'{"uuid": "x", "labels": {"a": 1}}',
        b'{"uuid": "x", "statusDetails": "failed"}',
        b'{"uuid": "x", "steps": ' + b'[{"steps": ' * 300 + b"[]" + b"}]" * 300 + b"}",
        b"[" * 100_000,
        b"9" * 5000,
        b"",
    ],
)
def test_a_broken_result_is_named_and_left_out(tmp_path: Path, text: bytes) -> None:
    results = put(tmp_path / "r", result("1"))
    (results / "bad-result.json").write_bytes(text)
    (results / "bad-container.json").write_bytes(text or b"{")
    merged, found = combined(tmp_path, Part(results))
    assert (set(found), merged.broken) == ({"1"}, 1)
    assert "bad-result.json" in "".join(merged.notes)


def test_runs_that_share_a_directory_share_its_environment(tmp_path: Path) -> None:
    from hil.report import evidence

    evidence.write_environment(tmp_path, {"board": "a", "link to a": "1 ms", "image": "x\ny"})
    evidence.add_environment(tmp_path, "places", "p")
    evidence.write_environment(tmp_path, {"board": "b"})
    assert (tmp_path / "environment.properties").read_text() == "board = b\nimage = x\\ny\nplaces = p\n"


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    results = put(tmp_path / "r", result("1"))
    path = results / "1-result.json"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (results / "environment.properties").write_bytes(b"\xef\xbb\xbfboard = b\r\n")
    assert set(combined(tmp_path, Part(results))[1]) == {"1"}
    assert (tmp_path / "merged" / "environment.properties").read_text() == "board = b\n"


def test_names_of_files_may_be_long(tmp_path: Path) -> None:
    """The same name in two runs gets another one, which must not be longer."""
    for run in ("a", "b"):
        put(tmp_path / run).joinpath(f"{'x' * 243}-result.json").write_text(json.dumps(result(run, run)))
    assert set(combined(tmp_path, Part(tmp_path / "a", "a"), Part(tmp_path / "b", "b"))[1]) == {"a", "b"}


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


def test_the_later_try_counts_though_the_clock_was_set_back(tmp_path: Path) -> None:
    bad = result("b", "x", "failed", 5000, _run="run", _number="9")
    put(tmp_path / "r", result("a", "x", "passed", 2000, _run="run", _number="10"), bad)
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert merged.ids == {named("a")}
    assert found["a"]["start"] > found["b"]["start"]
    assert found["a"]["stop"] - found["a"]["start"] == 10


def test_of_two_runs_in_one_directory_each_is_completed_by_its_own(tmp_path: Path) -> None:
    """A run that was killed beside one that was not, at the same time, on the same tests."""
    write(tmp_path / "r" / "journal-1.jsonl", {"collected": ["s/test_x.py::test_a"]}, id="killed")
    write(tmp_path / "r" / "journal.jsonl", {"collected": ["s/test_x.py::test_a"]}, ended=True, id="whole")
    put(tmp_path / "r", result("1", start=2000, _run="whole", _node="s/test_x.py::test_a"))
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert merged.count == 2
    assert sorted(one["status"] for one in found.values()) == ["passed", "unknown"]


def test_reports_at_once_are_all_in_their_history(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    readers = [AllureHistory.read(path) for _ in range(8)]  # all before any of them writes
    for number, points in enumerate(readers):
        made = tmp_path / f"made-{number}"
        made.write_text(json.dumps({"timestamp": 1, "testResults": {"k": {"id": str(number)}}}) + "\n")
        points.add(made, frozenset([str(number)]), 1000 + number)
    assert len(AllureHistory.read(path).points) == 8


def test_a_report_is_made_where_names_are_not_utf_8(tmp_path: Path) -> None:
    directory = tmp_path / "pr\udcfcfung[1]"
    put(directory / "r", result("1"), {**result("2", "b"), "name": "half \ud83d", "parameters": [None]})
    (directory / "r" / "broken-container.json").write_text("{")
    built = build.build([Part(directory / "r")], directory / "report.html", title="\udcfc")
    assert built.path.is_file()
    assert built.count == 2
    assert (directory / "allure-history.jsonl").is_file()
