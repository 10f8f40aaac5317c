"""The findings of a review about figures and bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from review_windows import EXACT, NOISY, failing, found, levels, measured, window
from reviewed import Plan, digest, history

from hil import Series
from hil.history.rows import Run
from hil.review.finding import FindingKind
from hil.review.findings import findings
from hil.review.overview import review
from hil.review.review_window import ReviewWindow
from hil.review.trend_series import trend_series


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
    assert told[0] == [(FindingKind.SHIFT, True)]  # beside the night before
    assert told[1] == []  # two nights of a new level say nothing
    named = [one for one in told[2:] if one]
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


SMOKE, REALTIME = "source suites/smoke/test_smoke.py", "source suites/realtime/test_response.py"


def changing(what: str, **more: Any) -> Plan:
    """Three nights of failures in the last one, since when one thing is different."""

    def run(night: int, one: Run) -> Run:
        new = {name: digest(f"{name} {night // 2 if name == what else 0}") for name in ("framework", "test", "host")}
        facts = {"framework": f"1.0, commit {new['framework']}", SMOKE: new["test"], REALTIME: new["test"]}
        return replace(one, host=f"host-{new['host'][:4]}", facts=facts)

    return measured(nights=3, run=run, image=lambda night: f"image {night // 2 if what == 'image' else 0}", **more)


CHANGED = {
    "image": ["image reference", digest("image 0")[:8], digest("image 1")[:8]],
    "test": ["test suites/", digest("test 0")[:8], digest("test 1")[:8]],
    "framework": ["framework 1.0, commit", digest("framework 0")[:8], digest("framework 1")[:8]],
    "host": ["host host-", digest("host 0")[:4], digest("host 1")[:4]],
}


@pytest.mark.parametrize("what", CHANGED)
@pytest.mark.parametrize(
    "more",
    [
        {"test": failing("test_smoke.py", [2])},
        {"test": failing("test_smoke.py", [2], "infrastructure")},
        {"measured": EXACT, "level": levels((0, 1), (2, 20))},
        {"measured": EXACT, "level": levels((0, 1), (2, 1.5))},
        {"measured": NOISY, "level": levels((0, 1), (2, 1.5))},
    ],
    ids=["failure", "test bed", "bound", "step", "shift"],
)
def test_a_finding_names_the_one_thing_that_changed_since_the_night_before(
    tmp_path: Path, what: str, more: dict[str, Any]
) -> None:
    (one,) = found(tmp_path, changing(what, **more))
    (changed,) = (text for text in one.details if text.startswith("changed from 2026-01-02 to 2026-01-03: "))
    assert all(datum in changed for datum in CHANGED[what])
    assert not any(other in changed for name, data in CHANGED.items() if name != what for other in data[1:])


def test_a_failure_without_any_change_names_what_is_the_same(tmp_path: Path) -> None:
    (one,) = found(tmp_path, changing("", test=failing("test_smoke.py", [2])))
    assert one.details == ("unchanged since 2026-01-02: image, test, host, framework",)
