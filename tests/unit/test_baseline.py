"""Baselines: exact in virtual time, by distribution elsewhere, and never a verdict out of nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil import Clock, Series
from hil.compare.baseline import BaselineComparison, Baselines, exit_status, summary
from hil.compare.shifts import BaselineOutcome, median_shift, p99_shift
from hil.errors import ConfigurationError, InfrastructureError

VIRTUAL = Clock("virtual time", 16e-9, floor=0.0, exact=True)
COUNTER = Clock("guest counter", 16e-9, floor=1e-7)
RANDOM = np.random.default_rng(20)
NOISE = RANDOM.lognormal(0, 0.1, 4000) * 1e-3
TICKS = [0.2517 + n * 16e-9 for n in range(50)]


def series(
    samples: object = TICKS, clock: Clock = VIRTUAL, quantity: str = "run time", unit: str = "s", **provenance: str
) -> Series:
    origin = {
        "board": "qemu-reference",
        "image": "reference " + "1" * 64,
        "module": "nbody-c.wasm " + "a" * 64,
        "qemu": "7.2.15",
        "seed": "7",
        "mode": "lock-step",
    }
    return Series(quantity, "nbody-c.wasm 10", samples, clock, unit, provenance=origin | provenance)  # type: ignore[arg-type]


def changed(samples: list[float], **at: float) -> list[float]:
    return [at.get(f"n{number}", value) for number, value in enumerate(samples, 1)]


@pytest.fixture
def kept(tmp_path: Path) -> Baselines:
    return Baselines(tmp_path / "baselines")


def compare(kept: Baselines, one: Series) -> BaselineComparison:
    (found,) = kept.compare([one])
    return found


def test_equal_figures_are_the_same(kept: Baselines) -> None:
    (path,) = kept.record([series()])
    assert path.parent == kept.directory
    found = compare(kept, series())
    assert (found.outcome, found.changed, found.first) == (BaselineOutcome.SAME, (), None)


@pytest.mark.parametrize("by", [16e-9, math.ulp(0.25)])
def test_one_changed_repetition_is_found_and_named(kept: Baselines, by: float) -> None:
    kept.record([series()])
    found = compare(kept, series(changed(TICKS, n17=TICKS[16] + by, n30=1.0)))
    assert found.outcome is BaselineOutcome.DIFFERENT
    assert found.first is not None
    assert (found.first.repetition, found.first.count) == (17, 2)
    assert (found.first.old, found.first.new) == (TICKS[16], TICKS[16] + by)
    assert "251.700256 ms -> " in str(found)


def test_another_module_is_named_and_its_figures_compared(kept: Baselines) -> None:
    kept.record([series()])
    found = compare(kept, series(changed(TICKS, n1=0.3), module="nbody-c.wasm " + "b" * 64))
    assert found.outcome is BaselineOutcome.DIFFERENT
    assert len(found.changed) == 1
    assert "aaaaaaaaaaaa -> bbbbbbbbbbbb" in found.changed[0]
    assert "251.7 ms -> 300 ms" in str(found)


def test_what_else_changed_is_named(kept: Baselines) -> None:
    kept.record([series()])
    found = compare(kept, series(image="wasmedge-sel4 " + "2" * 64, qemu="10.0.2", module=""))
    assert found.outcome is BaselineOutcome.SAME
    assert [one.split(":")[0] for one in found.changed] == ["image", "module", "qemu"]
    assert "reference 111111111111 -> wasmedge-sel4 222222222222" in found.changed[0]
    assert "7.2.15 -> 10.0.2" in found.changed[2]


def test_the_own_baseline_comes_first_then_the_nearest(kept: Baselines) -> None:
    kept.record([series(changed(TICKS, n1=1.0), qemu="8", image="reference x")])
    kept.record([series(changed(TICKS, n1=2.0), qemu="8")])
    assert "8 -> 7.2.15" in "".join(compare(kept, series()).changed)
    kept.record([series()])
    assert compare(kept, series()).outcome is BaselineOutcome.SAME


@pytest.mark.parametrize("other", [{"seed": "8"}, {"mode": "injected"}])
def test_another_seed_is_no_change_of_the_software(kept: Baselines, other: dict[str, str]) -> None:
    kept.record([series()])
    found = compare(kept, series(changed(TICKS, n1=1.0), **other))
    assert found.outcome is BaselineOutcome.NO_BASELINE
    assert found.changed[0].startswith(next(iter(other)))


def test_each_seed_has_its_own_baseline(kept: Baselines) -> None:
    sweep = [series([float(seed)], seed=str(seed)) for seed in range(1, 21)]
    assert len(set(kept.record(sweep))) == 20
    assert {one.outcome for one in kept.compare(sweep)} == {BaselineOutcome.SAME}


def test_a_seed_means_nothing_to_another_clock(kept: Baselines) -> None:
    kept.record([series(NOISE, COUNTER)])
    assert compare(kept, series(NOISE, COUNTER, seed="8")).changed == ()


@pytest.mark.parametrize("other", [{"board": "other"}, {"quantity": "transfer time"}, {"clock": COUNTER}])
def test_other_kinds_have_no_baseline(kept: Baselines, other: dict[str, object]) -> None:
    kept.record([series()])
    assert compare(kept, series(**other)).outcome is BaselineOutcome.NO_BASELINE  # type: ignore[arg-type]


def test_fewer_and_more_repetitions_are_a_change(kept: Baselines) -> None:
    kept.record([series()])
    fewer = compare(kept, series(TICKS[:40]))
    assert fewer.first is not None
    assert (fewer.first.repetition, fewer.first.count) == (41, 10)
    assert all(number in str(fewer) for number in ("40", "50"))
    more = compare(kept, series([*TICKS, 1.0]))
    assert more.outcome is BaselineOutcome.DIFFERENT
    assert json.loads(json.dumps(more.facts, allow_nan=False))["first"] == {
        "repetition": 51,
        "old": None,
        "new": 1.0,
        "count": 1,
    }


def test_exact_is_not_comparable_with_inexact(kept: Baselines) -> None:
    kept.record([series()])
    found = compare(kept, series(clock=replace(VIRTUAL, exact=False)))
    assert found.outcome is BaselineOutcome.NOT_COMPARABLE


def test_another_unit_is_not_comparable(kept: Baselines) -> None:
    kept.record([series(NOISE, COUNTER)])
    assert compare(kept, series(NOISE, COUNTER, unit="1")).outcome is BaselineOutcome.NOT_COMPARABLE


@pytest.mark.parametrize(
    ("factor", "outcome"),
    [
        (1.0, BaselineOutcome.SAME),
        (1.02, BaselineOutcome.SAME),
        (1.1, BaselineOutcome.DIFFERENT),
        (0.9, BaselineOutcome.BETTER),
    ],
)
def test_distributions_are_compared_by_effect(kept: Baselines, factor: float, outcome: BaselineOutcome) -> None:
    kept.record([series(NOISE, COUNTER)])
    found = compare(kept, series(RANDOM.lognormal(0, 0.1, 4000) * 1e-3 * factor, COUNTER))
    assert found.outcome is outcome
    median, p99 = found.shifts
    assert median.value == pytest.approx((factor - 1) * 1e-3, abs=1e-5)
    assert median.lower is not None
    assert median.upper is not None
    assert median.lower < median.value < median.upper
    assert p99.figure == "p99"


def test_the_smallest_effect_is_the_user_s(kept: Baselines) -> None:
    kept.record([series(NOISE, COUNTER)])
    one = series(NOISE * 1.1, COUNTER)
    assert kept.compare([one], min_effect=0.2)[0].outcome is BaselineOutcome.SAME
    assert kept.compare([one], min_effect=0.05)[0].outcome is BaselineOutcome.DIFFERENT
    assert kept.compare([one], min_effect=0.1)[0].outcome is BaselineOutcome.INCONCLUSIVE


def test_a_tail_that_grew_is_found_though_the_median_stood(kept: Baselines) -> None:
    kept.record([series(NOISE, COUNTER)])
    worse = NOISE.copy()
    worse[::40] *= 2
    found = compare(kept, series(worse, COUNTER))
    assert [shift.outcome for shift in found.shifts] == [BaselineOutcome.SAME, BaselineOutcome.DIFFERENT]
    assert found.outcome is BaselineOutcome.DIFFERENT


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_samples_are_inconclusive(kept: Baselines, n: int) -> None:
    kept.record([series(NOISE[:n], COUNTER)])
    found = compare(kept, series(NOISE[-n:] * 3, COUNTER))
    assert found.outcome is BaselineOutcome.INCONCLUSIVE
    assert found.why


def test_p99_is_judged_from_299_samples_on(kept: Baselines) -> None:
    kept.record([series([1e-3] * 299, COUNTER)])
    assert compare(kept, series([1e-3] * 299, COUNTER)).shifts[1].outcome is BaselineOutcome.SAME
    found = compare(kept, series([1e-3] * 298, COUNTER))
    assert found.shifts[1].lower is None
    assert found.outcome is BaselineOutcome.SAME, "by the median"


def test_equal_samples_and_zeros_are_no_trouble(kept: Baselines) -> None:
    kept.record([series([0.0] * 300, COUNTER)])
    assert compare(kept, series([0.0] * 300, COUNTER)).outcome is BaselineOutcome.SAME
    assert compare(kept, series([1e-3] * 300, COUNTER)).outcome is BaselineOutcome.DIFFERENT


def test_what_the_clock_cannot_tell_apart_is_no_change(kept: Baselines) -> None:
    coarse = replace(COUNTER, floor=1e-3)
    kept.record([series(NOISE, coarse)])
    assert compare(kept, series(NOISE * 1.5, coarse)).outcome is BaselineOutcome.SAME


def test_the_median_s_shift_is_hodges_and_lehmann_s() -> None:
    old, new = series(NOISE[:60], COUNTER), series(NOISE[100:140], COUNTER)
    pairs = [a - b for a in new.samples for b in old.samples]
    assert median_shift(old, new).value == pytest.approx(np.median(pairs), rel=1e-12)


def test_limits_hold_the_true_shift_as_often_as_they_say() -> None:
    inside = {"median": 0, "p99": 0}
    source = np.random.default_rng(1)
    for _ in range(300):
        old = series(source.exponential(1e-3, 400), COUNTER)
        new = series(source.exponential(1e-3, 400) + 2e-4, COUNTER)
        for shift in (median_shift(old, new), p99_shift(old, new)):
            assert shift.lower is not None
            assert shift.upper is not None
            inside[shift.figure] += shift.lower <= 2e-4 <= shift.upper
    # both limits at 95 % make 90 %; three standard deviations of 300 trials are 5 %
    assert 0.85 <= inside["median"] / 300 <= 0.96
    assert inside["p99"] / 300 >= 0.85


def test_recording_again_replaces(kept: Baselines) -> None:
    first = kept.record([series()])
    second = kept.record([series(changed(TICKS, n1=1.0))])
    assert first == second
    assert [path.name for path in kept.directory.iterdir()] == [first[0].name], "nothing else is left"
    assert compare(kept, series()).outcome is BaselineOutcome.DIFFERENT


def test_two_series_of_one_test_have_a_baseline_each(kept: Baselines) -> None:
    assert len(kept.record([series(), series()])) == 1
    several = [series(), series(changed(TICKS, n1=1.0)), series(NOISE, COUNTER), series(NOISE[:3], COUNTER)]
    assert len(kept.record(several)) == 4
    assert [found.outcome for found in kept.compare(several)] == [BaselineOutcome.SAME] * 4


@pytest.mark.parametrize("clock", [VIRTUAL, replace(VIRTUAL, exact=False), COUNTER])
@pytest.mark.parametrize("number", [1, 2, 40, 400])
def test_a_file_is_the_same_as_itself(kept: Baselines, clock: Clock, number: int) -> None:
    """However few samples it has, whatever its clock, with several seeds, and where a test measured twice."""
    seeds = [series(NOISE[seed : number + seed], clock, seed=str(seed)) for seed in (1, 2, 3)]
    several = [*seeds, series(NOISE[:number] * 2, clock, seed="1")]
    kept.record(several)
    assert [found.outcome for found in kept.compare(several)] == [BaselineOutcome.SAME] * 4


def test_a_smallest_effect_that_is_no_number_is_refused(kept: Baselines) -> None:
    kept.record([series()])
    with pytest.raises(ConfigurationError, match="nan"):
        kept.compare([series()], min_effect=math.nan)


def test_nothing_is_neither_recorded_nor_the_same(kept: Baselines) -> None:
    for use in (kept.record, kept.compare):
        with pytest.raises(ConfigurationError, match="no series"):
            use([])


def test_a_broken_baseline_is_reported_by_file_and_line(kept: Baselines) -> None:
    (path,) = kept.record([series()])
    path.write_text(path.read_text().replace("samples", "simples"))
    with pytest.raises(ConfigurationError, match=rf"{path}:2: samples"):
        compare(kept, series())


def test_names_from_outside_stay_in_the_directory(kept: Baselines) -> None:
    odd = Series("../../q", "/etc/passwd *[x]" + "y" * 300, [1.0], VIRTUAL, provenance={"board": "../b/c.yaml"})
    (path,) = kept.record([odd])
    assert path.parent == kept.directory
    assert path.exists()
    assert compare(kept, odd).outcome is BaselineOutcome.SAME


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match=str(tmp_path)):
        Baselines(tmp_path / "file").record([series()])


def test_baselines_live_among_the_user_s_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Baselines().directory == tmp_path / "hil" / "baselines"


def test_the_summary_names_the_part_that_changed_first(kept: Baselines) -> None:
    parts = [series(quantity=quantity) for quantity in ("transfer time", "run time", "answer time")]
    kept.record(parts)
    later, earlier = changed(TICKS, n9=1.0), changed(TICKS, n3=1.0)
    found = kept.compare([series(later, quantity="transfer time"), parts[1], series(earlier, quantity="answer time")])
    assert all(part in summary(found) for part in ("1 same", "2 different", "3", "answer time of nbody-c.wasm 10"))
    assert json.loads(json.dumps([one.facts for one in found]))[0]["first"]["repetition"] == 9


@pytest.mark.parametrize(
    ("outcomes", "status"),
    [
        (["same"], 0),
        (["same", "better"], 0),
        (["same", "different", "no baseline"], 1),
        (["same", "no baseline"], 3),
        (["inconclusive"], 3),
        (["same", "not comparable"], 3),
    ],
)
def test_the_exit_status_is_the_gravest(outcomes: list[str], status: int) -> None:
    assert exit_status([BaselineComparison(series(), BaselineOutcome(one)) for one in outcomes]) == status
