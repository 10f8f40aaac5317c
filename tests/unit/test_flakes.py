"""Flake accounting: whose fault, second tries, repetitions and boots, by themselves and through pytest."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as xml
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import pexpect
import pytest
from limits import HANG
from support import children, stub_board, until

import hil.board.board
import hil.labgrid
import hil.measure.measure
import hil.measure.results
import hil.report.evidence
import hil.stats.rates
import hil.wasm  # noqa: F401
from hil.console import LineClosed, LineTimeout
from hil.errors import BootError, ConfigurationError, GuestError, InfrastructureError, RunnerError
from hil.history.identity import unnumbered
from hil.plugin.accounts import BootCounts, PassRate, TestRun, table
from hil.plugin.origins import Refused, cause_of, origin_of

pytest_plugins = ["pytester"]
BOOTED = ("--hil-no-snapshots", "--fresh", "session")  # so that a board is fresh only where it must be
LOAD = [] if any(point.value == "hil.plugin" for point in entry_points(group="pytest11")) else ["-p", "hil.plugin"]


def caught(act: Any) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: PT011
        act()
    return info.value


def raise_from(error: BaseException, cause: BaseException | None) -> BaseException:
    def act() -> None:
        raise error from cause

    return caught(act)


def raise_during(error: BaseException, first: BaseException) -> BaseException:
    def act() -> None:
        try:
            raise first
        finally:
            raise error

    return caught(act)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (InfrastructureError("x"), "infrastructure"),
        (LineClosed("x"), "infrastructure"),
        (LineTimeout("x"), "image"),
        (BootError("x"), "image"),
        (ConfigurationError("x"), "configuration"),
        (Refused(InfrastructureError("x")), "infrastructure"),
        (Refused(RunnerError("x")), "image"),
        (AssertionError("x"), "image"),
        (pytest.fail.Exception("x"), "image"),
        (pexpect.TIMEOUT("x"), "image"),
        (ValueError("x"), "test"),
        (raise_from(AssertionError("x"), InfrastructureError("y")), "infrastructure"),
        (raise_from(pexpect.EOF("x"), LineClosed("y")), "infrastructure"),
        (raise_from(AssertionError("x"), KeyError("y")), "image"),
        (raise_from(InfrastructureError("x"), AssertionError("y")), "infrastructure"),
        (raise_during(InfrastructureError("cleaning"), AssertionError("y")), "image"),
        (raise_during(InfrastructureError("cleaning"), GuestError("y")), "image"),
        (raise_during(InfrastructureError("cleaning"), OSError("y")), "infrastructure"),
        (raise_during(AssertionError("x"), InfrastructureError("y")), "image"),
        (BaseExceptionGroup("x", [InfrastructureError("y"), ValueError("z")]), "test"),
        (BaseExceptionGroup("x", [InfrastructureError("y"), InfrastructureError("z")]), "infrastructure"),
    ],
    ids=repr,
)
def test_a_failure_has_someone_at_fault(error: BaseException, fault: str) -> None:
    assert origin_of(error, on_board=True) == fault


def test_without_a_board_an_expectation_is_the_test_s() -> None:
    assert origin_of(AssertionError("x"), on_board=False) == "test"
    assert origin_of(GuestError("x"), on_board=False) == "image"


def test_causes_are_one_line() -> None:
    flood = BootError("no stage x; on the line: a flood", stage="x", hint="look", cause="a flood: 'q' 9 times")
    assert cause_of(flood) == "BootError: stage x: a flood: 'q' 9 times"
    assert cause_of(Refused(GuestError("no\nprompt"))) == "GuestError: no"
    assert cause_of(AssertionError("a\nb")) == "AssertionError: a"
    assert cause_of(AssertionError()) == "AssertionError"


@pytest.mark.parametrize(
    ("nodeid", "number", "test"),
    [
        ("t.py::x[stub-3]", 3, "t.py::x[stub]"),
        ("t.py::x[stub-3-3]", 3, "t.py::x[stub-3]"),
        ("t.py::x[12]", 12, "t.py::x"),
        ("t.py::x[stub-3]", None, "t.py::x[stub-3]"),
        ("t.py::x", None, "t.py::x"),
    ],
)
def test_the_number_of_a_repetition_can_be_taken_off(nodeid: str, number: int | None, test: str) -> None:
    assert unnumbered(nodeid, number) == test


def handed(boots: BootCounts) -> BootCounts:
    """As the controller has them: through plain data."""
    received = BootCounts()
    for told in json.loads(json.dumps(boots.hand_over())):
        received.take(told)
    assert not boots.hand_over(), "each is told once"
    return received


def test_boots_are_a_rate_with_stage_and_cause() -> None:
    boots = BootCounts()
    for _ in range(48):
        boots.add("b")
    boots.add("b", BootError("no", stage="guest kernel", cause="a flood: 'x'"))
    boots.add("b", kind="restore")
    boots.add("b", InfrastructureError("no qemu"))
    boots.add("b", BootError("no", stage="guest kernel", cause="a flood: 'y'"))
    received = handed(boots)
    assert list(received.text()) == [
        "boots: 50, 2 failed (4 %, 95 % 0.488 to 13.7 %): stage guest kernel: a flood: 'x' (2 times at this stage)",
        "boots that failed without the image's fault: 1: no qemu",
        "restores: 1, none failed",
    ]
    facts = received.facts()
    assert (facts["boot"]["tries"], facts["boot"]["failed"], facts["boot"]["not_the_images_fault"]) == (50, 2, 1)
    assert facts["boot"]["failure_rate"] == 0.04
    assert [one["cause"] for one in facts["boot"]["failures"]][2:] == ["no qemu"]


def test_causes_without_a_stage_are_kept_apart() -> None:
    boots = BootCounts()
    for cause in ("no disk", "no qemu", "no qemu"):
        boots.add("b", InfrastructureError(cause))
    assert list(handed(boots).text()) == [
        "boots that failed without the image's fault: 3: no qemu (2 times); no disk",
    ]


def test_without_failures_many_boots_still_say_how_sure_that_is() -> None:
    boots = BootCounts()
    assert list(boots.text()) == []
    for _ in range(10):
        boots.add("b")
    assert list(handed(boots).text()) == ["boots: 10, none failed (0 %, 95 % 0 to 30.8 %)"]


def test_a_board_is_dead_after_two_failed_boots_in_a_row() -> None:
    boots = BootCounts()
    boots.add("a", BootError("x"))
    boots.add("a", BootError("x"), "restore")
    assert not boots.dead("a")
    boots.add("a")
    boots.add("a", BootError("x"))
    boots.add("b", BootError("x"))
    assert not boots.dead("a")
    boots.add("a", InfrastructureError("x"))
    assert boots.dead("a")
    assert not boots.dead("b")
    boots.add("a")
    assert not boots.dead("a")


def test_a_table_keeps_infrastructure_apart() -> None:
    runs = [TestRun(f"t::x[{n}]", "t::x", passed=True) for n in range(1, 8)]
    runs[2].retried.append("no line")
    runs[3] = TestRun("t::x[4]", "t::x", passed=True, fault="image", cause="wrong")  # in the teardown
    runs[4] = TestRun("t::x[5]", "t::x", fault="infrastructure", cause="no line")
    runs[5] = TestRun("t::x[6]", "t::x", fault="test", cause="KeyError")
    runs[6] = TestRun("t::x[7]", "t::x")  # skipped
    tally = PassRate("t::x", tuple(runs))
    assert tally.row[:2] == ("t::x", "3/5")
    assert tally.row[2:] == ("60 %", "14.7 to 94.7 %", "1 image, 1 test", "2", "x[4]: wrong")
    assert tally.facts["skipped"] == 1
    assert tally.facts["first_failure"] == {"run": "t::x[4]", "fault": "image", "cause": "wrong"}
    assert tally.facts["retried"] == [{"run": "t::x[3]", "causes": ["no line"]}]
    none = PassRate("t::y", (runs[4],))
    assert none.rate is None
    assert none.row[1:4] == ("0/0", "-", "-")
    assert len(table([tally, none])) == 3


def healthy(session: object, board: object) -> None:
    """The stub has no shell and no runner to check."""


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run pytest within this process on a test file, on a stub board, and see that it leaves no process behind."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's own plugin can be loaded once a process only
    monkeypatch.setattr("hil.plugin.session.Session._check_health", healthy)
    board = str(stub_board(pytester.path))

    def act(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(code)
        before = children(os.getpid())
        plugins = ("-p", "hil.plugin", "-p", "no:cacheprovider")
        result = pytester.runpytest_inprocess(*plugins, "--board", board, *BOOTED, *options)
        until(lambda: set(children(os.getpid())) <= set(before))
        return result

    return act


FAILING = """
import pytest
from hil.errors import GuestError, InfrastructureError
tries = []

@pytest.fixture
def torn(board):
    yield
    raise InfrastructureError("in the teardown")

def test_once(board):
    tries.append(board.boots)
    if len(tries) == 1:
        raise InfrastructureError("the line fell off", stage="call")
    assert tries == [1, 2], "on a fresh board"
def test_always(board): raise InfrastructureError("no disk")
def test_image(board): raise GuestError("no shell")
def test_expectation(board): assert tries == "other"
def test_bug(board): {}["x"]
def test_both(torn): raise GuestError("first")
def test_teardown(torn): pass
"""


def test_only_the_infrastructure_s_failures_are_tried_again(run, pytester) -> None:  # type: ignore[no-untyped-def]
    result = run(FAILING, "--junitxml", "j.xml")
    result.assert_outcomes(passed=2, failed=5, errors=2)  # test_teardown passed, and its teardown failed twice
    result.stdout.fnmatch_lines(
        [
            "*= flakes =*",
            "retried after a failure of the infrastructure, then passed: *test_once[[]stub] (2 tries)",
            "  InfrastructureError: stage call: the line fell off; console, */stub-*.raw:* to line *",
            "retried *, then failed by the infrastructure: *test_always[[]stub] (2 tries)",
            "  InfrastructureError: no disk; console, *",
            "retried *, then failed by the infrastructure: *test_teardown[[]stub] (2 tries)",
            "  InfrastructureError: in the teardown",
            "*, 3 retried in *",
        ]
    )
    assert "test_both[stub] (" not in result.stdout.str(), "an image's failure is not hidden by what follows it"
    cases = {case.get("name"): case for case in xml.parse(pytester.path / "j.xml").getroot().iter("testcase")}
    faults = {
        name: [one.get("value") for one in case.iter("property") if one.get("name") == "fault"]
        for name, case in cases.items()
    }
    assert faults == {
        "test_once[stub]": [],
        "test_always[stub]": ["infrastructure"],
        "test_image[stub]": ["image"],
        "test_expectation[stub]": ["image"],
        "test_bug[stub]": ["test"],
        "test_both[stub]": ["image", "infrastructure"],
        "test_teardown[stub]": ["infrastructure"],
    }
    told = {one.get("name"): one.get("value") for one in cases["test_once[stub]"].iter("property")}
    assert list(told) == ["clock", "board", "image", "image_sha256", "transcript"]
    assert (told["board"], told["image"]) == ("stub", "stub")


def test_what_became_of_the_tests_is_told_even_where_rates_cannot_be_written(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.path.joinpath("reports").touch()
    result = run("def test_x(board): pass")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*InfrastructureError*transcript*", "not written: *Not a directory*"])


def test_second_tries_have_a_limit(run) -> None:  # type: ignore[no-untyped-def]
    code = "from hil.errors import InfrastructureError\ndef test_x(board): raise InfrastructureError('no disk')"
    result = run(code, "--hil-retries", "0")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*retried*")
    result = run(code, "--hil-retries", "3")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*test_x[[]stub] (4 tries)", "*1 failed*3 retried*"])
    result = run(code, "--hil-retries", "-1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--hil-retries -1*"])


def test_a_dead_board_is_not_tried_again(run) -> None:  # type: ignore[no-untyped-def]
    code = """
        from hil.errors import InfrastructureError
        from hil.plugin.session import SESSION
        def test_x(board, request):
            error = InfrastructureError("no power")
            for _ in range(2):
                request.config.stash[SESSION].boots.add(board.name, error)
            raise error
    """
    result = run(code, "--hil-retries", "5")
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*retried*")
    result = run(code, "--hil-retries", "5", "--hil-keep-going-on-dead-board")
    result.stdout.fnmatch_lines(["*test_x[[]stub] (6 tries)", "*1 failed*5 retried*"])


def test_a_failure_at_once_ends_the_run_with_a_retry_before_it(run) -> None:  # type: ignore[no-untyped-def]
    code = """
        from hil.errors import InfrastructureError
        def test_1(board): raise InfrastructureError("no disk")
        def test_2(board): pass
    """
    result = run(code, "-x")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*1 failed*1 retried*"])


def test_module_fixtures_outlive_a_second_try(run) -> None:  # type: ignore[no-untyped-def]
    code = """
        import pytest
        from hil.errors import InfrastructureError
        made = []
        @pytest.fixture(scope="module")
        def module(): made.append(1)
        @pytest.fixture
        def once(board, module):
            if not hasattr(board, "seen"):
                board.seen = True
                raise InfrastructureError("in a fixture")
        def test_1(once): assert made == [1]
        def test_2(module): assert made == [1]
    """
    result = run(code)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*2 passed*1 retried*"])


def test_a_subtest_that_was_told_is_not_tried_again(run) -> None:  # type: ignore[no-untyped-def]
    code = """
        from hil.errors import InfrastructureError
        def test_x(board, subtests):
            with subtests.test("one"): raise InfrastructureError("no disk")
    """
    result = run(code, "--hil-repeat", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*retried*")
    result.stdout.fnmatch_lines(["*::test_x[[]stub] * 0/0 * - * - * - * 1 * -"])


def test_allure_has_retries_and_faults(run, pytester) -> None:  # type: ignore[no-untyped-def]
    result = run(FAILING, "-p", "allure_pytest.plugin", "--alluredir", "results", "--hil-repeat", "1")
    result.assert_outcomes(passed=2, failed=5, errors=2)
    found: dict[str, list[tuple[str, list[str]]]] = {}
    histories: dict[str, set[str]] = {}
    for path in (pytester.path / "results").glob("*-result.json"):
        told = json.loads(path.read_text())
        faults = [label["value"] for label in told["labels"] if label["name"] == "fault"]
        found.setdefault(told["name"], []).append((told["status"], faults))
        histories.setdefault(told["name"], set()).add(told["historyId"])
    assert sorted(found["test_once[stub]"]) == [("broken", ["infrastructure"]), ("passed", [])]
    assert len(histories["test_once[stub]"]) == 1, "one history: the first is shown as a retry"
    assert found["test_both[stub]"] == [("broken", ["image"])], "the one that counts"
    assert found["test_bug[stub]"] == [("broken", ["test"])]
    attached = [json.loads(path.read_text()) for path in (pytester.path / "results").glob("*-globals.json")]
    names = {one["name"] for told in attached for one in told["attachments"]}
    assert names == {"pass rates and boots", "rates.json"}


REPEATED = """
import os, pytest
from hil.errors import BootError, InfrastructureError
from hil.plugin.session import SESSION
tries = []

@pytest.fixture
def number(request):
    found = request.node.callspec.params["hil_repetition"]
    boots = request.config.stash[SESSION].boots
    if found == 3:
        boots.add("other", BootError("no", stage="kernel", cause="a flood"), "trial")
    else:
        boots.add("other", kind="trial")
    return found

def test_flaky(board, number): assert number % 4
def test_infra(board, number):
    if number == 2 and not tries:
        tries.append(1)
        raise InfrastructureError("the line fell off")
@pytest.mark.parametrize("a", [1, 2])
def test_measured(measure, a): assert measure.test.endswith(f"::test_measured[stub-{a}]")
def test_plain(): pass
"""
TABLE = [
    "*= pass rates =*",
    "test * passed/runs  rate * 95 % interval * failures  infrastructure  first failure",
    "*::test_flaky[[]stub] * 4/5 * 80 % * 28.4 to 99.5 % * 1 image * - * test_flaky[[]stub-4]: AssertionError: *",
    "*::test_infra[[]stub] * 5/5 * 100 % * 47.8 to 100 % * - * 1 * -",
    "*::test_measured[[]stub-1] * 5/5 *",
    "*::test_measured[[]stub-2] * 5/5 *",
    "*::test_plain * 5/5 *",
    "retried *, then passed: *test_infra[[]stub-2] (2 tries)",
    "trials: 11, 2 failed (18.2 %, 95 % 2.28 to 51.8 %): stage kernel: a flood (2 times at this stage)",
    "rates: reports/transcripts/*/rates.json",
]


def rates(path: Path) -> dict[str, Any]:
    (found,) = path.rglob("rates.json")
    told: dict[str, Any] = json.loads(found.read_text())
    return told


def test_repetitions_become_pass_rates(run, pytester) -> None:  # type: ignore[no-untyped-def]
    result = run(REPEATED, "--hil-repeat", "5")
    result.assert_outcomes(passed=24, failed=1)
    result.stdout.fnmatch_lines_random(TABLE)
    told = rates(pytester.path)
    assert told["repeat"] == 5
    flaky = next(one for one in told["tests"] if one["test"].endswith("test_flaky[stub]"))
    assert (flaky["runs"], flaky["passed"], flaky["failures"]) == (5, 4, {"image": 1})
    assert flaky["lower"] < flaky["rate"] < flaky["upper"]
    assert told["boots"]["trial"]["failed"] == 2


def test_repetitions_can_be_chosen_and_refused(run) -> None:  # type: ignore[no-untyped-def]
    run(REPEATED, "--hil-repeat", "3", "-k", "measured").assert_outcomes(passed=6, deselected=9)
    result = run(REPEATED, "--hil-repeat", "0")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--hil-repeat 0*"])
    result = run(REPEATED, "--hil-repeat", "2", "--clock", "virtual", "--hil-seeds", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--hil-repeat and --hil-seeds *"])


@pytest.mark.slow
def test_with_workers_the_controller_accounts(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's and hypothesis's take seconds in each worker
    board = str(stub_board(pytester.path))
    pytester.makeconftest("from hil.plugin.session import Session\nSession._check_health = lambda session, board: None")
    pytester.makepyfile(test_r=REPEATED, test_crash="import os\ndef test_crash(board): os._exit(3)")
    options = ("--board", board, *BOOTED, "--hil-repeat", "5", "-p", "no:cacheprovider", "-k", "not test_crash")
    workers = ("-p", "hil.plugin", "-p", "xdist", "-n", "2")
    result = pytester.runpytest_subprocess(*workers, *options, timeout=HANG)
    result.assert_outcomes(passed=24, failed=1)
    result.stdout.fnmatch_lines_random(TABLE)
    told = rates(pytester.path)
    assert told["boots"]["trial"]["tries"] == 11
    options = ("--board", board, *BOOTED, "--hil-repeat", "3", "-p", "no:cacheprovider", "test_crash.py")
    result = pytester.runpytest_subprocess(*workers, *options, timeout=HANG)
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(["*::test_crash[[]stub] * 0/0 * - * - * - * 3 * -"])
