"""`hil history`, and old Allure results on their way in."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hil.cli import main
from hil.errors import ConfigurationError
from hil.history.allure_results import import_results
from hil.history.rows import Boot, RecordedRun, Run, Test
from hil.history.store import History

DOCS = Path(__file__).parents[2] / "docs" / "history.md"
AT = 1_795_737_606_815  # milliseconds since 1970, as Allure has it


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A history of two nights and a run between them."""
    path = tmp_path / "h.sqlite"
    with History(path, write=True) as history:
        for number, night in enumerate(("2026-01-01", "", "2026-01-02")):
            one = Run(f"r{number}", night, "job-b", "p", "b", 1e9 + number * 86400, None, 1, "done", {}, "journal")
            common = ("s", "b", "", "reference", "real time")
            tests = [
                Test(one.id, "t.py::x[b]", *common, "passed", "", "", 1.0, (), ""),
                Test(one.id, "t.py::y[b]", *common, "failed", "image", "two\nlines [bold]", 1.0, (), "x.raw:1"),
            ]
            history.add(RecordedRun(one, tests, [Boot(one.id, "b", "boot", "", "", "")]))
    return path


def hil(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["history", *arguments, "--history", str(file)])


def test_runs_are_listed_oldest_first_with_counts(file: Path) -> None:
    rows = json.loads(hil(file, "list", "--json").output)
    assert [row["night"] for row in rows] == ["2026-01-01", "-", "2026-01-02"]
    assert {row["tests"] for row in rows} == {"1 passed, 1 image"}
    assert {row["state"] for row in rows} == {"done, status 1"}
    assert "2026-01-02" in (told := hil(file, "list", "--nights", "1").output)
    assert "2026-01-01" not in told


def test_a_query_s_rows_are_a_table_json_or_csv(file: Path) -> None:
    sql = "SELECT night, cause, zeroblob(3) AS raw, NULL AS none FROM v_tests WHERE outcome = 'failed'"
    table = hil(file, "query", sql)
    assert (table.exit_code, len(table.output.splitlines())) == (0, 4)
    assert "two lines [bold]" in table.output
    assert json.loads(hil(file, "query", sql, "--json").output)[0] == {
        "night": "2026-01-01",
        "cause": "two\nlines [bold]",
        "raw": "3 bytes",
        "none": None,
    }
    rows = list(csv.reader(io.StringIO(hil(file, "query", sql, "--csv").output)))
    assert rows[0] == ["night", "cause", "raw", "none"]
    assert rows[1][:2] == ["2026-01-01", "two\nlines [bold]"]
    short = hil(file, "query", sql, "--limit", "1")
    assert "only the first 1 rows" in short.stderr


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DELETE FROM runs", "a query only reads"),
        ("SELECT nihgt FROM v_tests", "no such column: nihgt"),
        ("SELECT count(*) FROM v_tests a, v_tests b, v_tests c, v_tests d" + ", v_tests" * 20, "longer than 0.1 s"),
    ],
)
def test_a_wrong_query_is_told(file: Path, sql: str, told: str) -> None:
    done = hil(file, "query", sql, "--seconds", "0.1")
    assert done.exit_code == 2
    assert told in done.output
    assert "what to do" in done.output


def test_the_documented_questions_have_answers(file: Path) -> None:
    asked = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.S)
    assert len(asked) == 5
    with History(file) as history:
        answers = [history.query(one).rows for one in asked]
    assert answers[0] == [("t.py::y[b]", "image", 3, "2026-01-02")]
    assert answers[4] == [("b", 3, 0, None)]


def test_two_formats_are_one_too_many(file: Path) -> None:
    done = hil(file, "query", "SELECT 1", "--json", "--csv")
    assert (done.exit_code, "choose one" in done.output) == (2, True)


def test_notes_and_pruning_need_a_history(tmp_path: Path) -> None:
    for arguments in (("note", "2026-01-01", "x"), ("prune", "--keep-nights", "1"), ("list",), ("query", "SELECT 1")):
        done = hil(tmp_path / "none.sqlite", *arguments)
        assert (done.exit_code, "there is no history" in done.output) == (2, True)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_night_s_note_is_kept_and_the_oldest_go(file: Path) -> None:
    assert hil(file, "note", "2026-01-02", "the bench was moved").exit_code == 0
    assert hil(file, "note", "2026-01-09", "x").exit_code == 2
    assert "would remove 1 night (2026-01-01), 2 runs, samples of 0 other series" in hil(
        file, "prune", "--keep-nights", "1", "--dry-run"
    ).output.replace("\n", " ")
    done = hil(file, "prune", "--keep-nights", "1")
    assert done.output.startswith("removed 1 night (2026-01-01), 2 runs")
    with History(file) as history:
        assert (history.nights(), [note.text for note in history.notes()]) == (["2026-01-02"], ["the bench was moved"])
    assert hil(file, "prune", "--keep-nights", "0").exit_code == 2


def test_the_schema_is_told() -> None:
    told = CliRunner().invoke(main, ["history", "schema"]).output
    for name in ("CREATE TABLE runs", "CREATE TABLE samples", "CREATE VIEW v_tests", "CREATE VIEW v_figures"):
        assert name in told


def test_directories_are_added(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "journal.jsonl").write_text('{"journal": 2, "id": "i", "time": 1.0}\n{"end": 0, "time": 2.0}\n')
    store = tmp_path / "new" / "h.sqlite"
    done = hil(store, "add", str(tmp_path / "r"))
    assert (done.exit_code, done.output) == (0, "1 run added, with 0 tests and 0 series\n")
    assert "1 known already" in hil(store, "add", str(tmp_path / "r")).output
    (tmp_path / "r" / "journal-1.jsonl").write_text("x")
    broken = hil(store, "add", str(tmp_path / "r"))
    assert (broken.exit_code, "is no journal of a run" in broken.stderr) == (1, True)
    assert hil(store, "add", str(tmp_path / "nowhere")).exit_code == 2


# Allure's results


def result(directory: Path, uuid: str, name: str = "test_x[b]", **more: Any) -> None:
    labels = more.pop("labels", [("feature", "smoke"), ("tag", "b"), ("tag", "board")])
    told = {
        "uuid": uuid,
        "name": name,
        "status": "passed",
        "start": AT,
        "stop": AT + 1500,
        "historyId": name,
        "fullName": "suites.smoke.test_a#test_x",
        "titlePath": ["suites", "smoke", "test_a.py"],
        "labels": [{"name": key, "value": value} for key, value in (*labels, ("host", "vm"))],
        "parameters": [{"name": "hil_session_board", "value": "Chosen(name='boards/b.yaml', seed=None, one_of=1)"}],
        **more,
    }
    directory.mkdir(exist_ok=True)
    (directory / f"{uuid}-result.json").write_text(json.dumps(told))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "h.sqlite", write=True) as made:
        yield made


def test_allure_s_results_are_imported_once(tmp_path: Path, history: History) -> None:
    old = tmp_path / "old"
    details = {"message": "AssertionError: too slow\nassert 2 < 1", "trace": "..."}
    result(old, "1")
    result(
        old,
        "2",
        "test_y[b-3]",
        status="failed",
        statusDetails=details,
        labels=[("fault", "image"), ("feature", "smoke")],
    )
    result(old, "3", "test_z", parameters=[], titlePath=["suites", "smoke", "test_a.py", "C"], status="skipped")
    (old / "environment.properties").write_text("image.sha256 = 5f\nimage = Xen\nclock = real time\nnonsense\n")
    imported = import_results(history, [old])
    assert imported.lines() == ["1 run imported, with 3 tests"]
    (run,) = history.runs()
    assert (run.night, run.name, run.source, run.state, run.status, run.board) == (
        "",
        "old",
        "allure",
        "done",
        None,
        "b",
    )
    assert (run.began, run.ended) == (AT / 1000, (AT + 1500) / 1000)
    assert run.facts["image sha256"] == "5f"
    x, y, z = history.tests([run])
    assert (x.test, x.suite, x.board, x.outcome, x.seconds, x.image) == (
        *("suites/smoke/test_a.py::test_x[b]", "smoke", "b", "passed", 1.5, "Xen"),
    )
    assert (y.test, y.outcome, y.fault, y.cause) == (
        *("suites/smoke/test_a.py::test_y[b-3]", "failed", "image", "AssertionError: too slow"),
    )
    assert (z.test, z.outcome, z.board) == ("suites/smoke/test_a.py::C::test_z", "skipped", "")
    assert import_results(history, [old]).lines() == ["0 runs imported, with 0 tests", "3 results known already"]
    result(old, "4", "test_new[b]")
    assert import_results(history, [old]).lines() == ["1 run imported, with 1 test", "3 results known already"]
    assert len(history.tests(history.runs())) == 4


def test_a_place_s_board_is_told_by_its_tags(tmp_path: Path, history: History) -> None:
    place = [{"name": "hil_session_board", "value": "Chosen(name='+lab=box', seed=None, one_of=1)"}]
    tags = [("feature", "s"), ("tag", "qemu-uboot"), ("tag", "box-1"), ("tag", "board")]
    result(tmp_path / "old", "1", "test_x[+lab=box-a]", parameters=place, labels=tags)
    result(tmp_path / "old", "2", "test_y[+lab=box]", parameters=place, labels=[("tag", "board")], status="broken")
    seeded = [{"name": "hil_session_board", "value": "Chosen(name='q', seed=2, one_of=3)"}]
    result(tmp_path / "old", "3", "test_z[q-seed2]", parameters=seeded, labels=[])
    import_results(history, [tmp_path / "old"])
    tests = {test.nodeid.rpartition("::")[2]: test for test in history.tests(history.runs())}
    x, y, z = (tests[name] for name in ("test_x[+lab=box-a]", "test_y[+lab=box]", "test_z[q-seed2]"))
    assert (x.test, x.board, x.place) == ("suites/smoke/test_a.py::test_x[qemu-uboot-a]", "qemu-uboot", "box-1")
    assert (y.test, y.board, y.place) == ("suites/smoke/test_a.py::test_y[+lab=box]", "", "")
    assert (z.test, z.board) == ("suites/smoke/test_a.py::test_z[q-seed2]", "q")


def test_the_last_of_several_tries_counts(tmp_path: Path, history: History) -> None:
    old = tmp_path / "old"
    result(old, "b", start=AT + 9000, stop=None)
    result(old, "a", status="broken", statusDetails={"message": "no power"})
    import_results(history, [old])
    (test,) = history.tests(history.runs())
    assert (test.outcome, test.retried, test.seconds) == ("passed", ("no power",), 0.0)


def test_results_of_other_times_have_no_title_path(tmp_path: Path, history: History) -> None:
    suites = [("parentSuite", "suites.smoke"), ("suite", "test_a"), ("subSuite", "C > D")]
    result(tmp_path / "old", "1", titlePath=[], labels=suites)
    result(tmp_path / "old", "2", "bare", titlePath=[], labels=[], parameters=[])
    import_results(history, [tmp_path / "old"])
    assert sorted(test.nodeid for test in history.tests(history.runs())) == [
        "suites.smoke.test_a#test_x",
        "suites/smoke/test_a.py::C::D::test_x[b]",
    ]


def test_broken_files_are_named_and_do_no_harm(tmp_path: Path) -> None:
    old = tmp_path / "old"
    result(old, "1", status=None)
    for name, text in {
        "a": "",
        "b": '{"uuid": 3',
        "c": "[]",
        "d": '{"uuid": "d", "name": "x"}',
        "e": '{"uuid": "e", "name": "x", "start": "y"}',
    }.items():
        (old / f"{name}-result.json").write_text(text)
    (old / "f-result.json").mkdir()
    done = hil(tmp_path / "h.sqlite", "import", str(old))
    assert done.exit_code == 1
    assert "1 run imported, with 1 test\n6 broken files left out:\n" in done.output
    assert "d-result.json: start: Field required" in done.output
    assert "and 1 more" in done.output
    with History(tmp_path / "h.sqlite") as history:
        (test,) = history.tests(history.runs())
        assert (test.outcome, test.cause) == ("not run", "")


def test_what_has_a_journal_is_not_imported_twice(tmp_path: Path, history: History) -> None:
    result(tmp_path / "new", "1")
    (tmp_path / "new" / "journal.jsonl").write_text("")
    imported = import_results(history, [tmp_path / "new"])
    assert (imported.runs, history.runs()) == (0, [])
    assert "has a journal" in imported.notes[0]
    with pytest.raises(ConfigurationError, match="no Allure results"):
        import_results(history, [tmp_path])
