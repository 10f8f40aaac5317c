"""What tests that run have on their pages in the report, and the command that repeats them."""

from __future__ import annotations

import json
import shlex

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import matplotlib.figure  # noqa: F401
import pytest
from report_pages import Page, is_closed
from support import UNUSED_BOARD, stub_board

import hil.board.board
import hil.labgrid
import hil.measure.measure
import hil.report.evidence
import hil.wasm  # noqa: F401
from hil.report import repeat
from hil.report.templates import asset

pytest_plugins = ["pytester"]


# the command


def test_the_command_is_for_a_shell_and_names_what_must_be_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    modules = (
        repeat.Deployed("a.wasm", "ab" * 32, str(tmp_path / "a b.wasm"), ("-x", "$HOME"), ("BUTTON", "LED")),
        repeat.Deployed("b.wasm", "ab" * 32, "b.wasm", env=(("A", "1 2"),), directories=("/data", "out:rw")),
        repeat.Deployed("made", "cd" * 32, ""),
        repeat.Deployed("c.wasm", "12" * 32, "c.wasm", aot=True),
    )
    ran = repeat.Ran(
        "t.py::test[it's $x]", ("--board", "b"), tmp_path, "b", "img", "ef" * 32, 3, modules, {"QEMU": "9"}
    )
    text = str(ran)
    assert text.splitlines()[0] == f"# in {tmp_path}"
    assert shlex.split(text.splitlines()[1]) == ["pytest", "t.py::test[it's $x]", "--board", "b"]
    assert f"image      img sha256 {'ef' * 32}" in text
    assert f"module     made sha256 {'cd' * 32} (made by the test)" in text
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("hil ")]
    assert commands == [
        ["hil", "image", "info", "img"],
        [
            "hil",
            "run",
            "--board",
            "b",
            "--image",
            "img",
            "--seed",
            "3",
            "--pins",
            "BUTTON,LED",
            "--",
            "a b.wasm",
            "-x",
            "$HOME",
        ],
        [
            *("hil", "run", "--board", "b", "--image", "img", "--seed", "3", "--env", "A=1 2"),
            *("--dir", "DIRECTORY:/data", "--dir", "DIRECTORY:out:rw", "--", "b.wasm"),
        ],
        ["hil", "run", "--board", "b", "--image", "img", "--seed", "3", "--aot", "--", "c.wasm"],
    ]
    assert f"module     c.wasm sha256 {'12' * 32} (c.wasm), compiled" in text
    assert "framework" in text


def test_a_commit_is_that_of_the_directory(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert repeat.commit(tmp_path) == "" or repeat.commit(tmp_path) == repeat.commit(tmp_path.parent)
    assert repeat.commit(tmp_path / "nowhere") == ""


# all of it, of tests that run


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run pytest within this process with Allure on the stub, and give what is attached to each test."""
    # labgrid's own plugin can be loaded once a process only
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr("hil.plugin.session.Session._check_health", lambda session, board: None)
    stub_board(pytester.path)

    def act(*options: str) -> tuple[pytest.RunResult, dict[str, dict[str, str]]]:
        results = pytester.path / "results"
        for path in results.glob("*"):
            path.unlink()
        plugins = ("hil.plugin", "allure_pytest.plugin", "no:cacheprovider")
        loaded = [word for plugin in plugins for word in ("-p", plugin)]
        result = pytester.runpytest_inprocess(*loaded, "--alluredir", "results", *options)
        found: dict[str, dict[str, str]] = {}
        for path in results.glob("*-result.json"):
            told = json.loads(path.read_text())
            test = told["fullName"].rpartition("#")[2]
            attached = found.setdefault(test, {})
            for one in told.get("attachments", []):
                attached[one["name"]] = (results / one["source"]).read_text(errors="replace")
        return result, found

    return act


TESTS = """
import pytest
def test_passes(board, console):
    console.write(b"ab\\n")
    console.wait_for(b"# ", timeout=10)
@pytest.mark.parametrize("text", ["it's", "a b"])
def test_fails(board, console, text):
    console.write(b"ab\\n")
    console.wait_for(b"# ", timeout=10)
    assert not text, "<script>"
def test_boots(board):
    board.boot()
    assert False
def test_without(request): pass
"""


def test_each_test_has_what_a_reviewer_needs_first_things_first(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=TESTS)
    result, found = run("--board", "stub.yaml", "--hil-no-snapshots")
    result.assert_outcomes(passed=2, failed=3)
    assert list(found["test_passes"]) == ["repeat this test", "console", "console.cast"]
    assert found["test_without"] == {}
    failing = found["test_fails"]
    assert [name for name in failing if name != "console, played"] == ["repeat this test", "console", "console.cast"]
    (row,) = (row for row in Page(failing["console"]).rows if row[2] == "fail")
    assert "AssertionError: <script>" in row[-1]
    is_closed(failing["console"], asset("console.js"))
    boots = found["test_boots"]
    assert "console 2" in boots
    staged = [row for row in Page(boots["console 2"]).rows if row[3:4] in (["stage"], ["fail"])]
    assert "stage start, " in "".join(row[-1] for row in staged)
    assert 'class="typed"' in boots["console 2"], "the login"
    assert sum(map(len, found["test_passes"].values())) < 40_000


def test_the_attached_command_repeats_the_test(run, pytester, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=TESTS)
    _, found = run(
        "--board",
        "./stub.yaml",
        "--hil-no-snapshots",
        "--hil-fault-seed",
        "7",
        "--hil-repeat",
        "2",
        "-k",
        "fails or passes",
    )
    for test, outcome in (("test_passes", "passed"), ("test_fails", "failed")):
        lines = found[test]["repeat this test"].splitlines()
        assert lines[0] == f"# in {pytester.path}"
        word, *arguments = shlex.split(lines[1])
        assert word == "pytest"
        assert arguments[1:] == ["--board", "stub.yaml", "--hil-no-snapshots", "--hil-fault-seed", "7"]
        result, again = run(*arguments)
        result.assert_outcomes(**{outcome: 1})
        assert list(again) == [test]
        assert again[test]["repeat this test"].splitlines()[1] == lines[1], "and so on"


def test_a_boot_that_fails_shows_its_console_and_how_to_try_again(run, pytester) -> None:  # type: ignore[no-untyped-def]
    text = (pytester.path / "stub.toml").read_text()
    text = text.replace('name = "shell"\nmarker = "# "\nlimit = 20', 'name = "shell"\nmarker = "never"\nlimit = 0.5')
    (pytester.path / "stub.toml").write_text(text)
    pytester.makepyfile(test_it="def test_x(board): pass")
    result, found = run("--board", "stub.yaml", "--hil-no-snapshots")
    result.assert_outcomes(errors=1)
    attached = found["test_x"]
    assert list(attached)[:2] == ["repeat this test", "console"]
    assert "pytest 'test_it.py::test_x[stub]' --board stub.yaml --hil-no-snapshots" in attached["repeat this test"]
    rows = Page(attached["console"]).rows
    assert "stage start" in next(row for row in rows if row[-2] == "stage")[-1]
    assert "stage shell" in next(row for row in rows if row[-2] == "fail")[-1]


def test_what_a_dead_board_showed_is_attached_once(run, pytester) -> None:  # type: ignore[no-untyped-def]
    text = (
        (pytester.path / "stub.toml")
        .read_text()
        .replace('marker = "stub starts"\nlimit = 20', 'marker = "x"\nlimit = 0.3')
    )
    (pytester.path / "stub.toml").write_text(text)
    pytester.makepyfile(test_it="".join(f"def test_{number}(board): pass\n" for number in range(4)))
    _, found = run("--board", "stub.yaml", "--hil-no-snapshots")
    assert sum("repeat this test" in attached for attached in found.values()) == 4
    assert sum("console" in attached for attached in found.values()) == 2, "of the two boots; then it is dead"


def test_a_page_that_cannot_be_made_does_not_end_the_run(run, pytester, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr("hil.report.evidence.attach_console", broken)
    pytester.makepyfile(test_it=TESTS)
    result, found = run("--board", "stub.yaml", "--hil-no-snapshots", "-k", "passes or fails")
    result.assert_outcomes(passed=1, failed=2, warnings=result.parseoutcomes().get("warnings"))
    result.stdout.fnmatch_lines(["*test_passes*OSError: *the disk is gone*"])
    assert list(found["test_passes"]) == ["repeat this test"]


def test_a_board_that_is_not_there_is_told_with_the_command(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it="def test_x(board): pass")
    (pytester.path / "nowhere.yaml").write_text(UNUSED_BOARD)
    _, found = run("--board", "nowhere.yaml")
    assert list(found["test_x"]) == ["repeat this test"]
    assert "--board nowhere.yaml" in found["test_x"]["repeat this test"]


SEEDS = """
from hil.plugin.page import repeat_options as options
from hil.plugin.selection import BoardSelection
def test_x(request):
    config = request.config
    assert list(options(config, BoardSelection("b", 3, 5))) == ["--board", "b", "--clock", "virtual", "--hil-seed", "3"]
    assert list(options(config, BoardSelection("place:box-1"))) == ["--board", "place:box-1"]
"""


def test_a_seed_and_a_place_are_named(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=SEEDS)
    result, _ = run("--board", "stub.yaml")
    result.assert_outcomes(passed=1)


MEASURES = """
import pytest
from hil import Clock, Series, p50, ms
from hil.plugin.record import record_of
from hil.plugin.session import SESSION
@pytest.fixture
def measured(request, board):
    measure = request.config.stash[SESSION].measure(board)
    record_of(request.node).measure = measure
    return measure
def test_kept(measured):
    measured.derived(Series("a", "b", [1e-3] * 20, Clock("guest counter", 1e-9, floor=0.0)))
def test_judged(measured):
    measured.check(Series("a", "b", [1e-3] * 20, Clock("guest counter", 1e-9, floor=0.0)), p50 <= 0.5 * ms)
"""


def test_figures_are_on_the_page_of_the_test_that_took_them(run, pytester, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=MEASURES)
    result, found = run("--board", "stub.yaml", "--hil-no-snapshots", "--hil-baselines", str(tmp_path))
    result.assert_outcomes(passed=1, failed=1)
    assert [name.partition(":")[0] for name in found["test_kept"]] == ["repeat this test", "figures", "samples"]
    judged = [name.partition(":")[0] for name in found["test_judged"] if name != "console, played"]
    assert judged == ["repeat this test", "console", "figures", "histogram", "timeline", "percentiles", "samples"]
    assert "2 times the limit" in found["test_judged"]["figures"]
    arguments = shlex.split(found["test_judged"]["repeat this test"].splitlines()[1])
    given = arguments[arguments.index("--hil-baselines") + 1]
    assert (pytester.path.parent / given).samefile(tmp_path)


SAME = """
import pytest
from hil import p50, ms
from hil.measure.clock import Clock
from hil.measure.series import Series
@pytest.mark.parametrize(("number", "name"), [(1, "same"), (2, "same"), (3, "other")])
def test_it(board, number, name):
    facts = {"test": f"test_it[{number}]", "board": "stub"}
    samples, clock = [1e-3] * 20, Clock("guest counter", 1e-9, floor=0.0)
    Series("latency", name, samples, clock, provenance=facts).check(p50 <= 2 * ms)
"""


def test_series_with_the_same_heading_have_their_tests_in_the_summary(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=SAME)
    result, _ = run("--board", "stub.yaml", "--hil-no-snapshots")
    headings = [line for line in result.outlines if line.startswith("latency of ")]
    assert [line.partition("floor none")[2] for line in headings] == [", test: test_it[1]", ", test: test_it[2]", ""]


WITH_SIGNALS = """
import numpy as np
import pytest
from hil import percent
from hil.measure.response import overshoot
from hil.signals.loop.result import LoopResult
from hil.signals.loop.sampled import SampledSignal
from hil.errors import InfrastructureError
from hil.measure.clock import VIRTUAL, Clock
from hil.measure.series import Series
from hil.plugin.record import record_of
from hil.signals.edges import Edges
from hil.signals.trace.timeline import Timeline
CLOCK = Clock(VIRTUAL, 1e-9, exact=True)
class Pins:
    def timeline(self):
        ticks = np.array([0, 5_000_000])
        return Timeline(VIRTUAL, outputs=[Edges("LED", ticks, np.array([0, 1], np.uint8), 9_000_000, 1e9, CLOCK)])
class Dead:
    def timeline(self):
        raise InfrastructureError("the machine has died")
def a_loop():
    temperature = SampledSignal("signal", "temperature", [20.0, 49.5], CLOCK, "1", [0.0, 0.001], physical_unit="C")
    late = Series("step lateness", "oven", [0.0], CLOCK)
    return LoopResult({"temperature": temperature}, 0.001, 0, 0.001, late, (), late, 1.0, {})
def test_wires(board, request):
    record = record_of(request.node)
    record.traced.append(Pins())
    record.loops.append(a_loop())
    record.loops[0].response("temperature", 50, band=2 * percent).check(overshoot <= 1 * percent)
def test_dead(board, request):
    record_of(request.node).traced += [Pins(), Dead()]
    assert False
def test_none(board): pass
"""


def test_a_test_with_pins_or_a_loop_has_traces_and_a_picture(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=WITH_SIGNALS)
    result, found = run("--board", "stub.yaml", "--hil-no-snapshots")
    result.assert_outcomes(passed=2, failed=1)
    assert "signals" not in found["test_none"]
    wires = found["test_wires"]
    assert "set point 50 of temperature" in wires["loop"]
    kinds = [name.partition(":")[0] for name in wires]
    assert [kind for kind in kinds if kind in ("histogram", "timeline", "percentiles")] == ["timeline"]
    assert list(wires)[-4:] == ["signals", "signals.vcd", "signals.pftrace", "loop"]
    assert "1 pin, 1 signal, 0 CAN frames, 4 changes; clock: virtual time" in wires["signals"]
    assert "https://ui.perfetto.dev" in wires["signals"]
    assert "$var wire 1 ! LED $end" in wires["signals.vcd"]
    assert "temperature" in wires["signals.pftrace"]
    assert 'role="img"' in wires["loop"]
    assert "temperature: 20 to 49.5, at the end 49.5 C" in wires["loop"]
    dead = found["test_dead"]
    assert "missing: the machine has died" in dead["signals"]
    assert "LED" in dead["signals.vcd"]
