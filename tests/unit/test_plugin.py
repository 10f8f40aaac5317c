"""The pytest plugin, from the outside: options, fixtures, markers, and its clear refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import matplotlib.figure  # noqa: F401
import numpy  # noqa: F401
import pytest
from limits import HANG, WITH_LABGRID
from support import children, stub_board, until

import hil.board.board
import hil.labgrid
import hil.measure
import hil.measure.bounds_file
import hil.measure.measure
import hil.measure.results
import hil.report.evidence
import hil.wasm.runner
import hil.wasm.samples  # noqa: F401

pytest_plugins = ["pytester"]
ROOT = Path(__file__).resolve().parents[2]
LOAD = [] if any(point.value == "hil.plugin" for point in entry_points(group="pytest11")) else ["-p", "hil.plugin"]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run pytest within this process on a test file, and see that it leaves no process behind."""

    # labgrid's own plugin can be loaded once a process only
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    # the stub has no shell to check; patched where it is undone, for this process runs other tests, too
    monkeypatch.setattr("hil.plugin.session.Session._check_health", lambda session, board: None)

    def act(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(code)
        before = children(os.getpid())
        result = pytester.runpytest_inprocess("-p", "hil.plugin", "-p", "no:cacheprovider", *options)
        until(lambda: set(children(os.getpid())) <= set(before))
        return result

    return act


@pytest.fixture
def stub(pytester: pytest.Pytester) -> str:
    return str(stub_board(pytester.path))


def test_options_explain_themselves(run) -> None:  # type: ignore[no-untyped-def]
    result = run("", "--help")
    for option in ("--board", "--image", "--fresh", "--hil-bounds", "--hil-keep-going-on-dead-board"):
        result.stdout.re_match_lines([rf"  {option}\b.*"])


def test_markers_are_registered(run) -> None:  # type: ignore[no-untyped-def]
    marks = ("board", "hardware", "emulator", "timing", "soak", "destructive")
    code = "import pytest\n" + "".join(f"@pytest.mark.{mark}\n" for mark in marks) + "def test_x(): pass"
    run(code, "--strict-markers").assert_outcomes(passed=1)
    result = run("import pytest\n@pytest.mark.bord\ndef test_x(): pass", "--strict-markers")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*'bord' not found in `markers`*"])


def test_without_a_board_a_test_fails_with_what_to_do(run) -> None:  # type: ignore[no-untyped-def]
    fixtures = ("board", "console", "guest", "runner", "power", "measure", "boot")
    tests = "".join(f"@pytest.mark.board\ndef test_{name}({name}): pass\n" for name in fixtures)
    result = run("import pytest\n" + tests, "-m", "board")
    result.assert_outcomes(errors=len(fixtures))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*ConfigurationError*", "*--board NAME*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--board", "qemu-refrence"), "*'qemu-refrence'*--board*"),
        (("--board", "qemu-refrence"), "*'qemu-reference'*"),
        (("--board", "nowhere.yaml"), "*nowhere.yaml*--board*"),
        (("--board", "bad.yaml"), "*bad.yaml:3: *'divers'*'drivers'*"),
        (("--board", "+NOTHING"), "*+NOTHING*"),
        (("--board", "qemu-reference", "--image", "refrence"), "*'refrence'*"),
        (("--board", "qemu-reference", "--image", "nowhere.toml"), "*nowhere.toml*"),
        (("--hil-bounds", "nowhere.toml"), "*nowhere.toml*"),
        (("--hil-baselines", "nowhere"), "*--hil-baselines *nowhere*"),
        (("--hil-results", "."), "*--hil-results *"),
        (("--hil-results", "test_it.py/r.jsonl"), "*--hil-results *test_it.py*"),
        (("--hil-results", "/dev/full"), "*--hil-results /dev/full*"),
        (("--hil-transcripts", "/dev/full"), "*--hil-transcripts /dev/full*"),
        (("--hil-transcripts", "/proc/none"), "*--hil-transcripts /proc/none*"),
        (("--hil-journal", "."), "*--hil-journal *"),
        (("--hil-history", "."), "*--hil-history *"),
        (("-p", "allure_pytest.plugin", "--alluredir", "/dev/full"), "*--alluredir /dev/full*"),
    ],
)
def test_a_wrong_option_is_a_usage_error_before_the_first_test(run, pytester, options, told) -> None:  # type: ignore[no-untyped-def]
    pytester.makefile(".yaml", bad="targets:\n  main:\n    divers: {}\n")
    pytester.makepyfile(test_it="def test_ran(): open('ran', 'w').close()")
    result = run("", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
    result.stderr.no_fnmatch_line("*Traceback*")
    assert not (pytester.path / "ran").exists()


def test_a_wrong_option_value_is_told(run) -> None:  # type: ignore[no-untyped-def]
    result = run("def test_x(): pass", "--fresh", "never")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--fresh*invalid choice: 'never'*"])


def test_hardware_is_not_emulated(run, stub) -> None:  # type: ignore[no-untyped-def]
    code = "import pytest\n@pytest.mark.hardware\ndef test_x(board): pass"
    result = run(code, "--board", stub)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigurationError*: stub is *marker hardware*"])


def test_an_emulator_s_test_on_a_real_board_is_an_error(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makefile(
        ".yaml",
        real="imports: [hil.labgrid]\nimages: {main: stub.toml}\ntargets:\n  main:\n    resources:\n"
        "      RawSerialPort: {port: /dev/null, speed: 115200}\n    drivers:\n      ManualPowerDriver: {}\n",
    )
    code = "import pytest\n@pytest.mark.emulator\ndef test_x(board): pass"
    result = run(code, "--board", "real.yaml")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*ConfigurationError*: real is *marker emulator*"])


BOOTS = """
def test_one(board, boot, console): assert board.boots == {0} and boot["shell"].seconds > 0
def test_two(board, boot, console): assert board.boots == {1}
"""


@pytest.mark.parametrize(("fresh", "boots"), [("session", (1, 1, 1)), ("module", (1, 1, 2)), ("test", (1, 2, 3))])
def test_a_board_is_as_fresh_as_asked(run, stub, pytester, fresh, boots) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_b=f"def test_three(board): assert board.boots == {boots[2]}")
    pytester.makepyfile(test_a=BOOTS.format(*boots))
    run("", "--board", stub, "--fresh", fresh).assert_outcomes(passed=3)


def test_a_spoilt_board_is_booted_afresh(run, stub) -> None:  # type: ignore[no-untyped-def]
    code = """
        import os, pytest, signal
        @pytest.mark.destructive
        def test_1(board): assert board.boots == 1
        def test_2(board): assert board.boots == 2
        def test_3(power, board): assert board.boots == 2
        def test_4(board): assert board.boots == 3; board.dirty = "spoilt"
        def test_5(board): assert board.boots == 4
        def test_6(board, console):
            board.qemu.monitor.execute("quit")
            with pytest.raises(Exception, match="the line has ended"): console.wait_for(b"never", timeout=20)
        def test_7(board):
            assert board.boots == 5 and board.qemu.running
            board.power.off()
            assert (board.up, board.report) == (False, None)
        def test_8(board): assert board.boots == 6 and board.up
    """
    result = run(code, "--board", stub)
    result.assert_outcomes(passed=8)
    result.stdout.no_fnmatch_line("*retried*")


def test_several_boards_multiply_the_tests(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    other = pytester.path / "other.yaml"
    other.write_text(Path(stub).read_text())
    result = run("def test_x(board): print('on', board.name)", "--board", stub, "--board", str(other), "-rP")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(["*on stub*", "*on other*"])


def test_a_dead_board_is_told_once_and_then_in_short(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    manifest = pytester.path / "stub.toml"
    manifest.write_text(manifest.read_text().replace('marker = "# "\nlimit = 20', 'marker = "never"\nlimit = 0.2'))
    code = "def test_1(board): pass\ndef test_2(board): pass\ndef test_3(board): pass"
    result = run(code, "--board", stub, "--hil-journal", "journal.jsonl")
    result.assert_outcomes(errors=3)
    failed = "*BootError (image): *'shell'*"
    result.stdout.fnmatch_lines([failed, failed, "*BootError (image): *board stub is dead*"])
    assert len(list((pytester.path / "reports").rglob("*.raw"))) == 2, "an image's failure is not retried"
    lines = map(json.loads, (pytester.path / "journal.jsonl").read_text().splitlines())
    assert [line["dead_board"] for line in lines if line.get("outcome") == "failed"] == ["stub"] * 3
    run(code, "--board", stub, "--hil-keep-going-on-dead-board").assert_outcomes(errors=3)
    assert len(list((pytester.path / "reports").rglob("*.raw"))) == 5


def test_a_board_that_died_in_its_health_check_is_told_in_short_too(run, stub) -> None:  # type: ignore[no-untyped-def]
    code = """
        from hil.errors import Evidence
        from hil.guest import CommandTimeout
        from hil.plugin.session import Session
        def stuck(session, board): raise CommandTimeout("no end", recovered=False, output=b"", start=0, end=0, evidence=Evidence())
        Session._check_health = stuck
        def test_1(board): pass
        def test_2(board): pass
        def test_3(board): pass
    """
    result = run(code, "--board", stub)
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(["*CommandTimeout (image): board stub is dead*: no end"])


def test_a_failing_test_shows_its_console(run, stub) -> None:  # type: ignore[no-untyped-def]
    code = """
        def test_quiet(board): assert False
        def test_loud(console):
            console.sendline("x")
            console.wait_for(b"# ", timeout=20)
            assert False
    """
    result = run(code, "--board", stub)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*console, *.raw:*",
            "(nothing came during this test)",
            "*console, *.raw:*",
            "root",
            "#*",
            f"transcripts: *-{os.getpid()}",
        ]
    )


def test_an_image_can_be_chosen(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    other = pytester.path / "other.toml"
    other.write_text((pytester.path / "stub.toml").read_text().replace('"stub"', '"other"').replace("A stub", "Other"))
    run(
        "def test_x(board): assert board.manifest.title == 'Other'", "--board", stub, "--image", str(other)
    ).assert_outcomes(passed=1)


def test_a_board_s_bounds_that_are_not_there_are_told(run, stub) -> None:  # type: ignore[no-untyped-def]
    code = """
        from hil import Clock, Series
        def test_x(measure): measure.check(Series("q", "s", (1.0,), Clock("c", 1e-9)))
    """
    result = run(code, "--board", stub)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*stub.bounds.toml*"])


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("stub.bounds.toml", "[[bound]\n", "*stub.bounds.toml*TOML*"),
        ("stub.bounds.toml", '[[bound]]\nlimt = "1 s"\n', "*stub.bounds.toml:2: *limt*"),
        ("stub.toml", "titel = 3\n", "*stub.toml:1: titel*"),
        ("stub.yaml", "targets:\n  main:\n    divers: {}\n", "*stub.yaml:3: *'divers'*"),
    ],
)
@pytest.mark.parametrize("by", ["option", "setting"])
def test_a_wrong_file_of_the_board_is_a_usage_error_before_the_first_test(
    run, stub, pytester, file, text, told, by
) -> None:  # type: ignore[no-untyped-def]
    (pytester.path / file).write_text(text)
    if by == "setting":
        pytester.makepyprojecttoml('[tool.hil]\nboard = "stub.yaml"\nboards = "."\n')
    options = ("--board", stub) if by == "option" else ()
    code = "def test_ran(): open('ran', 'w').close()\ndef test_board(board): pass"
    result = run(code, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([told])
    result.stderr.no_fnmatch_line("*Traceback*")
    assert not (pytester.path / "ran").exists()
    if by == "setting" or file != "stub.yaml":
        assert run(code, *options, "--collect-only").ret == 0
        run(code, *options, "-k", "test_ran").assert_outcomes(passed=1, deselected=1)


def test_figures_are_in_the_summary(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.path.joinpath("b.toml").write_text(
        '[[bound]]\nquantity="q"\nsubject="s"\nfigure="max"\nlimit="1 s"\nreason="r"\n'
    )
    code = """
        from hil import Clock, Series, maximum, ms
        def test_good(measure): measure.check(Series("q", "s", (0.5,), Clock("c", 1e-9)))
        def test_tight(measure): measure.check(Series("q", "s", (0.5,), Clock("c", 1e-9)), maximum <= 2 * ms)
    """
    result = run(code, "--board", stub, "--hil-bounds", "b.toml")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*FAIL: max is 500 ms, limit 2 ms*", "*= timing =*", "q of s, n=1, clock: c*", "  PASS: max*"]
    )


def test_a_row_that_no_test_checks_is_in_the_summary(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    row = '[[bound]]\nquantity="{}"\nsubject="s"\nfigure="max"\nlimit="1 s"\nreason="r"\n'
    pytester.path.joinpath("stub.bounds.toml").write_text(row.format("q") + row.format("along"))
    code = """
        from hil import Clock, Series
        def test_x(measure):
            def series(quantity):
                return Series(quantity, "s", (0.5,), Clock("c", 1e-9), provenance={"board": "stub"})
            measure.derived(series("along"))
            measure.check(series("q"))
    """
    result = run(code, "--board", stub)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["bounds that judged nothing:", "*stub.bounds.toml:7: *'along'*"])
    result.stdout.no_fnmatch_line("*stub.bounds.toml:1: *")


def test_a_results_file_holds_one_run_and_other_files_are_left_alone(run, stub, pytester) -> None:  # type: ignore[no-untyped-def]
    code = """
        from hil import Clock, Series, maximum, s
        def test_x(measure): measure.check(Series("q", "s", (0.5,), Clock("c", 1e-9)), maximum <= 1 * s)
    """
    for _ in range(2):
        result = run(code, "--board", stub, "--hil-results", "r.jsonl")
        result.stdout.fnmatch_lines(["results: r.jsonl, 1 series, digest *"])
    (pytester.path / "notes.txt").write_text("mine")
    result = run(code, "--board", stub, "--hil-results", "notes.txt")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert (pytester.path / "notes.txt").read_text() == "mine"


def test_a_collection_imports_no_board_code(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import pytest\n@pytest.mark.board\ndef test_x(runner, sample, measure): pass\n"
    )
    code = (
        "import pytest, sys\n"
        f"status = pytest.main([*{LOAD!r}, '--collect-only', '-q', '-m', 'board', '-p', 'no:cacheprovider'])\n"
        "slow = [name for name in sys.modules if name.startswith(('hil.board.board', 'hil.board.qemu_driver', 'hil.board.serial_driver', 'hil.qemu', 'hil.places', 'hil.image.', 'hil.wasm', 'hil.guest',"
        " 'hil.measure', 'hil.report', 'hil.console', 'pydantic', 'qemu.'))]\n"
        "print('IMPORTED', status, slow)\n"
    )
    environment = {**os.environ, **WITH_LABGRID, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=HANG
    )
    assert "1 test collected" in done.stdout
    assert "IMPORTED 0 []" in done.stdout.replace("ExitCode.OK", "0")


def test_the_runner_of_an_image_without_an_agent_is_refused_and_its_guest_is_not(run, stub) -> None:  # type: ignore[no-untyped-def]
    code = "def test_guest(guest): pass\ndef test_runner(runner): pass\ndef test_next(guest): pass"
    result = run(code, "--board", stub)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ConfigurationError (configuration): *stub*agent*"])


FRAMES = """
from pathlib import Path

import pytest
from hil import Module, ms, p50
from hil import Clock
from hil.measure.series import Series


def helper():
    Module.load(Path("nowhere.wasm"))


@pytest.fixture
def broken():
    helper()


def test_error():
    helper()


def test_fixture(broken): ...


def test_bound():
    Series("response time", "x", [1.0] * 500, Clock("guest counter", 16e-9)).check(p50 <= 2 * ms)
"""


def test_a_traceback_shows_the_test_and_not_the_framework(run) -> None:  # type: ignore[no-untyped-def]
    output = run(FRAMES).stdout.str()
    for line in (">       helper()", "Module.load", "check(p50 <= 2 * ms)", "nowhere.wasm", "FAIL: p50"):
        assert line in output
    assert "hil/wasm/module.py" not in output
    assert "hil/measure/" not in output
    assert "FileNotFoundError" not in output, "the cause"
    # the option --full-trace belongs to the plugin that is left out
    assert run(FRAMES, "-p", "no:terminal").ret == pytest.ExitCode.TESTS_FAILED
    output = run(FRAMES, "--full-trace").stdout.str()
    for line in ("hil/wasm/module.py", "hil/measure/checking.py", "FileNotFoundError"):
        assert line in output
