"""What results are filed under: markers, labels, parameters, kinds of failures, and ids that stay."""

from __future__ import annotations

import json
import os
import re
import subprocess
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import pytest
from executions import execution
from support import UNCHECKED, Wire, arrived, stub_board

from hil import Clock, Series, maximum, ms, s
from hil.board.diagnosis import FAILURES
from hil.console import LineTimeout
from hil.errors import (
    ORIGINS,
    BootError,
    ConfigurationError,
    GuestError,
    HilError,
    InfrastructureError,
    RunnerError,
)
from hil.measure.checking import BoundsNotKept
from hil.measure.decision import decide
from hil.plugin.labels import _fatal
from hil.report import kinds, repeat
from hil.report.build import REPORTS_DIR
from hil.report.kinds import KINDS, kind_of
from hil.wasm.execution import Execution
from hil.wasm.verdict import Exited, Failed, Faulted, NoAgent, Silent, Stuck, Verdict

pytest_plugins = ["pytester"]
LOAD = ("-p", "hil.plugin", "-p", "allure_pytest.plugin", "-p", "no:cacheprovider")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's own plugin can be loaded once a process only


def results(directory: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in directory.glob("*-result.json")]
    return {one["name"]: one for one in found}


def labels(result: dict[str, Any], name: str) -> list[str]:
    return [one["value"] for one in result["labels"] if one["name"] == name]


def run(pytester: pytest.Pytester, *options: object, out: str = "results") -> dict[str, dict[str, Any]]:
    pytester.inline_run(*LOAD, "--alluredir", out, *map(str, options))
    return results(pytester.path / out)


MARKED = '''
"""Is it there: stages, shell.

More about it."""
import allure, pytest

@pytest.mark.requirement("REQ-1", "REQ-2")
@pytest.mark.owner("ann")
@pytest.mark.severity("blocker")
@pytest.mark.issue("12", "13")
def test_marked(): pass

@allure.epic("mine")
@allure.feature("own")
@allure.severity("minor")
@allure.suite("set")
@pytest.mark.severity("blocker")
@pytest.mark.requirement("REQ-3")
def test_decorated(): allure.dynamic.story("told")

class Opaque: pass

@pytest.mark.parametrize("what", [Opaque()])
def test_of_many_things(what): pass

class TestClass:
    @pytest.mark.known_issue("77", "the clock jumps")
    def test_known(self): assert 0
    @pytest.mark.known_issue("78", "it did once", until="2001-01-01")
    def test_known_no_more(self): assert 0
    @pytest.mark.known_issue("79", "it does not show")
    def test_passes(self): pass
'''


def test_markers_become_labels_and_links(pytester: pytest.Pytester) -> None:
    pytester.makepyprojecttoml("[tool.hil]\ntracker = 'https://tracker.example/{}/show'\n")
    pytester.mkdir("smoke").joinpath("test_x.py").write_text(MARKED)
    found = run(pytester)
    marked = found["test_marked"]
    told = {
        name: labels(marked, name) for name in ("epic", "feature", "story", "suite", "subSuite", "owner", "severity")
    }
    assert told == {
        "epic": ["smoke"],
        "feature": ["REQ-1", "REQ-2"],
        "story": [],
        "suite": ["smoke"],
        "subSuite": ["test_x"],
        "owner": ["ann"],
        "severity": ["blocker"],
    }
    assert labels(marked, "requirement") == labels(marked, "tag") == ["REQ-1", "REQ-2"]
    links = [(one["type"], one["name"], one["url"]) for one in marked["links"]]
    assert links == [("issue", number, f"https://tracker.example/{number}/show") for number in ("12", "13")]
    assert "parameters" not in marked
    many = found["test_of_many_things[what0]"]
    assert (labels(many, "feature"), labels(many, "story")) == (["Is it there: stages, shell"], ["of many things"])
    assert [(one["name"], one["excluded"]) for one in many["parameters"]] == [("what", True)]
    assert labels(found["test_passes"], "subSuite") == ["test_x > TestClass"]


def test_allure_s_own_decorators_are_honoured(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_x=MARKED)
    found = run(pytester)["test_decorated"]
    for name, value in {"epic": "mine", "feature": "own", "severity": "minor", "suite": "set", "story": "told"}.items():
        assert labels(found, name) == [value]
    assert labels(found, "requirement") == ["REQ-3"]


def test_known_issues_are_known_until_their_day(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_x=MARKED)
    found = run(pytester)
    known, over, good = (found[name] for name in ("test_known", "test_known_no_more", "test_passes"))
    assert (labels(known, "known"), labels(known, "known-text")) == (["77"], ["the clock jumps"])
    assert known["statusDetails"]["known"] is True
    assert "links" not in known, "there is no tracker"
    assert labels(over, "known") == []
    assert "known" not in over["statusDetails"]
    assert ["78" in tag for tag in labels(over, "tag")] == [True]
    assert "statusDetails" not in good


@pytest.mark.parametrize(
    ("mark", "problem"),
    [
        ("requirement()", 'marker requirement: give one or more texts: requirement("NAME", ...)'),
        ("requirement(1)", "marker requirement: give one or more texts"),
        ('issue("1", "")', "marker issue: give one or more texts"),
        ('owner("a", "b")', 'marker owner: give one text: owner("NAME")'),
        ('severity("bad")', "marker severity: give one of blocker, critical, normal, minor, trivial"),
        ("severity()", "marker severity: give one of"),
        ('known_issue("1")', "marker known_issue: give its number"),
        ('known_issue("1", "x", til="2026-01-01")', "marker known_issue: give its number"),
        ('known_issue("1", "x", until="soon")', "marker known_issue: until='soon' is not a date like 2026-12-31"),
        ('known_issue("1", "x", until=3)', "marker known_issue: until=3 is not a date"),
    ],
)
def test_wrong_markers_are_refused_with_their_place(pytester: pytest.Pytester, mark: str, problem: str) -> None:
    pytester.makepyfile(test_x=f"import pytest\n@pytest.mark.{mark}\ndef test_x(): pass\n")
    done = pytester.runpytest_inprocess(*LOAD)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert f"test_x.py::test_x: {problem}" in done.stderr.str()


@pytest.mark.parametrize("tracker", ["tracker.example/{}", "https://tracker.example/", "https://{}.example/{}"])
def test_a_tracker_without_a_place_for_the_number_is_refused(pytester: pytest.Pytester, tracker: str) -> None:
    pytester.makepyprojecttoml(f"[tool.hil]\ntracker = '{tracker}'\n")
    done = pytester.runpytest_inprocess(*LOAD)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "give a URL of http or https with one {} for the number" in done.stderr.str()


def test_markers_need_no_report(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_x=MARKED)
    pytester.runpytest_inprocess(*LOAD).assert_outcomes(passed=4, failed=2)


# with a board

ON_BOARD = """
import pytest
from hil.errors import BootError, ConfigurationError, GuestError, InfrastructureError, RunnerError

@pytest.mark.parametrize("what", [b"x", "y z"])
def test_good(board, what): pass

def test_expectation(board): assert 0
def test_guest(board): raise GuestError("x")
def test_bug(board): {}["x"]
def test_mine(board): raise ConfigurationError("x")
def test_boot(board): raise BootError("x", stage="login")
def test_bound(measure):
    from hil import Clock, Series, maximum, s
    measure.check(Series("q", "s", (2.0,), Clock("c", 1e-9)), maximum <= 1 * s)
def test_marginal(measure):
    from hil import Clock, Series, maximum, s
    from hil.measure.bound import Bound
    measure.check(Series("q", "s", (2.0,), Clock("c", 1e-9)), Bound(maximum, 3 * s, marginal=1 * s))
"""


def checkout(pytester: pytest.Pytester, name: str) -> Path:
    """A suite with its board in a directory of its own."""
    directory = pytester.mkdir(name)
    (directory / "pytest.ini").write_text("[pytest]\n")
    (directory / "conftest.py").write_text(UNCHECKED)
    suite = directory / "suites" / "smoke"
    suite.mkdir(parents=True)
    (suite / "test_board.py").write_text(ON_BOARD)
    stub_board(suite.parent)
    return directory


def test_a_board_s_results_are_filed_and_known_again(pytester: pytest.Pytester) -> None:
    """Two checkouts, whose paths have nothing in common but the suite's own."""
    one, two = checkout(pytester, "one"), checkout(pytester, "other")
    once = ["--hil-no-snapshots", "--fresh", "session", "--hil-retries", "0"]
    first = run(pytester, "--rootdir", one, one, "--board", one / "suites" / "stub.yaml", *once, out="first")
    there = ["--rootdir", two, two, "--board", two / "suites" / "stub.yaml", *once]
    second = run(pytester, *there, "-k", "good or bug", out="second")
    twice = run(pytester, *there, "-k", "good", "--hil-repeat", "2", out="twice")
    assert (len(first), len(second), len(twice)) == (9, 3, 4)
    good = first["test_good[stub-x]"]
    counted = {one["name"]: one["value"] for one in good["parameters"] if not one.get("excluded")}
    assert counted == {"board": "stub", "image": "stub", "clock": "real"}
    for name, result in second.items():
        same = {key: result[key] for key in ("testCaseId", "historyId")}
        assert same == {key: first[name][key] for key in same}, "the same on every machine and path"
        for path in (one, two):
            assert str(path) not in json.dumps(result["parameters"])
    again = [twice[f"test_good[stub-x-{number}]"] for number in (1, 2)]
    assert {result["testCaseId"] for result in again} == {good["testCaseId"]}
    assert len({result["historyId"] for result in (good, *again)}) == 3, "repetitions are no tries of one test"
    for result in first.values():
        assert (labels(result, "host"), labels(result, "thread")) == (["stub"], ["main"])
        assert (labels(result, "epic"), labels(result, "parentSuite")) == (["smoke"], ["stub"])
    kinds_of = {name.partition("[")[0]: labels(result, "kind") for name, result in first.items()}
    assert kinds_of == {
        "test_good": [],
        "test_expectation": ["expectation"],
        "test_guest": ["guest"],
        "test_bug": ["test"],
        "test_mine": ["configuration"],
        "test_boot": ["boot"],
        "test_bound": ["bound-failed"],
        "test_marginal": ["bound-marginal"],
    }
    assert labels(first["test_boot[stub]"], "stage") == ["login"]
    assert labels(first["test_bound[stub]"], "bound") == ["fail"]


def test_an_image_that_died_is_seen_on_its_console(wire: Wire) -> None:
    console = types.SimpleNamespace(noise=["harmless"])
    board: Any = types.SimpleNamespace(
        console=wire.console, manifest=types.SimpleNamespace(failures=FAILURES, console=console)
    )
    wire.far.sendall(b"Kernel panic - not syncing: harmless\r\n")
    arrived(wire.console, 38)
    assert not _fatal(board, 0)
    wire.far.sendall(b"Kernel panic - not syncing: Attempted to kill init!\r\n# ")
    arrived(wire.console, 93)
    assert _fatal(board, 0)
    assert not _fatal(board, 93), "it was before the test"
    wire.console.close()
    wire.console.transcript.path.unlink()
    _fatal(board, 0)  # a line that is gone is no error


# kinds


CLOCK = Clock("c", 1e-9)


def not_kept(*values: float) -> BoundsNotKept:
    series = Series("q", "s", values, CLOCK)
    return BoundsNotKept(series, [decide(maximum <= 1 * s, series), decide(maximum <= 1 * ms, series)])


@pytest.mark.parametrize(
    ("error", "last", "kind"),
    [
        (BootError("x"), None, "boot"),
        (GuestError("x"), execution(Silent()), "guest"),
        (RunnerError("x"), None, "runner"),
        (RunnerError("x"), execution(Exited(0)), "runner"),
        (RunnerError("x"), execution(Silent()), "silent"),
        (AssertionError("x"), execution(Exited(3)), "exited"),
        (AssertionError("x"), execution(Failed("x")), "failed"),
        (AssertionError("x"), replace(execution(Failed("aborted")), stopped=True), "output"),
        (AssertionError("x"), execution(Faulted()), "faulted"),
        (AssertionError("x"), execution(Stuck()), "stuck"),
        (AssertionError("x"), execution(NoAgent()), "no-agent"),
        (AssertionError("x"), execution(Exited(0), intact=False), "garbled"),
        (AssertionError("x"), execution(Exited(0)), "output"),
        (AssertionError("x"), None, "expectation"),
        (not_kept(0.5), execution(Exited(0)), "bound-failed"),
        (BoundsNotKept(Series("q", "s", (1.0,), CLOCK), []), None, "expectation"),
    ],
    ids=repr,
)
def test_a_failure_has_a_kind(error: BaseException, last: Execution | None, kind: str) -> None:
    assert kind_of("image", error, last) == kind
    assert kind in KINDS


def test_what_explains_the_others_comes_first() -> None:
    assert kind_of("image", GuestError("x"), fatal=True) == "died"
    assert kind_of("image", AssertionError("x"), execution(Silent()), made=True) == "fault-made"
    assert kind_of("image", BootError("x"), made=True, fatal=True) == "boot"
    undecidable = Series("q", "s", (1e-9,), Clock("c", 1.0))
    unsure = BoundsNotKept(undecidable, [decide(maximum <= 1 * ms, undecidable)])
    assert kind_of("image", unsure) == "bound-inconclusive"
    for fault in ORIGINS[1:]:
        assert kind_of(fault, AssertionError("x"), execution(Silent()), fatal=True) == fault


def test_every_error_verdict_and_kind_is_covered() -> None:
    def all_of(cls: type) -> set[type]:
        return {cls, *(one for sub in cls.__subclasses__() for one in all_of(sub))}

    errors = {one for one in all_of(HilError) if one.__module__.startswith("hil.")}
    assert {BootError, ConfigurationError, InfrastructureError, LineTimeout} <= errors
    for error in errors:
        assert kind_of(error.origin, error.__new__(error, "x")) in KINDS  # type: ignore[attr-defined]
    assert {one.name for one in all_of(Verdict) if not one.__subclasses__()} == set(kinds.VERDICTS)
    assert set(ORIGINS) - {"image"} <= set(KINDS)
    assert len(set(KINDS)) == len(KINDS)
    text = (REPORTS_DIR / "allurerc.mjs").read_text()
    listed = re.findall(r'^  \["([\w-]+)", "(.+?)"[,\]]', text, re.M)
    assert tuple(kind for kind, _ in listed) == KINDS, "a category for each, in this order"
    assert len({name for _, name in listed}) == len(KINDS)


def test_a_deployment_is_repeated_with_the_same_bytes() -> None:
    every = bytes(range(1, 256))
    line = "printf %s " + repeat._quoted(os.fsdecode(every))
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == every
