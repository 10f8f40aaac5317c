"""Results of several runs become those of one report; what others wrote is checked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from merged_results import combined, named, put, result, tags

from hil.report import build
from hil.report import merge as merge_module
from hil.report.labels import history_id
from hil.report.merge import Issue, Part

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
    assert (merged.count, len(merged.notes)) == (2, 1)
    assert "half-result.json" in merged.notes[0]
    assert merged.ended == 1010
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
    assert (merged.count, len(merged.notes), len(merged.ids)) == (2, 1, 2)


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
    assert merged.count == 1
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
    assert set(found) == {"1"}
    assert "bad-result.json" in "".join(merged.notes)


def test_runs_that_share_a_directory_share_its_environment(tmp_path: Path) -> None:
    from hil.report import evidence

    evidence.add_environment(tmp_path, {"board": "a", "link to a": "1 ms", "image": "x\ny"}, "link")
    evidence.add_environment(tmp_path, {"places": "p"})
    evidence.add_environment(tmp_path, {"board": "b"}, "link")
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


def test_the_later_try_counts_though_the_clock_was_set_back(tmp_path: Path) -> None:
    bad = result("b", "x", "failed", 5000, _run="run", _number="9")
    put(tmp_path / "r", result("a", "x", "passed", 2000, _run="run", _number="10"), bad)
    merged, found = combined(tmp_path, Part(tmp_path / "r"))
    assert merged.ids == {named("a")}
    assert found["a"]["start"] > found["b"]["start"]
    assert found["a"]["stop"] - found["a"]["start"] == 10
