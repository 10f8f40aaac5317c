"""Which clock a test runs in, and that whatever it checks is recorded the same way."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import pytest
from support import stub_board

import hil.board.board
import hil.labgrid
import hil.measure.measure
import hil.measure.unmatched
import hil.report.evidence
import hil.stats.rates
import hil.wasm  # noqa: F401
from hil.errors import InfrastructureError
from hil.history import journal
from hil.measure import results
from hil.plugin.accounts import BootCounts

pytest_plugins = ["pytester"]
LOAD = [] if any(point.value == "hil.plugin" for point in entry_points(group="pytest11")) else ["-p", "hil.plugin"]

CLOCKS = """
    import pytest

    SEED = None

    def is_virtual(board): return board.virtual is not None and board.virtual.seed

    @pytest.fixture
    def through(measure): return measure

    @pytest.mark.timing
    def test_marked(board): assert is_virtual(board) == SEED
    @pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.timing), 2])
    def test_one_is_marked(board, n): assert is_virtual(board) == (SEED if n == 1 else False)
    def test_measures(board, through): assert is_virtual(board) == SEED
    def test_else(board): assert is_virtual(board) is False
"""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    stub_board(pytester.path)
    monkeypatch.setattr(
        "hil.plugin.session.Session._check_health", lambda session, board: None
    )  # the stub has no shell
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))

    def act(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=code)
        board = ("--board", "stub.yaml", "--hil-no-snapshots", "--fresh", "session")
        return pytester.runpytest_inprocess("-p", "hil.plugin", "-p", "no:cacheprovider", "-v", *board, *options)

    return act


@pytest.mark.parametrize(
    ("options", "seed"), [((), 1), (("--hil-seed", "7"), 7), (("--clock", "real"), False)], ids=["auto", "seed", "real"]
)
def test_only_what_judges_time_runs_in_virtual_time(run, pytester, options, seed) -> None:  # type: ignore[no-untyped-def]
    result = run(CLOCKS.replace("SEED = None", f"SEED = {seed}"), "--hil-journal", "j.jsonl", *options)
    result.assert_outcomes(passed=5)
    names = ["test_marked[[]stub]", "test_one_is_marked[[]stub-1]", "test_measures[[]stub]", "test_else[[]stub]"]
    result.stdout.fnmatch_lines_random([f"test_it.py::{name} PASSED*" for name in names])  # the same in each clock
    clocks = {nodeid.rpartition("::")[2]: test.clock for nodeid, test in journal.read(Path("j.jsonl")).tests.items()}
    assert clocks.pop("test_else[stub]") == clocks.pop("test_one_is_marked[stub-2]") == "real time"
    assert set(clocks.values()) == {"virtual time" if seed else "real time"}


def test_a_host_without_a_compiler_measures_in_real_time_and_says_so(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("hil.qemu.lockstep.COMPILER", "no-such-compiler")
    result = run(CLOCKS.replace("SEED = None", "SEED = False"))
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*real time on stub*compiler*"])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--hil-seeds", "2"), "*--hil-seeds*--clock virtual*"),
        (("--hil-seed", "2", "--clock", "real"), "*--hil-seed*--clock real*"),
    ],
)
def test_seeds_are_for_virtual_time(run, options, expected) -> None:  # type: ignore[no-untyped-def]
    result = run(CLOCKS, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([expected])


def test_a_board_that_is_dead_in_one_clock_is_not_in_the_other() -> None:
    boots = BootCounts()
    for _ in range(2):
        boots.add("stub", InfrastructureError("x"), incarnation="stub, virtual time, seed 1")
        boots.add("stub", incarnation="stub")
    assert boots.dead("stub", incarnation="stub, virtual time, seed 1")
    assert not boots.dead("stub", incarnation="stub")


CHECKED = """
    from hil import Clock, Series, maximum, s

    def taken(subject): return Series("q", subject, (0.5,), Clock("c", 1e-9), provenance={"board": "stub"})

    def test_by_the_fixture(measure): measure.check(taken("measure"), maximum <= 1 * s)
    def test_by_the_series(measure): taken("series").check(maximum <= 1 * s)
    def test_without_the_fixture(board): taken("board").check(maximum <= 1 * s)
    def test_that_fails(board): taken("failed").check(maximum <= 0.1 * s, maximum <= 0.2 * s)
    def test_once(measure): measure.derived(one := taken("once")); one.check(maximum <= 1 * s)
"""


def test_all_ways_to_check_record_the_same(run, pytester: pytest.Pytester) -> None:
    result = run(CHECKED, "--hil-results", "r.jsonl")
    result.assert_outcomes(passed=4, failed=1)
    found = {record.series.subject: record.checks for record in results.load(Path("r.jsonl")).records}
    assert list(found) == ["measure", "series", "board", "failed", "once"]
    assert [[check.outcome for check in checks] for checks in found.values()] == [
        *[["pass"]] * 3,
        ["fail", "fail"],
        ["pass"],
    ]
    result.stdout.fnmatch_lines(
        ["q of board, n=1*", "*max is *, limit 1 s*", "q of failed, n=1*", "*max is *, limit 100 ms*"]
    )


ROWS = """
[[bound]]
quantity = "response time"
subject = "hello.wasm"
figure = "p50"
limit = "1 s"
reason = "kept"

[[bound]]
quantity = "response time"
subject = "helo.wasm"
figure = "max"
limit = "1 ms"
reason = "a typo in the subject"

[[bound]]
quantity = "respnse time"
subject = "hello.wasm"
figure = "max"
limit = "1 ms"
reason = "a typo in the quantity"

[[bound]]
quantity = "execution time"
subject = "nbody-c.wasm 10"
figure = "max"
limit = "1 ms"
reason = "its test did not run"
"""
MEASURED = """
    from hil import Clock, Series

    def test_hello(measure):
        expected = {"board": "stub"}
        measure.check(Series("response time", "hello.wasm", [0.01] * 9, Clock("virtual time", 1e-9), provenance=expected))
"""


def test_rows_that_match_nothing_are_in_the_summary(run, pytester: pytest.Pytester) -> None:
    (pytester.path / "stub.bounds.toml").write_text(ROWS)
    result = run(MEASURED)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "*stub.bounds.toml:9: bound[[]1]: max of 'response time' of 'helo.wasm': *'hello.wasm'*",
            "*stub.bounds.toml:16: bound[[]2]: max of 'respnse time' of 'hello.wasm': *'response time'*",
        ]
    )
    result.stdout.no_fnmatch_line("*bound[[]3]*")
