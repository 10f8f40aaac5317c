"""`hil history`, and the queries of its documentation."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hil.cli import main
from hil.history.rows import Boot, RecordedRun, Run, Test
from hil.history.store import History

DOCS = Path(__file__).parents[2] / "docs" / "history.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A history of two nights and a run between them."""
    path = tmp_path / "h.sqlite"
    with History(path, write=True) as history:
        for number, night in enumerate(("2026-01-01", "", "2026-01-02")):
            run = Run(f"r{number}", night, "job-b", "p", "b", 1e9 + number * 86400, None, 1, "done", {})
            common = {"run": run.id, "suite": "s", "board": "b", "clock": "real time", "seconds": 1.0}
            bad = {"outcome": "failed", "fault": "image", "cause": "two\nlines [bold]", "transcript": "x.raw:1"}
            tests = [
                Test(test="t.py::x[b]", nodeid="t.py::x[b]", outcome="passed", **common),
                Test(test="t.py::y[b]", nodeid="t.py::y[b]", **bad, **common),
            ]
            history.add(RecordedRun(run, tests, [Boot(run.id, "b", "boot", "", "", "")]))
    return path


def hil(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["history", *arguments, "--history", str(file)])


def test_runs_are_listed_oldest_first_with_counts(file: Path) -> None:
    rows = json.loads(hil(file, "list", "--json").output)
    assert [row["night"] for row in rows] == ["2026-01-01", "-", "2026-01-02"]
    assert {row["tests"] for row in rows} == {"1 passed, 1 image"}
    assert {row["state"] for row in rows} == {"done, status 1"}
    assert "2026-01-02" in (listed := hil(file, "list", "--nights", "1").output)
    assert "2026-01-01" not in listed


def test_the_documented_questions_have_answers(file: Path) -> None:
    queries = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.S)
    assert len(queries) == 5
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        answers = [connection.execute(query).fetchall() for query in queries]
    assert answers[0] == [("t.py::y[b]", "image", 3, "2026-01-02")]
    assert answers[4] == [("b", 3, 0, None)]


def test_notes_pruning_and_listing_need_a_history(tmp_path: Path) -> None:
    for arguments in (("note", "2026-01-01", "x"), ("prune", "--keep-nights", "1"), ("list",)):
        done = hil(tmp_path / "none.sqlite", *arguments)
        assert (done.exit_code, "none.sqlite" in done.output) == (2, True)
    assert not (tmp_path / "none.sqlite").exists()


def test_a_night_s_note_is_kept_and_the_oldest_go(file: Path) -> None:
    assert hil(file, "note", "2026-01-02", "the bench was moved").exit_code == 0
    assert hil(file, "note", "2026-01-09", "x").exit_code == 2
    dry = hil(file, "prune", "--keep-nights", "1", "--dry-run").output
    done = hil(file, "prune", "--keep-nights", "1").output
    for output in (dry, done):
        assert "1 night (2026-01-01), 2 runs" in output
    with History(file) as history:
        assert (history.nights(), [note.text for note in history.notes()]) == (["2026-01-02"], ["the bench was moved"])
    assert hil(file, "prune", "--keep-nights", "0").exit_code == 2


def test_directories_are_added(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "journal.jsonl").write_text('{"journal": 2, "id": "i", "time": 1.0}\n{"end": 0, "time": 2.0}\n')
    store = tmp_path / "new" / "h.sqlite"
    done = hil(store, "add", str(tmp_path / "r"))
    assert (done.exit_code, done.output) == (0, "1 run added, with 0 tests and 0 series\n")
    assert "1 known already" in hil(store, "add", str(tmp_path / "r")).output
    (tmp_path / "r" / "journal-1.jsonl").write_text("x")
    broken = hil(store, "add", str(tmp_path / "r"))
    assert (broken.exit_code, "journal-1.jsonl" in broken.stderr) == (1, True)
    assert hil(store, "add", str(tmp_path / "nowhere")).exit_code == 2
