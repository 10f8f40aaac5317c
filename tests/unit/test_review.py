"""The findings of a review about tests, runs and boards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from review_windows import BOOT, SMALL, dying, failing, found, measured, planted, window
from reviewed import REAL, VIRTUAL, Plan, digest, history

from hil.history.rows import Boot, Run, Test
from hil.review.finding import FindingKind
from hil.review.findings import findings, verdict
from hil.review.matrix import cells, matrix
from hil.review.review_window import ReviewWindow
from hil.review.trend_series import trend_series


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
    assert (one.kind, one.board, one.details[0]) == (FindingKind.DEAD, "one", "InfrastructureError: no place is free")


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
        return replace(one, outcome="failed", fault="infrastructure", cause=cause, dead_board="box-7")

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
    assert {cell.changed for cell in cells(matrix(window(tmp_path / "again", plan)))} == {""}
