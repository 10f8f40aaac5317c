"""The review of a night: findings, pages, trends, out of made-up nights in a real history."""

from __future__ import annotations

import hashlib
import html.parser
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reviewed import REAL, VIRTUAL, Plan, digest, history

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.history.rows import Boot, Run, StoredFigure, Test
from hil.measure import Series
from hil.review import pages, trends
from hil.review.finding import Finding, FindingKind
from hil.review.findings import findings, verdict
from hil.review.matrix import Cell, matrix
from hil.review.overview import review
from hil.review.review_window import ReviewedNight, ReviewWindow, streak
from hil.review.trend_series import trend_series

SMALL = 6  # nights, where it does not take more
BOOT = "stage login: nothing was heard"


def window(tmp_path: Path, *plans: Plan, night: str | None = None, count: int = 30) -> ReviewWindow:
    tmp_path.mkdir(exist_ok=True)
    with history(tmp_path, *plans) as store:
        return ReviewWindow.of(store, night, count)


def found(tmp_path: Path, *plans: Plan, **more: Any) -> list[Finding]:
    seen = window(tmp_path, *plans, **more)
    return findings(seen, trend_series(seen))


def failing(which: str, nights: Sequence[int], fault: str = "image", cause: str = "") -> Callable[[int, Test], Test]:
    def test(night: int, one: Test) -> Test:
        if which not in one.test or night not in nights:
            return one
        return replace(one, outcome="failed", fault=fault, cause=cause or "AssertionError: moon")

    return test


def dying(board: str, nights: Sequence[int], fault: str = "infrastructure", good: int = 0) -> Any:
    def boots(night: int, run: str, name: str) -> Sequence[Boot]:
        fine = Boot(run, name, "boot", "", "", "")
        if name != board or night not in nights:
            return (fine, fine)
        return (Boot(run, name, "boot", fault, "login", BOOT), *[fine] * good)

    return boots


def measured(**more: Any) -> Plan:
    return Plan(boards=("one",), suites=("smoke",), tests=1, **more)


# what is planted is named, and nothing else


def planted(number: int) -> Plan:
    def level(board: str, quantity: str, subject: str, night: int) -> float:
        step = 1.2 if board == "one" and night >= 12 else 1.0
        drift = 1 + 0.01 * (night - 17) if board == "two" and subject.startswith("hello") and night >= 18 else 1.0
        return 0.010 * step * drift

    def boots(night: int, run: str, board: str) -> Sequence[Boot]:
        bad = {"three": ((10, 22), "image"), "four": (range(27, 30), "infrastructure")}.get(board)
        fault = bad[1] if bad and night in bad[0] else ""
        return [Boot(run, board, "boot", fault, "login" * bool(fault), BOOT * bool(fault))] * 2

    def test(night: int, one: Test) -> Test:
        if one.board == "four" and night >= 27:
            return replace(one, outcome="failed", fault="infrastructure", cause=f"InfrastructureError: {BOOT}")
        if one.board == "three" and night in (10, 22):
            return replace(one, outcome="failed", fault="image", cause=f"BootError: {BOOT}")
        return one

    return Plan(
        boards=("one", "two", "three", "four"),
        level=level,
        boots=boots,
        test=test,
        image=lambda night: "second" if night >= 12 else "first",
        nights=number,
    )


@pytest.fixture(scope="module")
def regressed(tmp_path_factory: pytest.TempPathFactory) -> ReviewWindow:
    return window(tmp_path_factory.mktemp("planted"), planted(30))


def test_the_four_things_that_are_planted_are_named_and_nothing_else(regressed: ReviewWindow) -> None:
    seen = regressed
    dead, step, drift, flaky = every = findings(seen, trend_series(seen))
    assert [str(one.kind) for one in every] == ["dead board", "step", "drift", "flaky boot"]
    assert [one.board for one in every] == ["four", "one", "two", "three"]
    assert not any(one.new for one in every)
    assert dead.text == "four never came up in 2 tries since 2026-01-28, 3 nights"
    assert step.since == "2026-01-13"
    assert "max 12.52 ms -> 15.02 ms (+20.0 %) since 2026-01-13" in step.text
    first, second = (digest(name)[:8] for name in ("first", "second"))
    assert step.details[0] == f"changed from 2026-01-12 to 2026-01-13: image reference {first} -> {second}"
    assert any("also response time of nbody-c.wasm 10" in text for text in step.details)
    assert "+1.00 % a night since 2026-01-19" in drift.text
    assert "of its boots the image failed 4 of 60" in flaky.text
    assert "in 2 of 30 nights, last on 2026-01-23" in flaky.text
    assert verdict(every, seen) == "as the night before: 4 things known"


def test_quiet_nights_have_no_findings(tmp_path: Path) -> None:
    quantities = [("response time", f"{n}.wasm", clock) for n in range(6) for clock in (VIRTUAL, REAL)]
    plan = Plan(boards=("one",), suites=("smoke",), tests=1, measured=quantities)
    seen = window(tmp_path, plan)
    assert findings(seen, trend_series(seen)) == []
    assert verdict([], seen) == "good: nothing to look at"


# tests


def test_a_failure_is_new_then_known_then_fixed(tmp_path: Path) -> None:
    plan = measured(nights=SMALL, test=failing("test_smoke.py", [3, 4]))
    with history(tmp_path, plan) as store:
        by_night = [ReviewWindow.of(store, plan.name(night)) for night in range(SMALL)]
    good, good_again, new, still, fixed = (findings(one, trend_series(one)) for one in by_night[1:])
    assert good == good_again == []
    assert [(one.kind, one.new, one.fault) for one in new] == [(FindingKind.FAILURE, True, "image")]
    assert "test_smoke.py::test_0[one] (passed on 2026-01-03): AssertionError: moon" in new[0].text
    assert [(one.kind, one.new, one.since) for one in still] == [(FindingKind.STILL, False, "2026-01-04")]
    assert [(one.kind, one.bad) for one in fixed] == [(FindingKind.FIXED, False)]
    assert [verdict(one, seen) for one, seen in zip((new, still, fixed), by_night[3:], strict=False)] == [
        "worse than the night before: 1 thing",
        "as the night before: 1 thing known",
        "better than the night before: 1 thing",
    ]


def test_a_failure_without_a_night_before_says_so(tmp_path: Path) -> None:
    seen = window(tmp_path, measured(nights=1, test=failing("test_smoke.py", [0])))
    (one,) = findings(seen, trend_series(seen))
    assert one.new
    assert "(no verdict on it before)" in one.text
    assert verdict([one], seen) == "first night of its plan: 1 thing to look at"


def test_failures_of_one_cause_are_one_finding(tmp_path: Path) -> None:
    plan = Plan(boards=("one",), tests=20, nights=3, test=failing("test_smoke.py", [2]))
    (one,) = found(tmp_path, plan)
    assert "and 19 more" in one.text
    assert one.details[0].endswith("and 14 more")


def test_failures_of_one_cause_on_several_boards_are_one_finding(tmp_path: Path) -> None:
    (one,) = found(tmp_path, Plan(nights=3, test=failing("test_smoke.py", [2])))
    runs, _, rest = one.text.partition(": ")
    assert set(runs.split(", ")) == {"job-one", "job-two"}
    assert " and 5 more (passed on 2026-01-02): " in rest
    assert one.board == ""


def test_a_failure_of_the_test_bed_is_no_failure_of_a_test(tmp_path: Path) -> None:
    (one,) = found(tmp_path, measured(nights=3, test=failing("test_smoke.py", [2], "infrastructure", "lost")))
    assert (one.kind, one.fault) == (FindingKind.BED, "infrastructure")


def test_tests_and_runs_that_are_gone_are_missed(tmp_path: Path) -> None:
    def gone(night: int, run: Run) -> Run | None:
        return None if run.name == "job-two" and night == 2 else run

    plan = Plan(nights=3, run=gone)
    made = plan.make()
    fewer = [replace(one, tests=one.tests[1:]) if one.run.night == plan.name(2) else one for one in made]
    plan.make = lambda: fewer  # type: ignore[method-assign]
    missing, gone_tests = found(tmp_path, plan)
    assert (missing.kind, missing.run) == (FindingKind.MISSING, "job-two")
    assert "2026-01-02" in missing.text
    assert (gone_tests.kind, gone_tests.run) == (FindingKind.GONE, "job-one")
    assert "1 test of 2026-01-02" in gone_tests.text
    assert gone_tests.details == ("suites/smoke/test_smoke.py::test_0[one]",)


def test_a_night_that_goes_on_misses_no_run_and_one_that_has_ended_says_what_kept_it_from_one(tmp_path: Path) -> None:
    def gone(night: int, run: Run) -> Run | None:
        return None if run.name == "job-two" and night == 2 else run

    seen = window(tmp_path, Plan(nights=3, run=gone))
    goes_on = replace(seen, idle={"job-two": ""})
    assert findings(goes_on, trend_series(goes_on)) == []
    assert "so far good" in verdict([], goes_on)
    ended = replace(seen, idle={"job-two": "the night's limit of 25 min was reached"})
    (one,) = findings(ended, trend_series(ended))
    assert (one.kind, one.text, one.new) == (
        FindingKind.NOT_RUN,
        "job-two: the night's limit of 25 min was reached",
        True,
    )


def test_runs_that_were_cut_short_or_broke_are_told(tmp_path: Path) -> None:
    def run(night: int, one: Run) -> Run:
        if night < 2:
            return one
        if one.name == "job-one":
            return replace(one, state="killed", status=None, ended=None)
        return replace(one, status=2, facts={"problem 1": "suites/x.py: SyntaxError: invalid syntax"})

    def test(night: int, one: Test) -> Test:
        return replace(one, outcome="not run") if night == 2 and one.board == "one" and "deploy" in one.test else one

    killed, broken = found(tmp_path, Plan(nights=3, run=run, test=test))
    assert (killed.kind, killed.text) == (FindingKind.KILLED, "job-one was cut short; 3 of its 8 tests were not run")
    assert broken.kind is FindingKind.BROKEN
    assert "suites/x.py: SyntaxError" in broken.text


def test_tests_that_a_run_left_out_are_told(tmp_path: Path) -> None:
    def test(night: int, one: Test) -> Test:
        return replace(one, outcome="not run", cause="the limit") if night == 2 and "deploy" in one.test else one

    (one,) = found(tmp_path, Plan(boards=("one",), nights=3, test=test))
    assert (one.kind, one.text) == (FindingKind.NOT_RUN, "job-one: 3 tests were not run: the limit")


# boards


def test_a_dead_board_tells_its_tests_failures_and_that_it_is_back(tmp_path: Path) -> None:
    plan = Plan(
        nights=SMALL,
        boots=dying("one", [3, 4]),
        test=failing("[one]", [3, 4], "infrastructure", f"InfrastructureError: {BOOT}"),
    )
    with history(tmp_path, plan) as store:
        by_night = [ReviewWindow.of(store, plan.name(night)) for night in range(3, SMALL)]
    first, second, back = (findings(one, trend_series(one)) for one in by_night)
    assert [(one.kind, one.new, one.fault) for one in first] == [(FindingKind.DEAD, True, "infrastructure")]
    assert "for the first time" in first[0].text
    assert [(one.kind, one.new, one.since) for one in second] == [(FindingKind.DEAD, False, "2026-01-04")]
    assert [(one.kind, one.text) for one in back] == [(FindingKind.FIXED, "one comes up again")]


def test_a_board_that_nobody_could_have_is_dead_without_a_boot(tmp_path: Path) -> None:
    plan = Plan(
        nights=3,
        boots=lambda night, run, board: () if board == "one" else (Boot(run, board, "boot", "", "", ""),),
        test=failing("[one]", [2], "infrastructure", "InfrastructureError: no place is free"),
    )
    (one,) = found(tmp_path, plan)
    assert (one.kind, one.board, one.details) == (FindingKind.DEAD, "one", ("InfrastructureError: no place is free",))


def test_a_board_whose_options_are_wrong_is_not_dead(tmp_path: Path) -> None:
    plan = Plan(nights=3, boots=lambda *_: (), test=failing("[one]", [2], "configuration", "no such board"))
    (one,) = found(tmp_path, plan)
    assert (one.kind, one.fault) == (FindingKind.BED, "configuration")


def test_a_boot_that_failed_once_tells_its_tests_failures(tmp_path: Path) -> None:
    plan = Plan(
        nights=8,
        boots=dying("one", [7], "image", good=2),
        test=failing("smoke.py::test_0[one]", [7], "image", f"BootError: {BOOT}"),
    )
    (one,) = found(tmp_path, plan)
    assert (one.kind, one.new, one.board) == (FindingKind.FLAKY, True, "one")
    assert "failed with it: suites/smoke/test_smoke.py::test_0[one]" in one.details
    plan.nights = 9  # the night after: nothing is "fixed", for nothing was wrong with the test
    assert [(one.kind, one.new) for one in found(tmp_path / "after", plan)] == [(FindingKind.FLAKY, False)]


@pytest.mark.parametrize(
    ("nights", "fault", "good", "named"),
    [
        ([12], "image", 1, True),
        ([12], "infrastructure", 1, False),  # not the image's
        (range(8), "image", 0, False),  # it was dead, then it was mended
        (range(8), "image", 1, False),  # every second boot, then none of many: that is over
        ([29], "image", 1, True),
    ],
)
def test_which_boots_make_a_flaky_board(
    tmp_path: Path, nights: Sequence[int], fault: str, good: int, named: bool
) -> None:
    plan = Plan(boards=("one",), measured=(), boots=dying("one", nights, fault, good))
    assert [one.kind for one in found(tmp_path, plan)] == [FindingKind.FLAKY] * named


def test_a_dead_place_of_a_lab_tells_the_failures_of_whatever_was_to_be_run_on_it(tmp_path: Path) -> None:
    def boots(night: int, run: str, board: str) -> Sequence[Boot]:
        bad = [Boot(run, "box-7", "boot", "infrastructure", "", "no power")] * 2 if night == 2 else []
        return [Boot(run, "box-1", "boot", "", "", ""), *bad]

    def test(night: int, one: Test) -> Test:
        if night < 2 or "::test_2" in one.test:
            return replace(one, place="box-1")
        cause = "InfrastructureError: no power (place box-7)"
        return replace(one, outcome="failed", fault="infrastructure", cause=cause)

    (one,) = found(tmp_path, Plan(boards=("kind",), measured=(), nights=3, boots=boots, test=test))
    assert (one.kind, one.board, one.details) == (FindingKind.DEAD, "box-7", ("no power",))


def test_a_repeated_test_fails_when_one_repetition_does(tmp_path: Path) -> None:
    plan = measured(nights=4)
    made = [replace(one, tests=[*one.tests, *one.tests]) for one in plan.make()]
    for night in (2, 3):
        first = replace(made[night].tests[0], outcome="failed", fault="image", cause="moon")
        made[night] = replace(made[night], tests=[first, *made[night].tests[1:]])
    plan.make = lambda: made  # type: ignore[method-assign]
    (still,) = found(tmp_path, plan)
    assert (still.kind, still.since) == (FindingKind.STILL, "2026-01-03")
    assert {cell.changed for cell in matrix(window(tmp_path / "again", plan)).cells} == {""}


# figures


def levels(*parts: tuple[int, float]) -> Any:
    """A level that begins at each night."""
    return lambda board, quantity, subject, night: 0.01 * [size for begin, size in parts if night >= begin][-1]


EXACT = (("response time", "hello.wasm", VIRTUAL),)
NOISY = (("response time", "hello.wasm", REAL),)


@pytest.mark.parametrize(
    ("parts", "kinds", "since"),
    [
        ([(0, 1), (9, 1.3)], [(FindingKind.STEP, True)], "2026-01-10"),  # this night alone
        ([(0, 1), (8, 1.3)], [(FindingKind.STEP, False)], "2026-01-09"),  # too few to persist, but told before
        ([(0, 1), (5, 1.3)], [(FindingKind.STEP, False)], "2026-01-06"),
        ([(0, 1), (9, 1.04)], [], ""),  # below the least effect
        ([(0, 1), (4, 1.3), (5, 1)], [], ""),  # one bad night
        ([(0, 1), (3, 1.3), (7, 1)], [], ""),  # back again
        ([(0, 1), (3, 1.5), (6, 1.2)], [(FindingKind.STEP, False)], "2026-01-04"),  # half of the way back
        ([(0, 1.5), (3, 1), (6, 1.5)], [(FindingKind.STEP, False)], "2026-01-07"),  # it was better in between
        ([(0, 1), (9, 0.7)], [(FindingKind.BETTER, True)], "2026-01-10"),
        ([(0, 1), (3, 0.7)], [], ""),  # better for long: that is what is usual
    ],
)
def test_what_an_exact_figure_s_levels_come_to(
    tmp_path: Path, parts: Any, kinds: list[tuple[FindingKind, bool]], since: str
) -> None:
    every = found(tmp_path, measured(measured=EXACT, level=levels(*parts), nights=10))
    assert [(one.kind, one.new) for one in every] == kinds
    assert not every or every[0].since == since


def altered(plan: Plan, nights: Sequence[int], change: Callable[[Series], Series]) -> Plan:
    """The plan with the series of some nights changed."""
    names = {plan.name(night) for night in nights}
    made = [
        replace(one, records=[replace(record, series=change(record.series)) for record in one.records])
        if one.run.night in names
        else one
        for one in plan.make()
    ]
    plan.make = lambda: made  # type: ignore[method-assign]
    return plan


def test_a_night_that_lost_exactness_is_left_out_of_the_figures_and_told(tmp_path: Path) -> None:
    def lost(series: Series) -> Series:
        return replace(series, samples=series.samples * 1.5, clock=replace(series.clock, exact=False))

    seen = window(tmp_path, altered(measured(measured=EXACT, nights=8), [4], lost))
    every = trend_series(seen)
    assert findings(seen, every) == []
    assert {line.inexact for line in every} == {("2026-01-05",)}
    made = review(seen, tmp_path / "night")
    assert (
        "left out, not exact in that night: 2026-01-05"
        in (made.overview.parent / "trends" / "response-time.html").read_text()
    )


@pytest.mark.parametrize(("nights", "kinds"), [([9], []), ([7, 8, 9], [FindingKind.STEP])])
def test_an_extreme_that_moves_alone_has_to_persist(
    tmp_path: Path, nights: list[int], kinds: list[FindingKind]
) -> None:
    def spiked(series: Series) -> Series:
        samples = series.samples.copy()
        samples[samples.argmax()] *= 1.3
        return replace(series, samples=samples)

    every = found(tmp_path, altered(measured(measured=EXACT, nights=10), nights, spiked))
    assert [one.kind for one in every] == kinds


def test_a_noisy_figure_s_step_is_told_after_some_nights_once_as_new(tmp_path: Path) -> None:
    plan = measured(measured=NOISY, level=levels((0, 1), (20, 1.5)))
    told = []
    with history(tmp_path, plan) as store:
        for night in range(20, 28):
            seen = ReviewWindow.of(store, plan.name(night))
            told.append([(one.kind, one.new) for one in findings(seen, trend_series(seen))])
    assert told[0] == told[1] == []  # no night alone says anything
    named = [one for one in told if one]
    assert named[0] == [(FindingKind.STEP, True)]
    assert named[1:] == [[(FindingKind.STEP, False)]] * (len(named) - 1)
    assert len(named) >= 5


def test_a_bound_that_is_not_kept_is_one_finding_with_its_test(tmp_path: Path) -> None:
    plan = measured(measured=EXACT, bound=0.001, nights=3)
    (one,) = found(tmp_path, plan)
    assert (one.kind, one.new) == (FindingKind.BOUND, False)
    assert (
        "FAIL: max of response time of hello.wasm is 12.52 ms, limit 1 ms (12.5 times the limit) since 2026-01-01"
        in one.text
    )


def test_a_step_beyond_the_bound_is_one_finding(tmp_path: Path) -> None:
    plan = measured(measured=EXACT, bound=0.014, level=levels((0, 1), (9, 2)), nights=10)
    (one,) = found(tmp_path, plan)
    assert (one.kind, one.new) == (FindingKind.STEP, True)
    assert any(text.startswith("FAIL: ") for text in one.details)


def test_a_note_stands_beside_what_it_may_explain(tmp_path: Path) -> None:
    from hil.history.store import History

    plan = measured(measured=EXACT, level=levels((0, 1), (5, 1.3)), nights=10)
    with history(tmp_path, plan):
        pass
    with History(tmp_path / "history.sqlite", write=True) as store:
        store.note(plan.name(5), "the runner waits for the watchdog now")
        seen = ReviewWindow.of(store)
    (one,) = findings(seen, trend_series(seen))
    assert "note of 2026-01-06: the runner waits for the watchdog now" in one.details


def test_a_finding_names_its_run_and_its_clock(tmp_path: Path) -> None:
    plan = measured(measured=EXACT, bound=0.001, nights=3, test=failing("test_smoke.py", [2]))
    failure, bound = found(tmp_path, plan)
    assert (failure.run, failure.clock) == ("job-one", "real time")
    assert (bound.run, bound.clock) == ("job-one", "virtual time, seed 1")
    assert {"run", "clock"} <= failure.facts.keys()


def bounded(plan: Plan, *bounds: float) -> Plan:
    """The plan with another bound in each night."""
    made = []
    for plan.nights, plan.bound in enumerate(bounds, 1):
        made.append(plan.make()[-1])
    plan.make = lambda: made  # type: ignore[method-assign]
    return plan


def test_a_tightened_bound_is_not_the_image_s_fault(tmp_path: Path) -> None:
    (one,) = found(tmp_path / "bound", bounded(measured(measured=EXACT), 0.8, 0.8, 0.002))
    assert (one.kind, one.new, one.fault) == (FindingKind.BOUND, True, "test")
    assert any("bound 800 ms -> 2 ms" in text for text in one.details)
    plan = bounded(measured(measured=EXACT, level=levels((0, 1), (2, 1.04))), 0.013, 0.013, 0.0129)
    (one,) = found(tmp_path / "value", plan)
    assert one.fault == "image", "the value of the night before keeps the new bound"


def test_a_new_failure_names_what_changed_since_it_passed(tmp_path: Path) -> None:
    def run(night: int, one: Run) -> Run:
        return replace(one, host="old" if night < 2 else "new", facts={"framework": f"1.{night}"})

    plan = measured(nights=3, test=failing("test_smoke.py", [2]), run=run, image=lambda night: "ab"[night // 2])
    (one,) = found(tmp_path, plan)
    (changed,) = (text for text in one.details if "2026-01-02" in text)
    for fact in ("host old -> new", "framework 1.1 -> 1.2", f"{digest('a')[:8]} -> {digest('b')[:8]}"):
        assert fact in changed
    (same,) = found(tmp_path / "same", measured(nights=3, test=failing("test_smoke.py", [2])))
    assert "2026-01-02: image" in same.details[0]


# windows


def test_a_window_ends_with_its_night_and_is_as_long_as_asked(tmp_path: Path) -> None:
    seen = window(tmp_path, measured(nights=SMALL), night="2026-01-04", count=3)
    assert seen.names == ("2026-01-02", "2026-01-03", "2026-01-04")


def test_a_window_has_one_plan_s_nights_and_says_that_there_are_others(tmp_path: Path) -> None:
    other = measured(nights=SMALL, plan="renamed")
    other.name = lambda night: f"2026-02-{night + 1:02}"  # type: ignore[method-assign]
    seen = window(tmp_path, measured(nights=3), other)
    assert (seen.plan, len(seen.nights), seen.others) == ("renamed", SMALL, ("bench",))


def test_an_empty_history_and_an_unknown_night_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="night"):
        window(tmp_path, Plan(nights=0))
    with pytest.raises(ConfigurationError, match="did you mean '2026-01-01'"):
        window(tmp_path, measured(nights=1), night="2026-01-0")


@pytest.mark.parametrize(
    ("flags", "begin"),
    [
        ([True], 0),
        ([False, True], 1),
        ([True, True], 0),
        ([True, None, True], 0),
        ([None, None, True], 2),
        ([True, False, None, True], 3),
    ],
)
def test_where_a_streak_begins(flags: list[bool | None], begin: int) -> None:
    assert streak(flags) == begin


# the matrix


def cells(tmp_path: Path, plan: Plan) -> list[Cell]:
    return matrix(window(tmp_path, plan)).cells


def test_a_cell_tells_counts_change_margin_and_its_last_nights(tmp_path: Path) -> None:
    plan = measured(measured=EXACT, bound=0.0130, nights=3, test=failing("smoke", [2]))
    realtime, smoke = cells(tmp_path, plan)
    assert (realtime.text, realtime.changed, realtime.margin_text) == ("1 passed", "", "3.72 % left")
    assert realtime.near
    assert realtime.worst == "max of response time, hello.wasm: 12.52 ms of 13 ms"
    assert (smoke.text, smoke.changed, smoke.state) == ("1 failed", "1 worse", "failed")
    assert smoke.strip_text == "last 3 nights: 2 passed, 1 failed; last failed on 2026-01-03"
    assert smoke.margin is None
    assert not smoke.near


def test_a_bound_of_nothing_is_used_up_or_broken() -> None:
    run = Run("r", "n", "job", "p", "one", 0.0, 1.0, 0, "done", {})
    for value, margin in ((0.0, 0.0), (1.0, -math.inf)):
        figure = StoredFigure(
            *("r", "a.py::t", "one", "misses", "x", "1", "virtual time", True, None, "i", "", "m", "", ""),
            *(10, "deadline misses", value, None, None, 0.0, "pass", "realtime"),
        )
        test = Test("r", "a.py::t", "realtime", "one", "", "i", "virtual", "passed", "", "", 1.0, (), "")
        (cell,) = matrix(ReviewWindow("p", (ReviewedNight("n", (run,), (test,), (), (figure,)),))).cells
        assert cell.margin == margin
        assert cell.near
        assert cell.margin_text


# pages


class Reader(html.parser.HTMLParser):
    """What is wrong with a page, of what can be seen without a browser."""

    VOID = {"meta", "link", "input", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()
        if self.open:
            self.wrong.append(f"left open: {self.open}")
        self.wrong += [f"id twice: {one}" for one in set(self.ids) if self.ids.count(one) > 1]
        self.wrong += [
            f"heading {now} after {last}"
            for last, now in zip(self.headings, self.headings[1:], strict=False)
            if now > last + 1
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.look(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.look(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told["href"] or ""] if tag == "a" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag == "th" and "scope" not in told:
            self.wrong.append("a th without scope")
        asked = told.get("src") or (told.get("href") if tag == "link" else None)
        if asked and asked != "data:,":
            self.wrong.append(f"{tag} asks for {asked}")
        if any(name.startswith("on") for name in told):
            self.wrong.append(f"{tag} has a handler")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes another one")


def test_pages_are_whole_and_their_links_lead_somewhere(tmp_path: Path, regressed: ReviewWindow) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "report.html").write_text("")
    made = review(regressed, tmp_path / "night")
    files = sorted((tmp_path / "night").rglob("*.html"))
    assert [str(one.relative_to(tmp_path / "night")) for one in files] == [
        "overview.html",
        "report.html",
        "trends/index.html",
        "trends/response-time.html",
    ]
    read = {path.resolve(): Reader(path.read_text()) for path in files if path.name != "report.html"}
    assert {str(path): one.wrong for path, one in read.items() if one.wrong} == {}
    for path, one in read.items():
        assert '<html lang="en">' in path.read_text()
        for link in one.links:
            name, _, part = link.partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert target.exists(), link
            assert not part or part in read[target].ids, link
    text = made.overview.read_text()
    assert "as the night before: 4 things known" in text
    assert text.count("<li tabindex") == 4
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", text)


NASTY = ['<script>alert("x")</script>', "a/../../b c", "&amp; 'quoted\"", "\N{SNOWMAN}", "x" * 300, "x" * 299 + "y"]


def test_names_of_any_kind_make_safe_pages(tmp_path: Path) -> None:
    plan = Plan(
        boards=NASTY,
        suites=("<b>", "sm ok/e"),
        tests=1,
        measured=[(name, name, VIRTUAL) for name in [*NASTY, "index"]],
        nights=3,
        test=failing("::", [2], cause="<img src=x onerror=alert(1)>"),
    )
    made = review(window(tmp_path, plan), tmp_path / "night")
    files = sorted((tmp_path / "night").rglob("*.html"))
    assert len(files) == 1 + 1 + len(NASTY) + 1
    assert all(one.is_relative_to(tmp_path / "night") for one in files)
    assert {str(path): one.wrong for path in files if (one := Reader(path.read_text())).wrong} == {}
    assert "<img" not in made.overview.read_text()


def test_names_of_files_are_safe_and_differ() -> None:
    assert pages.name_of("response time") == "response-time"
    given = ["response time", "response-time", "Response time", "response  time", "", "..", "/", *NASTY]
    names = [pages.name_of(one) for one in given]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}", name) for name in names)
    assert pages.name_of("a b") != pages.name_of("a", "b")
    assert trends.file_of("index") != "index.html"


@pytest.mark.parametrize("state", ["killed", "done"])
def test_a_night_without_any_test_has_pages(tmp_path: Path, state: str) -> None:
    plan = Plan(nights=1, run=lambda night, run: replace(run, state=state, status=None, ended=None))
    bare = [replace(one, tests=(), boots=(), records=()) for one in plan.make()]
    plan.make = lambda: bare  # type: ignore[method-assign]
    made = review(window(tmp_path, plan), tmp_path / "night")
    assert {one.kind for one in made.findings} == {FindingKind.KILLED if state == "killed" else FindingKind.BROKEN}
    assert "No test has a result" in made.overview.read_text()
    assert "Nothing was measured" in (tmp_path / "night" / "trends" / "index.html").read_text()


def test_a_single_night_says_from_when_on_changes_can_be_told(tmp_path: Path) -> None:
    review(window(tmp_path, measured(nights=1)), tmp_path / "night")
    text = (tmp_path / "night" / "trends" / "response-time.html").read_text()
    assert "1 night;" in text
    assert "6 nights" in text
    assert "<svg" not in text


def test_transcripts_in_the_night_s_directory_are_linked_and_no_others(tmp_path: Path) -> None:
    directory = tmp_path / "night"
    raw = directory / "run one" / "one.raw"
    raw.parent.mkdir(parents=True)
    raw.write_text("")

    def test(night: int, one: Test) -> Test:
        place = str(raw) if "test_0" in one.test else "/etc/passwd" if "test_1" in one.test else ""
        return replace(one, outcome="failed", fault="image", cause=one.test, transcript=place and f"{place}:310")

    text = review(window(tmp_path, Plan(boards=("one",), nights=1, test=test)), directory).overview.read_text()
    assert "transcript run one/one.raw, line 310" in text
    assert ".raw" not in "".join(Reader(text).links), "no download"
    assert "passwd" not in text


def test_a_failure_leads_to_its_console_and_its_result(tmp_path: Path) -> None:
    plan = Plan(boards=("one",), nights=1, test=failing("test_smoke.py::test_0", [0]))
    made = [replace(one, tests=[replace(test, nodeid=test.test) for test in one.tests]) for one in plan.make()]
    plan.make = lambda: made  # type: ignore[method-assign]
    directory = tmp_path / "night"
    allure = directory / "job-one" / "try-1" / "allure"
    allure.mkdir(parents=True)
    (directory / "report.html").write_text("")
    for number, page in enumerate(("<p>", '<p id="fail">')):
        (allure / f"{number}-attachment.html").write_text(page)
    attachments = [
        {"name": name, "source": f"{number}-attachment.html", "type": "text/html"}
        for number, name in enumerate(("console", "console 2"))
    ]
    (allure / "link-attachment.html").symlink_to(allure / "1-attachment.html")
    attachments.insert(0, {"name": "console", "source": "link-attachment.html", "type": "text/html"})
    failed = next(test for test in made[0].tests if test.outcome == "failed")
    result = {
        "uuid": "u",
        "start": 1,
        "labels": [{"name": "_node", "value": failed.nodeid}],
        "attachments": attachments,
    }
    (allure / "u-result.json").write_text(json.dumps(result))
    (allure / "broken-result.json").write_text("{")
    links = Reader(review(window(tmp_path, plan), directory).overview.read_text()).links
    assert links.count("job-one/try-1/allure/1-attachment.html#fail") == 2
    assert f"report.html#{hashlib.md5(b'u').hexdigest()}" in links


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="file"):
        review(window(tmp_path, measured(nights=1)), tmp_path / "file" / "night")


# the command


def test_the_command_tells_the_findings_and_where_the_pages_are(tmp_path: Path) -> None:
    with history(tmp_path, measured(nights=3, test=failing("test_smoke.py", [2]))):
        pass
    (tmp_path / "2026-01-03").mkdir()
    arguments = ["review", "--history", str(tmp_path / "history.sqlite")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "night 2026-01-03: worse than the night before: 1 thing" in done.output
    assert "- new failure, new: job-one: suites/smoke/test_smoke.py::test_0[one]" in done.output
    assert (tmp_path / "2026-01-03" / "overview.html").exists()
    told = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert [one["kind"] for one in told["findings"]] == ["new failure"]
    assert told["before"] == "2026-01-02"
    # a night whose directory is gone does not come back as an empty one
    old = CliRunner().invoke(main, [*arguments, "2026-01-02"])
    assert old.exit_code == 0
    assert (tmp_path / "review" / "2026-01-02" / "overview.html").exists()
    assert not (tmp_path / "2026-01-02").exists()


def test_the_command_s_errors(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["review", "--history", str(tmp_path / "none.sqlite")])
    assert done.exit_code == 2
