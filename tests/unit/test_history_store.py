"""The history: whole runs or nothing, by several processes; refused files; pruning."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from limits import HANG

from hil import Clock, Series, misses, ms, p99, percent
from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.history import database, pruning
from hil.history.database import Database
from hil.history.figures import stored_figures
from hil.history.identity import choice_of, stable_test, suite_of
from hil.history.rows import Boot, RecordedRun, Run, Test
from hil.history.store import History
from hil.measure.decision import decide
from hil.measure.results import CheckResult, SeriesRecord

CLOCK = Clock("guest counter", 1.6e-8, "a remark", 1e-5)
ORIGIN = {
    "test": "suites/realtime/test_a.py::test_x[b]",
    "board": "b",
    "image": "reference 5f2c",
    "module": "n.wasm 9a",
}


def record(base: float = 0.01, n: int = 400, **more: Any) -> SeriesRecord:
    values = base + np.random.default_rng(1).random(n) * 1e-3
    series = Series(
        "response time", "n.wasm 10", values, CLOCK, times=np.arange(n), offsets=range(n), provenance=ORIGIN, **more
    )
    checks = [decide(bound, series) for bound in (p99 <= 40 * ms, misses(5 * ms) <= 99 * percent)]
    return SeriesRecord(series, tuple(map(CheckResult.of, checks)))


def run(ident: str, night: str = "", *, began: float = 1e9, name: str = "job-b", **more: Any) -> Run:
    values: dict[str, Any] = {
        "plan": "p" if night else "",
        "board": "b",
        "ended": began + 60,
        "status": 0,
        "state": "done",
    }
    values |= {"facts": {"image": "Ümläut"}}
    return Run(ident, night, name, began=began, **values | more)


def result(ident: str, name: str = "suites/smoke/test_a.py::test_x[b]", outcome: str = "passed", **more: Any) -> Test:
    values: dict[str, Any] = {"suite": "smoke", "board": "b", "place": "", "image": "reference", "clock": "real time"}
    values |= {"fault": "", "cause": "", "seconds": 1.5, "retried": ("no power",), "transcript": "x.raw:3"}
    return Test(run=ident, test=name, outcome=outcome, **{"nodeid": name} | values | more)


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "deep" / "h.sqlite", write=True) as made:
        yield made


def rows(history: History, query: str) -> list[tuple[Any, ...]]:
    return list(map(tuple, history.rows(query)))


def fill(history: History, nights: int, **more: Any) -> None:
    for number in range(nights):
        one = run(f"r{number}", f"2026-01-{number + 1:02}", began=1e9 + number * 86400, **more)
        assert history.add(RecordedRun(one, [result(one.id)], [Boot(one.id, "b", "boot", "", "", "")], [record()]))


# names


@pytest.mark.parametrize(
    ("nodeid", "chosen", "board", "repetition", "test"),
    [
        ("s/t.py::x[qemu-reference]", "qemu-reference", "qemu-reference", None, "s/t.py::x[qemu-reference]"),
        ("s/t.py::x[+lab=box-0.5]", "+lab=box", "qemu-uboot", None, "s/t.py::x[qemu-uboot-0.5]"),
        ("box/t.py::box[box-a-box]", "box", "q", None, "box/t.py::box[q-a-box]"),
        ("s/t.py::x[boxer-box]", "box", "q", None, "s/t.py::x[boxer-q]"),
        ("s/t.py::x[boxer]", "box", "q", None, "s/t.py::x[boxer]"),
        ("s/t.py::C::x[place:a/b-[1]::y]", "place:a/b", "q", None, "s/t.py::C::x[q-[1]::y]"),
        ("s/t.py::x[b-3-3]", "b", "q", 3, "s/t.py::x[q-3]"),
        ("s/t.py::x[3]", "b", "q", 3, "s/t.py::x"),
        ("s/t.py::x", "b", "q", None, "s/t.py::x"),
        ("s/t.py::x[b]", "", "q", None, "s/t.py::x[b]"),
    ],
)
def test_a_test_s_name_stays_whatever_board_was_had(
    nodeid: str, chosen: str, board: str, repetition: int | None, test: str
) -> None:
    assert stable_test(nodeid, chosen, board, repetition) == test


def test_the_longest_choice_is_a_test_s() -> None:
    assert choice_of("t.py::x[box-1-a]", ["box", "box-1", "", "a-b"]) == "box-1"
    assert choice_of("t.py::x[c]", ["box"]) == choice_of("t.py::x", ["x"]) == ""
    assert (suite_of("suites/smoke/test_a.py::x"), suite_of("test_a.py::x", "/my/suite"), suite_of("t.py::x")) == (
        *("smoke", "suite"),
        "",
    )


# in and out


def test_what_was_added_comes_back(history: History) -> None:
    one = run("r", "2026-01-01", attempt=2, host="h")
    tests = [
        result("r"),
        result("r"),
        result("r", "y", "failed", fault="image", cause="é", nodeid="n", image_sha256="5f"),
    ]
    boots = [Boot("r", "b", "restore", "image", "guest", "silent")]
    kept = record(interim_analyses=3)
    assert history.add(RecordedRun(one, tests, boots, [kept]))
    assert history.runs() == [one]
    assert history.tests([one]) == tests
    assert history.boots([one]) == boots
    (back,) = history.series(one)
    assert back.series.samples.tolist() == kept.series.samples.tolist()
    assert back.series.times is not None
    assert back.series.times.tolist() == list(range(400))
    assert list(back.series.offsets or ()) == list(range(400))
    assert (back.series.clock, back.series.provenance, back.series.interim_analyses) == (CLOCK, ORIGIN, 3)
    assert back.checks == kept.checks


def test_a_series_figures_are_the_usual_ones_and_the_checked(history: History) -> None:
    one = run("r")
    history.add(RecordedRun(one, records=[record()]))
    figures = {figure.name: figure for figure in history.figures([one])}
    assert list(figures) == ["max", "min", "misses(5 ms)", "p50", "p90", "p99"]
    checked = figures["p99"]
    assert checked.bound == pytest.approx(0.04)
    assert (checked.outcome, checked.unit, checked.n, checked.exact) == ("pass", "s", 400, False)
    assert checked.lower is not None
    assert checked.upper is not None
    assert checked.lower < checked.value < checked.upper
    assert (checked.image, checked.image_sha256, checked.module, checked.module_sha256) == (
        "reference",
        "5f2c",
        "n.wasm",
        "9a",
    )
    assert (checked.test, checked.suite, checked.floor) == (ORIGIN["test"], "realtime", 1e-5)
    late = figures["misses(5 ms)"]
    assert (late.value, late.unit, late.bound) == (1.0, "1", 0.99)
    assert (figures["p50"].bound, figures["p50"].outcome) == (None, None)


def test_a_figure_of_another_tool_keeps_its_check_only(history: History) -> None:
    series = record().series
    strange = [
        CheckResult(name, 1 * ms, "pass", "t")
        for name in ("p12", "misses(x)", "misses(5 MiB)", "deadline misses(5 ms)")
    ]
    odd = SeriesRecord(series, tuple(strange))
    assert [figure["name"] for figure in stored_figures(odd)] == ["min", "p50", "p90", "p99", "max"]
    history.add(RecordedRun(run("r"), records=[odd]))
    assert history.series(run("r"))[0].checks == odd.checks


def test_a_series_of_strangers_has_no_origin(history: History) -> None:
    bare = SeriesRecord(Series("q", "s", [1.0], Clock("c", 1e-9), "B"))
    history.add(RecordedRun(run("r"), records=[bare]))
    figure = history.figures([run("r")])[0]
    assert (figure.test, figure.board, figure.image, figure.module, figure.suite, figure.floor) == (
        "",
        "",
        "",
        "",
        "",
        None,
    )


def test_texts_and_names_may_be_anything(tmp_path: Path) -> None:
    path = tmp_path / "a b?mode=ro#%41é.sqlite"
    with History(path, write=True) as history:
        history.add(RecordedRun(run("r"), [result("r", "x\0y", cause="\udc80 é 🙂 'quoted'")]))
    assert path.is_file()
    with History(path) as history:
        (test,) = history.tests(history.runs())
        assert (test.test, test.cause) == ("x\\x00y", "\\x80 é 🙂 'quoted'")


def test_runs_are_found_by_night_and_plan_oldest_first(history: History) -> None:
    for ident, night, began in (("c", "2026-01-03", 3.0), ("a", "2026-01-01", 1.0), ("b", "2026-01-02", 2.0)):
        history.add(RecordedRun(run(ident, night, began=began, plan="p" if ident != "c" else "q")))
    history.add(RecordedRun(run("d", began=0.5)))
    history.add(RecordedRun(run("a2", "2026-01-01", began=5.0, attempt=2)))  # resumed after the others had run
    assert [one.id for one in history.runs()] == ["d", "b", "c", "a2"], "of a run that was tried again the last try"
    assert history.nights() == ["2026-01-01", "2026-01-02", "2026-01-03"]
    assert [one.id for one in history.runs(history.nights()[-2:])] == ["b", "c"]
    assert [one.id for one in history.runs([""])] == ["d"]
    assert history.runs([]) == history.runs(["nothing"]) == []
    assert rows(history, "SELECT count(*) FROM runs") == [(5,)], "and yet all are kept"


def test_tests_come_in_the_order_of_the_runs(history: History) -> None:
    fill(history, 3)
    runs = history.runs()
    assert [test.run for test in history.tests(runs[::-1])] == ["r2", "r1", "r0"]
    assert history.tests([]) == history.figures([]) == history.boots([]) == []


# whole runs or nothing


def test_a_run_is_added_once(history: History) -> None:
    assert history.add(RecordedRun(run("r"), [result("r")]))
    assert not history.add(RecordedRun(run("r", name="other"), [result("r"), result("r")]))
    assert (history.runs(), len(history.tests([run("r")]))) == ([run("r")], 1)


def test_half_a_run_is_never_there(history: History) -> None:
    with pytest.raises(ConfigurationError, match="CHECK"):
        history.add(RecordedRun(run("r"), [result("r"), result("r", outcome="???")]))
    assert rows(history, "SELECT (SELECT count(*) FROM runs) + (SELECT count(*) FROM tests)") == [(0,)]
    assert history.add(RecordedRun(run("r"))), "and the store goes on"


WRITER = """
import sys
from pathlib import Path
sys.path[:0] = ["{root}", "{here}"]
from test_history_store import run, result
from hil.history.rows import RecordedRun
from hil.history.store import History
with History(Path("{path}"), write=True) as history:
    for number in range({count}):
        one = "{name}%03d" % number
        taken = RecordedRun(run(one), [result(one)] * 50)
        if {halt} == number:
            with history.transaction():
                history._insert(taken, [])
                print("in it", flush=True)
                sys.stdin.read()
        else:
            history.add(taken)
"""


def writer(path: Path, name: str, count: int, halt: int = -1) -> subprocess.Popen[bytes]:
    here = Path(__file__).parent
    values = {"root": here.parents[1], "here": here, "path": path, "name": name, "count": count, "halt": halt}
    command = [sys.executable, "-c", textwrap.dedent(WRITER).format(**values)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_writers_wait_for_each_other_and_one_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    dying = writer(path, "dying", 3, halt=2)
    assert dying.stdout is not None
    assert dying.stdout.readline() == b"in it\n"
    several = [writer(path, name, 15) for name in ("a", "b")]
    time.sleep(1)  # they wait by now, or else will find it free: both are right
    with History(path) as reader:
        assert len(reader.runs()) == 2, "readers do not wait"
    os.kill(dying.pid, signal.SIGKILL)
    dying.wait(10)
    for one in several:
        _, output = one.communicate(timeout=HANG)
        assert one.returncode == 0, output
    with History(path) as reader:
        runs = reader.runs()
        assert sorted(one.id for one in runs) == sorted(
            ["dying000", "dying001", *(f"{name}{number:03}" for name in "ab" for number in range(15))]
        )
        assert len(reader.tests(runs)) == 32 * 50
        assert rows(reader, "PRAGMA integrity_check") == [("ok",)]
    for stream in (dying.stdin, dying.stdout, dying.stderr):
        assert stream is not None
        stream.close()


def test_a_history_in_use_for_too_long_is_an_error(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.2)
    with (
        history.transaction(),
        History(history.path, write=True) as other,
        pytest.raises(InfrastructureError, match=r"0\.2 s") as raised,
    ):
        other.add(RecordedRun(run("r")))
    assert "network" in (raised.value.hint or "")


# what is refused


def test_what_is_no_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.sqlite"):
        History(tmp_path / "none.sqlite")
    text = tmp_path / "text"
    text.write_text("x" * 5000)
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for write in (False, True):
        with pytest.raises(ConfigurationError, match="text"):
            History(text, write=write)
        with pytest.raises(ConfigurationError, match=r"other\.sqlite"):
            History(other, write=write)
    assert text.read_text() == "x" * 5000
    with pytest.raises(ConfigurationError, match="empty"):
        History(empty)
    with pytest.raises(InfrastructureError, match="text/h.sqlite"):
        History(text / "h.sqlite", write=True)
    with pytest.raises(InfrastructureError, match=tmp_path.name):
        History(tmp_path, write=True)


@pytest.mark.parametrize(("version", "hint"), [(database.VERSION + 1, "update"), (0, "hil history add")])
def test_another_version_is_refused(history: History, version: int, hint: str) -> None:
    connection = sqlite3.connect(history.path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    for write in (False, True):
        with pytest.raises(ConfigurationError, match=f"version {version}") as raised:
            History(history.path, write=write)
        assert hint in (raised.value.hint or "")


def test_a_damaged_history_is_an_error(history: History) -> None:
    fill(history, 3)
    history.close()
    data = bytearray(history.path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    history.path.write_bytes(data)
    with pytest.raises(InfrastructureError, match=r"h\.sqlite"), History(history.path) as damaged:
        damaged.tests(damaged.runs())


def test_a_broken_row_is_named_and_left_out(history: History, tmp_path: Path) -> None:
    """As an earlier version took them in, and a disk may leave them."""
    history.add(RecordedRun(run("good"), [result("good", "t"), result("good", "u")]))
    with sqlite3.connect(history.path) as connection:
        copy = "INSERT INTO runs SELECT ?, night, name, attempt, plan, board, host, ?, ended, status, state, ?, 1"
        for name, began, facts in (("endless", 9e999, "{}"), ("late", 1e300, "{}"), ("torn", 1.0, "{")):
            connection.execute(f"{copy} FROM runs WHERE id = 'good'", (name, began, facts))
        connection.execute("UPDATE tests SET seconds = 9e999 WHERE test = 'u'")
    runs = history.runs()
    assert [one.id for one in runs] == ["good"]
    assert [one.test for one in history.tests(runs)] == ["t"]
    assert len(history.left_out) == 4
    done = CliRunner().invoke(main, ["history", "list", "--history", str(history.path)])
    assert done.exit_code == 0
    assert all(name in done.output for name in ("endless", "late", "torn"))


def test_samples_that_were_damaged_are_named_and_left_out(history: History) -> None:
    history.add(RecordedRun(run("r"), records=[record()]))
    with sqlite3.connect(history.path) as connection:
        connection.execute("UPDATE samples SET samples = x'789c00ff00ff'")
    assert history.series(history.runs()[0]) == []
    assert len(history.left_out) == 1


def test_no_number_that_is_none_enters(history: History) -> None:
    with pytest.raises(ConfigurationError, match="inf .* runs"):
        history.add(RecordedRun(replace(run("r"), began=math.inf)))
    with pytest.raises(ConfigurationError, match=r"h\.sqlite"):
        history.add(RecordedRun(replace(run("r"), status=2**70)))
    assert history.runs() == []


@pytest.mark.parametrize("name", ["x" * 250, "a\0b"])
def test_a_name_that_no_store_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="247"):
        History(tmp_path / name, write=True)


def test_a_store_may_be_where_names_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "pr\udcfcfung[1]" / "h.sqlite"
    with History(path, write=True) as history:
        history.add(RecordedRun(run("r")))
    with History(path) as history:
        assert [one.id for one in history.runs()] == ["r"]


def test_a_reader_cannot_write(history: History) -> None:
    with History(history.path) as reader, pytest.raises(ValueError, match="read-only"):
        reader.add(RecordedRun(run("r")))


def test_a_store_on_a_medium_that_cannot_be_written_is_read(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(history, 1)
    history.close()
    connect, modes = Database._connect, list[str]()

    def refuse(self: Database, mode: str) -> sqlite3.Connection:  # as root no directory is read-only
        modes.append(mode)
        if "immutable" in mode:
            return connect(self, mode)
        return _Closed(connect(self, mode))  # type: ignore[return-value]

    monkeypatch.setattr(Database, "_connect", refuse)
    with History(history.path) as reader:
        assert len(reader.runs()) == 1
    assert modes == ["ro", "ro&immutable=1"]


class _Closed:
    """A connection that cannot make the files beside the store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.close = connection.close

    def execute(self, *_: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")


# forgetting


def test_the_oldest_nights_go_and_do_not_come_back(history: History) -> None:
    fill(history, 5)
    history.add(RecordedRun(run("old", began=1e9 + 100), [result("old")]))
    history.add(RecordedRun(run("new", began=1e9 + 4 * 86400 + 100), [result("new")]))
    history.note("2026-01-01", "gone with it")
    history.note("2026-01-05", "stays")
    dry = history.prune(2, 1, dry=True)
    assert (dry.nights, dry.runs, dry.series) == (("2026-01-01", "2026-01-02", "2026-01-03"), 4, 1)
    assert len(history.runs()) == 7, "nothing was done"
    pruned = history.prune(2, 1)
    assert (pruned.nights, pruned.runs, pruned.series, pruned.not_freed) == (dry.nights, 4, 1, "")
    assert pruned.freed > 0
    runs = history.runs()
    assert [one.id for one in runs] == ["r3", "r4", "new"]
    assert [len(history.series(one)) for one in runs] == [0, 1, 0]
    assert len(history.figures(runs)) == 2 * 6, "figures stay"
    assert [note.text for note in history.notes()] == ["stays"]
    assert rows(history, "SELECT count(*) FROM figures") == [(12,)]
    assert not history.add(RecordedRun(run("r0", "2026-01-01")))
    again = history.prune(2, 1)
    assert (again.nights, again.runs, again.series) == ((), 0, 0)


def test_less_nights_than_are_to_stay_lose_nothing(history: History) -> None:
    fill(history, 2)
    history.add(RecordedRun(run("alone", began=0.0)))
    pruned = history.prune(2)
    assert (pruned.nights, pruned.runs, pruned.series, len(history.runs())) == ((), 0, 0, 3)


def test_space_that_a_reader_keeps_is_reported(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "SHRINK_PATIENCE", 0.1)
    fill(history, 3)
    reader = sqlite3.connect(history.path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM runs").fetchone()
    pruned = history.prune(1)
    assert pruned.runs == 2
    assert pruned.not_freed
    assert reader.execute("SELECT count(*) FROM runs").fetchone() == (3,), "a reader sees what it saw"
    reader.close()


def test_a_note_is_of_a_night(history: History) -> None:
    fill(history, 1)
    history.note("2026-01-01", "new compiler")
    (note,) = history.notes()
    assert (note.night, note.text) == ("2026-01-01", "new compiler")
    assert abs(note.at - time.time()) < 60
    with pytest.raises(ConfigurationError, match="2026-01-02") as raised:
        history.note("2026-01-02", "x")
    assert "2026-01-01" in (raised.value.hint or "")


def test_reading_needs_no_numpy(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    with History(path, write=True) as history:
        fill(history, 2)
    code = f"""
        import sys
        from pathlib import Path
        from hil.history.store import History
        with History(Path({str(path)!r})) as history:
            assert len(history.figures(history.runs())) == 12
        print([name for name in ("numpy", "scipy", "pydantic", "labgrid") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=HANG,
        cwd=Path(__file__).parents[2],
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")
