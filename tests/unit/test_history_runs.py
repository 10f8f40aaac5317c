"""From runs to the history: journals of real pytest processes, whole and killed; nights; what is broken or at work."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from support import UNUSED_BOARD, until

from hil import Clock, Series
from hil.errors import ConfigurationError
from hil.history import ingest, journal
from hil.history.conversion import location_of
from hil.history.ingest import Added, add
from hil.history.journal import Head
from hil.history.rows import Run, Test
from hil.history.store import History
from hil.measure import results
from hil.nightly.evidence import HistoryImport
from hil.report.merge import Part, merge

ROOT = Path(__file__).resolve().parents[2]
BARE = ("-p", "no:cacheprovider", "-p", "hil.plugin", "-q")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # labgrid's takes a second
LONG = 60.0  # seconds


def begin(directory: Path, code: str, *options: str) -> subprocess.Popen[str]:
    """A pytest process on a suite in `directory`."""
    suite = directory / "tiny"
    suite.mkdir(exist_ok=True)
    (suite / "test_t.py").write_text("import os, signal, time\nimport pytest\n" + textwrap.dedent(code))
    command = [sys.executable, "-m", "pytest", *BARE, f"--rootdir={directory}", *options, "tiny"]
    return subprocess.Popen(
        command,
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    try:
        return process.communicate(timeout=LONG)[0]
    finally:
        process.kill()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with History(tmp_path / "h.sqlite", write=True) as made:
        yield made


def outcomes(tests: Sequence[Test]) -> dict[str, tuple[str, str, str]]:
    return {test.test.rpartition("::")[2]: (test.outcome, test.fault, test.cause) for test in tests}


# real runs


def test_a_run_is_in_the_history_at_its_end(tmp_path: Path) -> None:
    code = """
        from pathlib import Path
        from hil import Clock, Series
        from hil.measure import results
        def test_good(request):
            from hil.plugin.session import SESSION
            series = Series("q", "x.wasm", [1.0, 2.0], Clock("c", 1e-9), provenance={"test": request.node.nodeid})
            request.config.stash[SESSION].measurements.record(series, ())
        def test_bad(): assert 1 == 2
        @pytest.mark.skip
        def test_skipped(): pass
    """
    output = finish(begin(tmp_path, code, "--hil-history", "deep/h.sqlite", "--hil-repeat", "2"))
    assert "deep/h.sqlite: 1 run added, with 6 tests and 2 series" in output
    with History(tmp_path / "deep" / "h.sqlite") as history:
        (run,) = history.runs()
        assert (run.night, run.state, run.status, run.plan) == ("", "done", 1, "")
        assert abs(run.began - time.time()) < LONG
        assert run.ended is not None
        assert run.ended > run.began
        assert "--hil-repeat 2" in run.facts["command"]
        assert run.facts["framework"].startswith(version("wasm-hil"))
        assert (
            run.facts["source tiny/test_t.py"] == hashlib.sha256((tmp_path / "tiny/test_t.py").read_bytes()).hexdigest()
        )
        tests = history.tests([run])
        assert [(test.test, test.suite, test.outcome, test.fault) for test in tests[::2]] == [
            ("tiny/test_t.py::test_good", "tiny", "passed", ""),
            ("tiny/test_t.py::test_bad", "tiny", "failed", "test"),
            ("tiny/test_t.py::test_skipped", "tiny", "skipped", ""),
        ], "a repetition is the same test"
        assert tests[2].nodeid == "tiny/test_t.py::test_bad[1]"
        assert (tests[2].cause, tests[2].error) == ("AssertionError: assert 1 == 2", "AssertionError")
        assert [record.series.subject for record in history.series(run)] == ["x.wasm", "x.wasm"]
    (kept,) = (tmp_path / "reports" / "transcripts").glob("*/journal.jsonl")
    with History(tmp_path / "deep" / "h.sqlite", write=True) as history:
        assert (add(history, [kept.parent]).known, len(history.runs())) == (1, 1)


KILLED = """
    def test_good(): pass
    def test_bad(): assert 0
    def test_cut():
        open("here", "w").close()
        time.sleep(60)
    def test_never(): pass
"""


def test_a_killed_run_is_added_up_to_where_it_stopped(tmp_path: Path, history: History) -> None:
    process = begin(tmp_path, KILLED, "--hil-journal", "run/journal.jsonl")
    until((tmp_path / "here").exists, LONG)
    at_work = add(history, [tmp_path / "run"])
    assert (at_work.runs, at_work.running) == (0, 1)
    assert f"process {process.pid}" in at_work.notes[0]
    assert str(at_work) == "0 runs added; 1 still running, left out"
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    assert str(add(history, [tmp_path / "run"])) == "1 run added, 1 of them killed, with 4 tests and 0 series"
    (run,) = history.runs()
    assert (run.state, run.ended, run.status) == ("killed", None, None)
    assert outcomes(history.tests([run])) == {
        "test_good": ("passed", "", ""),
        "test_bad": ("failed", "test", "AssertionError: assert 0"),
        "test_cut": ("not run", "", "it was cut short"),
        "test_never": ("not run", "", ""),
    }
    assert add(history, [tmp_path / "run"]).known == 1


def test_workers_are_one_run_with_one_results_file(tmp_path: Path) -> None:
    code = """
        from hil import Clock, Series
        @pytest.mark.parametrize("number", range(4))
        def test_x(request, number):
            from hil.plugin.session import SESSION
            request.config.stash[SESSION].measurements.record(Series("q", f"{number}", [1.0], Clock("c", 1e-9)), ())
            time.sleep(0.1)
    """
    output = finish(begin(tmp_path, code, "--hil-history", "h.sqlite", "-p", "xdist", "-n", "2"))
    assert "1 run added, with 4 tests and 4 series" in output
    assert "4 series, digest" in output
    (file,) = (tmp_path / "reports").glob("transcripts/*/results.jsonl")
    head = journal.read(file.with_name("journal.jsonl")).head
    assert (results.load(file).facts or {})["run"] == head.id
    with History(tmp_path / "h.sqlite") as history:
        assert sorted(figure.subject for figure in history.figures(history.runs()) if figure.name == "max") == list(
            "0123"
        )


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))\ndef test_x(): pass"
    process = begin(tmp_path, full, "--hil-journal", "journal.jsonl", "-p", "no:cacheprovider")
    output = finish(process)
    assert process.returncode == 3
    assert "journal.jsonl: File too large: make room on its disk" in output
    (tmp_path / "file").write_text("")
    for path in ("/dev/full", "file/journal.jsonl"):
        process = begin(tmp_path, "def test_x(): pass", "--hil-journal", path)
        assert "--hil-journal" in finish(process)
        assert process.returncode == pytest.ExitCode.USAGE_ERROR


def test_a_broken_history_does_not_fail_the_run(tmp_path: Path) -> None:
    (tmp_path / "h.sqlite").write_text("no database " * 500)
    process = begin(tmp_path, "def test_x(): pass", "--hil-history", "h.sqlite")
    output = finish(process)
    assert process.returncode == 0
    assert "h.sqlite" in output
    assert "hil history add" in output


def test_a_second_run_leaves_the_journal_of_the_first(tmp_path: Path, history: History) -> None:
    for _ in range(2):
        finish(begin(tmp_path, "def test_x(): pass", "--hil-journal", "run/journal.jsonl"))
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["journal-1.jsonl", "journal.jsonl"]
    assert (add(history, [tmp_path / "run"]).runs, len({run.id for run in history.runs()})) == (2, 2)


def together(directory: Path, number: int, *options: str) -> list[subprocess.Popen[str]]:
    """So many sessions on one test each, which ends when all of them are at it."""
    code = f"""
        from pathlib import Path
        def test_x():
            meeting = Path({str(directory / "meeting")!r})
            meeting.mkdir(exist_ok=True)
            (meeting / str(os.getpid())).touch()
            end = time.monotonic() + {LONG}
            while len(list(meeting.iterdir())) < {number} and time.monotonic() < end: time.sleep(0.01)
            assert len(list(meeting.iterdir())) >= {number}
    """
    places = [directory / f"session-{index}" for index in range(number)]
    for place in places:
        place.mkdir()
    return [begin(place, code, "-p", "allure_pytest", *options) for place in places]


@pytest.mark.parametrize("number", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_sessions_with_one_directory_and_one_history_are_all_there(
    tmp_path: Path, history: History, number: int
) -> None:
    results, store = tmp_path / "allure", tmp_path / "shared.sqlite"
    processes = together(tmp_path, number, f"--alluredir={results}", f"--hil-history={store}")
    output = [finish(process) for process in processes]
    assert ["1 run added, with 1 test" in text for text in output] == [True] * number, output
    with History(store) as shared:
        runs = shared.runs()
        assert len({run.id for run in runs}) == number
        assert [test.outcome for test in shared.tests(runs)] == ["passed"] * number
    assert len(list(results.glob("journal*.jsonl"))) == number
    assert (added := add(history, [results])).runs == number, added.notes
    (tmp_path / "merged").mkdir()
    merged = merge([Part(results)], tmp_path / "merged")
    assert (merged.count, merged.notes) == (number, [])


def test_sessions_do_not_clean_each_other_s_results_away(tmp_path: Path, history: History) -> None:
    """They begin at the same moment, and so clean before or after the other's journal: both are there at the end."""
    results = tmp_path / "allure"
    processes = together(tmp_path, 2, f"--alluredir={results}", "--clean-alluredir")
    output = [finish(process) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], output
    assert add(history, [results]).runs == 2


def test_a_directory_where_another_session_writes_is_not_cleaned(tmp_path: Path, history: History) -> None:
    (first,) = together(tmp_path, 1, f"--alluredir={tmp_path / 'allure'}")
    finish(first)
    with (tmp_path / "allure" / "journal.jsonl").open("r+b") as file:  # as the session has it while it writes
        fcntl.flock(file, fcntl.LOCK_EX)
        (tmp_path / "other").mkdir()
        options = ("-p", "allure_pytest", f"--alluredir={tmp_path / 'allure'}", "--clean-alluredir")
        output = finish(begin(tmp_path / "other", "def test_y(): pass", *options))
    assert "is not cleaned: another run is still writing" in output
    assert sorted(path.name for path in (tmp_path / "allure").glob("*.jsonl")) == ["journal-1.jsonl", "journal.jsonl"]
    assert add(history, [tmp_path / "allure"]).runs == 2


def test_a_board_with_a_dot_in_its_name_is_a_board_of_its_own(tmp_path: Path) -> None:
    for name in ("qemu-v1.2", "qemu-v1.3"):
        (tmp_path / f"{name}.yaml").write_text(UNUSED_BOARD)
    boards = ("--board=qemu-v1.2.yaml", "--board=qemu-v1.3.yaml", "--hil-history=h.sqlite")
    finish(begin(tmp_path, "def test_x(board): pass", *boards))
    with History(tmp_path / "h.sqlite") as history:
        (run,) = history.runs()
        tests = history.tests([run])
    assert [test.test.rpartition("::")[2] for test in tests] == ["test_x[qemu-v1.2]", "test_x[qemu-v1.3]"]
    assert [test.board for test in tests] == ["qemu-v1.2", "qemu-v1.3"]


def test_a_failure_s_message_does_not_act_on_the_terminal(tmp_path: Path) -> None:
    output = finish(begin(tmp_path, "def test_x(): pytest.fail('title \\x1b]0;owned\\x07 \\u202e\\x9b2J')"))
    assert "title \\x1b]0;owned\\x07 \\u202e\\x9b2J" in output
    assert not set(output) & set("\x1b\x07\x9b\u202e")


def test_allure_s_directory_has_a_journal_though_it_is_cleaned(tmp_path: Path) -> None:
    (tmp_path / "allure").mkdir()
    (tmp_path / "allure" / "old-result.json").write_text("{}")
    finish(begin(tmp_path, "def test_x(): pass", "-p", "allure_pytest", "--alluredir", "allure", "--clean-alluredir"))
    account = journal.read(tmp_path / "allure" / "journal.jsonl")
    assert (list(account.tests), account.status) == (["tiny/test_t.py::test_x"], 0)
    assert not (tmp_path / "allure" / "old-result.json").exists()


# journals


def line(test: str, when: str, outcome: str, **more: Any) -> dict[str, Any]:
    return {"test": test, "when": when, "outcome": outcome, "seconds": 0.5, **more}


def whole(test: str, **more: Any) -> list[dict[str, Any]]:
    return [line(test, when, "passed", **more) for when in ("setup", "call", "teardown")]


def failed(test: str, fault: str = "image") -> list[dict[str, Any]]:
    return [line(test, "call", "failed", fault=fault, cause=f"the {fault}"), line(test, "teardown", "passed")]


def head(**more: Any) -> dict[str, Any]:
    return {"journal": journal.VERSION, "id": "i", "time": 1e9, **Head.here(), "pid": 0, "clock": "real time", **more}


def write(directory: Path, *lines: dict[str, Any], end: bool = True) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    ending = [{"end": 0, "time": 1e9 + 60}] if end else []
    path = directory / "journal.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in (*lines, *ending)))
    return path


def only(history: History) -> tuple[Run, list[Test]]:
    (run,) = history.runs()
    return run, history.tests([run])


def test_a_place_s_tests_are_named_by_its_board(tmp_path: Path, history: History) -> None:
    test = "suites/s/test_a.py::x[+lab=box{}]"
    write(
        tmp_path / "r",
        head(choices={"+lab=box": ""}, root="/x"),
        {"collected": [test.format(""), test.format("-a"), test.format("-b")]},
        *whole(
            test.format(""), board="qemu-uboot", place="box-2", image="reference", image_sha256="5f", transcript="x.raw"
        ),
        line(test.format("-a"), "setup", "failed", fault="infrastructure", cause="no place"),
    )
    add(history, [tmp_path / "r"])
    run, tests = only(history)
    assert [one.test for one in tests] == [f"suites/s/test_a.py::x[qemu-uboot{end}]" for end in ("", "-a", "-b")]
    assert {one.board for one in tests} == {"qemu-uboot"}
    assert (tests[0].place, tests[0].image, tests[0].image_sha256, tests[0].transcript) == (
        "box-2",
        "reference",
        "5f",
        "x.raw",
    )
    assert (run.board, tests[0].nodeid) == ("qemu-uboot", test.format(""))


def test_a_place_that_was_never_had_leaves_its_choice_in_the_names(tmp_path: Path, history: History) -> None:
    write(tmp_path / "r", head(choices={"place:a": ""}), {"collected": ["t.py::x[place:a]"]})
    add(history, [tmp_path / "r"])
    run, (test,) = only(history)
    assert (run.board, test.board, test.test) == ("place:a", "", "t.py::x[place:a]")


def test_a_test_has_its_own_clock_where_the_run_has_none(tmp_path: Path, history: History) -> None:
    tests = [*whole("t.py::x", clock="virtual time"), *whole("t.py::y", clock="real time"), *whole("t.py::z")]
    write(tmp_path / "r", head(clock="auto"), *tests)
    add(history, [tmp_path / "r"])
    _, found = only(history)
    assert [test.clock for test in found] == ["virtual time", "real time", ""]


def test_seeds_are_tests_of_their_own(tmp_path: Path, history: History) -> None:
    tests = [f"t.py::x[q-seed{number}]" for number in (1, 2)]
    choices = {f"q-seed{number}": f"q-seed{number}" for number in (1, 2)}
    write(
        tmp_path / "r", head(choices=choices, clock="virtual time"), {"collected": tests}, *whole(tests[0], board="q")
    )
    add(history, [tmp_path / "r"])
    _, found = only(history)
    assert [(one.test, one.board, one.clock) for one in found] == [(name, "q", "virtual time") for name in tests]


def test_half_a_last_line_is_left_out(tmp_path: Path, history: History) -> None:
    path = write(tmp_path / "r", head(), {"collected": ["a", "b"]}, *whole("a"), end=False)
    path.write_bytes(path.read_bytes() + b'{"test": "b", "when": "setup", "outc')
    add(history, [tmp_path / "r"])
    assert [test.outcome for test in only(history)[1]] == ["passed", "not run"]


@pytest.mark.parametrize(
    ("odd", "part"),
    [
        ({"test": "x", "outcome": "failed"}, "when"),
        ({"collected": 7}, "collected: 7"),
        ({"test": "x", "when": "call", "outcome": "failed", "seconds": 1}, "fault"),
        ({"test": "x", "when": "call", "outcome": "odd", "seconds": 1}, "outcome: 'odd'"),
        ({"test": "x", "when": "call", "outcome": "passed", "seconds": -1}, "seconds: -1"),
        ({"test": "x", "when": "call", "outcome": "passed", "seconds": 10**400}, "seconds: "),
        ({"test": {"x": 1}, "when": "call", "outcome": "passed", "seconds": 1}, "test: {'x': 1}"),
        ({"boots": [{"board": "b"}]}, "fault"),
        ({"end": 2**70, "time": 1e9}, "end: "),
        ({"end": 0, "time": float("inf")}, "Infinity"),
        ([1], "JSON"),
    ],
)
def test_a_broken_line_is_named_and_left_out(tmp_path: Path, history: History, odd: Any, part: str) -> None:
    path = write(tmp_path / "r", head(), {"collected": ["good"]}, odd, *whole("good"))
    added = add(history, [tmp_path / "r"])
    assert (added.runs, added.broken) == (1, 1)
    assert f"{path}: line 3: " in added.notes[0]
    assert part in added.notes[0]
    assert [(test.test, test.outcome) for test in only(history)[1]] == [("good", "passed")]


def test_a_message_may_hold_anything(tmp_path: Path, history: History) -> None:
    cause = "\udcb0 \ud83d \0 \x1b[2J \u2028"
    write(
        tmp_path / "r",
        head(),
        line("t", "call", "failed", fault="test", cause=cause),
        line("t", "teardown", "passed"),
    )
    path = tmp_path / "r" / "journal.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # an editor's byte order mark
    assert add(history, [tmp_path / "r"]).broken == 0
    assert only(history)[1][0].cause == "\\xb0 \\ud83d \\x00 \x1b[2J \u2028"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "journal"),
        ("no json\n", "journal"),
        ("[1]\n", "journal"),
        ('{"x": 1}\n', "journal"),
        ('{"journal": "x"}\n', "journal"),
        ('{"journal": 1}\n', "version 1"),
        (f'{{"journal": {journal.VERSION + 1}}}\n', f"version {journal.VERSION + 1}"),
        ('{"journal": 2, "id": "j", "time": "x"}\n{"end": 0, "time": 1.0}\n', "time: 'x'"),
        ('{"journal": 2, "id": "j", "time": 1e999}\n{"end": 0, "time": 1.0}\n', "1e999"),
        ('{"journal": 2, "id": "j", "time": 1e17}\n{"end": 0, "time": 1.0}\n', "1e+17"),
        ('{"journal": 2, "id": "j", "time": NaN}\n{"end": 0, "time": 1.0}\n', "NaN"),
        ('{"journal": 2, "id": 7, "time": 1.0}\n{"end": 0, "time": 1.0}\n', "id: 7"),
        ("[" * 100_000 + "\n", "nested too deeply"),
    ],
)
def test_a_broken_journal_is_named_and_the_others_are_taken_in(
    tmp_path: Path, history: History, text: str, part: str
) -> None:
    write(tmp_path / "a" / "good", head(), {"collected": ["x"]})
    (tmp_path / "a" / "bad").mkdir()
    (tmp_path / "a" / "bad" / "journal.jsonl").write_text(text)
    added = add(history, [tmp_path / "a"])
    assert (added.runs, added.broken) == (1, 1)
    assert part in added.notes[0]
    assert "bad/journal.jsonl" in added.notes[0]


def test_a_directory_without_a_run_is_refused(tmp_path: Path, history: History) -> None:
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        add(history, [tmp_path])


def test_a_run_of_another_machine_is_left_until_it_is_known_to_have_ended(tmp_path: Path, history: History) -> None:
    path = write(tmp_path / "r", head(host="elsewhere"), {"collected": ["x"]}, end=False)
    assert "on elsewhere" in add(history, [tmp_path / "r"]).notes[0]
    assert (history.runs(), add(history, [tmp_path / "r"], ended=True).killed) == ([], 1)
    write(tmp_path / "s", head(host="elsewhere", id="j"), {"collected": ["x"]}, end=False)
    long_ago = time.time() - ingest.QUIET - 60
    os.utime(tmp_path / "s" / path.name, (long_ago, long_ago))
    assert add(history, [tmp_path / "s"]).killed == 1


@pytest.mark.parametrize("wrong", [{"boot": "another start"}, {"start": 1}])
def test_a_reused_pid_is_not_a_running_run(tmp_path: Path, history: History, wrong: dict[str, Any]) -> None:
    write(tmp_path / "r", head(**Head.here() | wrong), {"collected": ["x"]}, end=False)
    assert add(history, [tmp_path / "r"]).killed == 1
    write(tmp_path / "s", head(**Head.here(), id="j"), {"collected": ["x"]}, end=False)
    assert add(history, [tmp_path / "s"]).running == 1


# results files


def measured(path: Path, facts: dict[str, str]) -> None:
    results.write(path, Series("q", "s", [1.0, 2.0], Clock("c", 1e-9)), facts=facts)


def test_series_are_found_where_the_directory_was_moved_to(tmp_path: Path, history: History) -> None:
    write(tmp_path / "r", head(results="/gone/figures.jsonl"), {"collected": ["x"]})
    measured(tmp_path / "r" / "figures.jsonl", {"run": "i", "QEMU": "9"})
    add(history, [tmp_path / "r"])
    run, _ = only(history)
    assert (len(history.series(run)), run.facts["QEMU"], "run" in run.facts) == (1, "9", False)


def test_another_run_s_series_are_not_taken(tmp_path: Path, history: History) -> None:
    write(tmp_path / "r", head(results=str(tmp_path / "shared.jsonl")), {"collected": ["x"]})
    measured(tmp_path / "shared.jsonl", {"run": "another"})
    assert add(history, [tmp_path / "r"]).series == 0


def test_a_torn_or_broken_results_file_is_noted(tmp_path: Path, history: History) -> None:
    for name in ("torn", "broken"):
        write(tmp_path / name, head(id=name), {"collected": ["x"]})
        measured(tmp_path / name / "results.jsonl", {"run": name})
    torn, broken = (tmp_path / name / "results.jsonl" for name in ("torn", "broken"))
    torn.write_bytes(torn.read_bytes() + b'{"quan')
    broken.write_bytes(broken.read_bytes() + b'{"quantity": 1}\n')
    added = add(history, [tmp_path / "torn", tmp_path / "broken"])
    assert (added.runs, added.series) == (2, 1), "its tests are not lost"
    assert str(torn) in added.notes[0]
    assert str(broken) in added.notes[1]


# nights


def night(root: Path, name: str, plan: str = "p") -> Path:
    path = root / name
    path.mkdir(parents=True)
    (path / "state.json").write_text(json.dumps({"plan": plan}))
    return path


def test_a_directory_of_nights_is_taken_in_with_plan_and_tries(tmp_path: Path, history: History) -> None:
    root = tmp_path / "nights"
    for number in (1, 2):
        made = night(root, f"2026-01-0{number}")
        write(made / "job-b" / "try-1", head(id=f"n{number}", time=number * 1e6), {"collected": ["x"]})
    write(night(root, ".removing-2025-01-01") / "job-b" / "try-1", head(id="going"))
    (root / "latest").symlink_to("2026-01-02")
    assert add(history, [root]).runs == 2
    assert [(run.night, run.name, run.plan, run.attempt) for run in history.runs()] == [
        ("2026-01-01", "job-b", "p", 1),
        ("2026-01-02", "job-b", "p", 1),
    ]
    assert add(history, [root / "latest"]).known == 1
    assert location_of(root / "latest" / "job-b" / "try-1" / "journal.jsonl")["night"] == "2026-01-02"


def test_a_failure_of_an_earlier_try_stands(tmp_path: Path, history: History) -> None:
    run = night(tmp_path, "2026-01-01") / "job-b"
    write(
        run / "try-1",
        head(id="one"),
        {"collected": ["a", "b", "c"]},
        *failed("a"),
        *failed("b", "infrastructure"),
        end=False,
    )
    write(run / "try-2", head(id="two"), {"collected": ["a", "b", "c"]}, *whole("a"), *whole("b"), *whole("c"))
    assert add(history, [tmp_path / "2026-01-01"]).runs == 2
    last, tests = only(history)
    assert (last.id, last.attempt) == ("two", 2)
    assert outcomes(tests) == {"a": ("failed", "image", "the image"), "b": ("passed", "", ""), "c": ("passed", "", "")}
    assert len(tests) == 3


def test_a_night_s_runs_are_archived_and_no_night_fails_of_it(tmp_path: Path) -> None:
    directory = night(tmp_path, "2026-01-01") / "job-b" / "try-1"
    write(directory, head(**Head.here(), id="one"), {"collected": ["a"]}, end=False)
    archive = HistoryImport(tmp_path)
    archive.add(tmp_path)
    assert "still running" in archive.notes[0]
    archive.add(directory, ended=True)
    archive.add(tmp_path / "2026-01-01")
    assert len(archive.notes) == 1
    with History(archive.store) as history:
        assert [(run.night, run.state) for run in history.runs()] == [("2026-01-01", "killed")]
    archive.store.write_text("no database " * 500)
    archive.add(directory)
    archive.add(directory)
    assert len(archive.notes) == 2, "a reason is listed once"
    assert f"`hil history add {directory}`" in archive.notes[1]
    archive.add(tmp_path / "nothing")


def test_boots_and_what_pytest_died_of_are_kept(tmp_path: Path, history: History) -> None:
    boot = {"board": "b", "kind": "boot", "fault": "image", "stage": "guest", "cause": "silent"}
    write(
        tmp_path / "r",
        head(command=["-x"]),
        {"problem": "broken.py", "cause": "SyntaxError"},
        line("x", "setup", "failed", fault="image", cause="c", boots=[boot]),
        {"died": "ValueError: x"},
    )
    add(history, [tmp_path / "r"])
    run, _ = only(history)
    (found,) = history.boots([run])
    assert (found.board, found.kind, found.fault, found.stage, found.cause) == ("b", "boot", "image", "guest", "silent")
    assert (run.facts["died"], run.facts["problem 1"], run.facts["command"]) == (
        "ValueError: x",
        "broken.py: SyntaxError",
        "-x",
    )


def test_an_import_is_summed_up_in_a_line() -> None:
    assert str(Added(runs=2, killed=1, tests=3, series=1, known=4)) == (
        "2 runs added, 1 of them killed, with 3 tests and 1 series; 4 known already"
    )
