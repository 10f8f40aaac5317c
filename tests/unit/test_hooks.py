"""The hooks of other plugins: when they are called, with what, and what becomes of exceptions in them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import matplotlib.figure  # noqa: F401
import numpy  # noqa: F401
import pytest
import scipy.special  # noqa: F401
from pytest_runs import LOAD, ROOT, PytestProcess
from support import UNCHECKED, children, stub_board, until
from test_replay import SMOKE, board_file

import hil.board.board
import hil.labgrid
import hil.measure.measure
import hil.measure.results
import hil.wasm.runner
import hil.wasm.samples  # noqa: F401
from hil.board.board import Board
from hil.board.lifecycle import Lifecycle

pytest_plugins = ["pytester"]

RECORDING = """
import json
def _note(**facts):
    with open("hooks.jsonl", "a") as file:
        file.write(json.dumps(facts) + "\\n")
def pytest_hil_board_up(board, guest, up):
    assert board.up and guest.board is board
    _note(hook="up", board=up.board, kind=up.kind, emulated=up.emulated, clock=up.clock, stages=len(up.report.stages),
          image=up.image, sha256=up.image_sha256, transcript=up.transcript.exists())
def pytest_hil_execution(execution, item):
    _note(hook="execution", verdict=str(execution.verdict), test=item.name)
def pytest_hil_series(series, checks, item):
    _note(hook="series", quantity=series.quantity, outcomes=[str(check.outcome) for check in checks], test=item.name)
def pytest_hil_board_down(board, down, guest):
    assert (guest is not None) == down.usable
    _note(hook="down", reason=down.reason, cause=down.cause, usable=down.usable, paired=down.up is not None,
          transcript=down.transcript is not None)
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run pytest within this process, with a conftest and a test file, on the stub where no other board is given."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def act(conftest: str, code: str, *options: str, recorded: bool = False) -> pytest.RunResult:
        pytester.makeconftest(conftest)
        if code:
            pytester.makepyfile(code)
        if "--board" not in options:
            options += ("--board", str(stub_board(pytester.path)))
        before = children(os.getpid())
        with monkeypatch.context() as patched:
            if not recorded:  # the stub has no shell to check
                patched.setattr("hil.plugin.session.Session._check_health", lambda session, board: None)
            result = pytester.runpytest_inprocess("-p", "hil.plugin", "-p", "no:cacheprovider", *options)
        until(lambda: set(children(os.getpid())) <= set(before))
        return result

    return act


def noted(directory: Path) -> list[dict[str, Any]]:
    """Return what the conftest `RECORDING` has written."""
    file = directory / "hooks.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def brief(events: list[dict[str, Any]]) -> list[str]:
    """Return ups as `up KIND`, downs as `down REASON`."""
    return [f"{event['hook']} {event.get('kind', event.get('reason', ''))}".strip() for event in events]


def test_each_boot_is_one_up_and_one_down_with_its_reason(run, pytester) -> None:
    code = """
        import os, signal, time
        import pytest
        from hil import Clock, Series, maximum, s
        def test_series(board):
            Series("q", "s", (0.5,), Clock("c", 1e-9)).check(maximum <= 1 * s)
            with pytest.raises(AssertionError):
                Series("r", "s", (0.5,), Clock("c", 1e-9)).check(maximum <= 0.1 * s)
        def test_unchecked(measure):
            measure.derived(Series("u", "s", (0.5,), Clock("c", 1e-9)))
        @pytest.mark.destructive
        def test_destructive(board): pass
        def test_killed(board):
            os.kill(board.qemu.pid, signal.SIGKILL)
            while board.power.get(): time.sleep(0.01)
        def test_off(power): power.off()
        def test_booted_within(board): board.boot()
    """
    run(RECORDING, code, "--clock", "real").assert_outcomes(passed=6)
    events = noted(pytester.path)
    assert brief(events) == [
        *("up boot", "series", "series", "series", "down fresh"),
        *("up boot", "down dead"),
        *("up boot", "down dead"),
        *("up boot", "down fresh"),
        *("up boot", "down released"),
    ]
    up, down = events[0], events[4]
    assert up["emulated"]
    assert (up["board"], up["clock"], up["stages"], up["transcript"]) == ("stub", "real time", 3, True)
    assert re.fullmatch("[0-9a-f]{64}", up["sha256"])
    assert (down["usable"], down["cause"]) == (True, "test_destructive[stub] is destructive")
    dead, off = (event for event in events if event.get("reason") == "dead")
    assert (dead["usable"], dead["cause"]) == (False, "its machine has ended")
    assert (off["usable"], off["transcript"]) == (False, True)
    assert [(event["quantity"], event["outcomes"], event["test"]) for event in events if event["hook"] == "series"] == [
        ("q", ["pass"], "test_series[stub]"),
        ("r", ["fail"], "test_series[stub]"),
        ("u", [], "test_unchecked[stub]"),
    ]


def test_restores_are_told_from_boots_and_a_boot_to_be_saved_is_none(run, pytester, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    board = stub_board(pytester.path)
    manifest = board.with_name("stub.toml")
    manifest.write_text(manifest.read_text().replace('"-kernel"', '"-m", "64", "-kernel"'))
    code = "def test_1(board): pass\ndef test_2(board): pass"
    run(RECORDING, code, "--board", str(board)).assert_outcomes(passed=2)
    assert brief(noted(pytester.path)) == ["up restore", "down fresh", "up restore", "down released"]


def test_a_boot_that_fails_is_a_down_without_an_up(run, pytester) -> None:
    board = stub_board(pytester.path)
    manifest = pytester.path / "stub.toml"
    manifest.write_text(manifest.read_text().replace('marker = "# "\nlimit = 20', 'marker = "never"\nlimit = 0.2'))
    run(RECORDING, "def test_1(board): pass", "--board", str(board)).assert_outcomes(errors=1)
    (event,) = noted(pytester.path)
    assert (event["reason"], event["usable"], event["paired"], event["transcript"]) == ("failed", False, False, True)
    assert "stage shell" in event["cause"]


SERIES = """

import pytest
from hil import Clock, Series, maximum, s

@pytest.fixture(autouse=True)
def series(board):
    yield
    Series("q", "s", (0.5,), Clock("c", 1e-9)).check(maximum <= 1 * s)
"""


@pytest.fixture
def recording(pytester: pytest.Pytester) -> Path:
    """The smoke suite, and a board that replays a session of it with its health checks; it is not emulated.

    The end of the line is left out of the recording, so that the board is there at the end of the suite.
    """
    shutil.copy(SMOKE, pytester.path)
    index = SMOKE.with_suffix(".tsv").read_text()
    (pytester.path / SMOKE.name).with_suffix(".tsv").write_text(index[: index.rindex("\n", 0, -1) + 1])
    test = pytester.path / "test_smoke.py"
    shutil.copy(ROOT / "suites" / "smoke" / "test_smoke.py", test)
    test.write_text(test.read_text() + SERIES)
    return board_file(pytester.path, pytester.path / SMOKE.name, ROOT / "images" / "reference.toml")


def test_executions_of_a_board_that_is_not_emulated(run, recording, pytester) -> None:
    run(RECORDING, "", "--board", str(recording), "-k", "not files", recorded=True).assert_outcomes(
        passed=4, deselected=1
    )
    events = noted(pytester.path)
    assert brief(events)[:2] == ["up boot", "series"]
    assert brief(events)[-1] == "down released"
    assert not events[0]["emulated"]
    assert {event["verdict"] for event in events if event["hook"] == "execution"} == {"exited(0)"}
    assert [brief([event])[0] for event in events].count("series") == 4


def test_the_example_of_the_documentation_runs(run, recording, pytester) -> None:
    page = (ROOT / "docs" / "plugin-api.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(# conftest\.py\n.*?)```", page, re.DOTALL)
    run(example, "", "--board", str(recording), "-k", "not files", recorded=True).assert_outcomes(
        passed=4, deselected=1
    )
    lines = [json.loads(line) for line in (pytester.path / "bench.jsonl").read_text().splitlines()]
    assert {line["what"] for line in lines} == {"up", "execution", "series", "down"}
    assert (lines[-1]["what"], lines[-1]["reason"]) == ("down", "released")
    assert "dmesg" in lines[-1]["log"], "the recording holds no such command"
    assert (pytester.path / "series.lp").read_text().count("hil,quantity=q,subject=s n=1i,median=0.5,max=0.5 ") == 4


RAISING = """
import pytest
from hil import GuestError, InfrastructureError
def {hook}({argument}):
    {body}
"""
CHECKED = """
    from hil import Clock, Series, maximum, s
    def test_1(board): Series("q", "s", (0.5,), Clock("c", 1e-9)).check(maximum <= 1 * s)
    def test_2(board): pass
"""


@pytest.mark.parametrize(
    ("body", "kind", "origin"),
    [
        ("raise OSError('no route')", "HookError", "test"),
        ("assert False, 'no route'", "HookError", "test"),
        ("raise GuestError('no route')", "HookError", "test"),
        ("pytest.skip('no route')", "HookError", "test"),
        ("raise InfrastructureError('no route')", "InfrastructureError", "infrastructure"),
    ],
)
def test_an_exception_names_hook_and_plugin_and_is_never_the_image_s(run, pytester, body, kind, origin) -> None:
    conftest = RAISING.format(hook="pytest_hil_series", argument="series", body=body)
    result = run(conftest, CHECKED, "--hil-journal", "j.jsonl", "--hil-retries", "0", "--clock", "real")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_1*", f"*{kind} ({origin}): pytest_hil_series of conftest.py*"]
    )
    result.stdout.fnmatch_lines(["*conftest.py, line 4, has raised*no route*"])
    lines = [json.loads(line) for line in (pytester.path / "j.jsonl").read_text().splitlines()]
    assert [line["fault"] for line in lines if line.get("outcome") == "failed"] == [origin]


def test_a_board_that_a_hook_has_not_prepared_is_no_test_s(run, pytester) -> None:
    conftest = RAISING.format(hook="pytest_hil_board_up", argument="up", body="raise OSError('no fan')")
    code = "def test_1(board): pass\ndef test_2(board): pass\ndef test_3(board): pass"
    result = run(RECORDING.replace("pytest_hil_board_up", "unused") + conftest, code)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            *2 * ["*HookError (test): pytest_hil_board_up of conftest.py*no fan"],
            "*HookError (test): board stub is dead since an earlier test: pytest_hil_board_up*",
        ]
    )
    assert brief(noted(pytester.path)) == ["down fresh", "down released"], "the third test boots no more"


def test_after_a_hook_that_failed_once_the_board_is_prepared_again(run) -> None:
    body = "up.report.transcript.parent.joinpath('once').exists() or (up.report.transcript.parent.joinpath('once').touch(), 1 / 0)"
    conftest = RAISING.format(hook="pytest_hil_board_up", argument="up", body=body)
    code = "def test_1(board): pass\ndef test_2(board): assert board.boots == 2"
    run(conftest, code).assert_outcomes(errors=1, passed=1)


def test_a_failed_hook_of_a_board_that_goes_down_is_the_run_s(run) -> None:
    conftest = RAISING.format(hook="pytest_hil_board_down", argument="down", body="raise OSError('no log')")
    result = run(conftest, "import pytest\n@pytest.mark.destructive\ndef test_1(board): pass\ndef test_2(board): pass")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*= hooks =*", "*pytest_hil_board_down of conftest.py*no log (2 times)"])


def test_a_plugin_that_fails_does_not_keep_another_from_its_hook(run, pytester) -> None:
    conftest = RAISING.format(hook="pytest_hil_series", argument="series", body="raise OSError('no route')")
    pytester.makepyfile(other=RECORDING)
    pytester.syspathinsert()
    run(conftest, CHECKED, "-p", "other", "--clock", "real").assert_outcomes(passed=2, errors=1)
    assert "series" in brief(noted(pytester.path))


def test_a_hook_that_ends_the_run_ends_it(run) -> None:
    conftest = RAISING.format(hook="pytest_hil_series", argument="series", body="pytest.exit('enough', 7)")
    result = run(conftest, CHECKED, "--clock", "real")
    assert result.ret == 7


def test_what_a_hook_does_to_the_board_is_not_reported_to_hooks(run, pytester) -> None:
    conftest = RECORDING.replace('_note(hook="up"', 'board.boot(); _note(hook="up"')
    run(conftest, "def test_1(board): assert board.boots == 2").assert_outcomes(passed=1)
    assert brief(noted(pytester.path)) == ["up boot", "down released"]


@pytest.mark.parametrize(
    ("conftest", "expected"),
    [
        ("def pytest_hil_board_up(boad): pass", "Argument(s) {'boad'} are declared in the hookimpl"),
        ("def pytest_hil_bord_up(board): pass", "unknown hook 'pytest_hil_bord_up'"),
    ],
)
def test_a_typo_is_an_error_before_the_first_test(run, conftest, expected) -> None:
    result = run(conftest, "def test_1(): pass")
    assert result.ret != pytest.ExitCode.OK
    assert expected in result.stdout.str() + result.stderr.str()


def test_a_wrapper_is_refused(run) -> None:
    conftest = "import pytest\n@pytest.hookimpl(wrapper=True)\ndef pytest_hil_series(series):\n    return (yield)"
    result = run(conftest, CHECKED, "--clock", "real")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*HookError (test): pytest_hil_series of conftest.py*wrapper*"])


def test_a_conftest_s_series_are_those_of_its_tests(run, pytester) -> None:
    for name in ("a", "b"):
        directory = pytester.mkpydir(name)
        (directory / f"test_{name}.py").write_text(
            "from hil import Clock, Series, maximum, s\n"
            f"def test_{name}(board): Series('{name}', 's', (0.5,), Clock('c', 1e-9)).check(maximum <= 1 * s)\n"
        )
    (pytester.path / "a" / "conftest.py").write_text(RECORDING)
    run("", "", "--clock", "real").assert_outcomes(passed=2)
    events = noted(pytester.path)
    assert [event["quantity"] for event in events if event["hook"] == "series"] == ["a"]
    assert brief(events)[-1] == "down released"


def test_with_xdist_the_workers_call_and_the_run_s_failures_are_in_the_summary(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        UNCHECKED + "def pytest_hil_board_up(up, config):\n"
        "    (config.rootpath / config.workerinput['workerid']).touch()\n"
        "def pytest_hil_board_down(down):\n    raise OSError('no log')\n"
    )
    (tmp_path / "test_x.py").write_text(
        "import pytest\n@pytest.mark.destructive\ndef test_1(board): pass\ndef test_2(board): pass\n"
    )
    stub_board(tmp_path)
    options = ("--board", "stub.yaml", "-p", "xdist", "-n", "1", "-p", "no:cacheprovider", "-p", "no:labgrid")
    process = PytestProcess(tmp_path, *LOAD, *options)
    output = process.finish()
    assert process.returncode == 1, output
    assert "2 passed" in output
    assert output.count("pytest_hil_board_down of conftest.py, line 6, has raised OSError: no log (2 times)") == 1, (
        output
    )
    assert {path.name for path in tmp_path.glob("gw*")} == {"gw0"}


def test_a_board_whose_place_was_lost_is_dead(tmp_path: Path) -> None:
    events: list[Any] = []
    lifecycle = Lifecycle(events.append, events.append)
    with Board(str(stub_board(tmp_path)), transcripts=tmp_path, lifecycle=lifecycle, snapshots=False) as board:
        board.place = cast(
            Any, SimpleNamespace(name="p1", lost="its holder is me/other", borrowed=False, close=lambda: None)
        )
        board.boot()
    up, down = events
    assert (up.board, up.place, up.kind) == ("stub", "p1", "boot")
    assert (down.place, down.reason, down.cause, down.usable) == ("p1", "dead", "its holder is me/other", False)
    assert down.up is up
    assert dataclasses.is_dataclass(down)
    with pytest.raises(dataclasses.FrozenInstanceError):
        down.reason = "off"
