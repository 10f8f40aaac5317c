"""Changes over nights: steps and drifts are found with their times; quiet nights and single bad ones are not."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from hil.errors import ConfigurationError
from hil.stats import energy
from hil.stats.change import Change, changes, nights_needed
from hil.stats.ramp import best_ramp

Floats = NDArray[np.float64]
SPREAD = 0.03
NOISE: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "normal": lambda chance, n: chance.normal(size=n),
    "student": lambda chance, n: np.asarray(chance.standard_t(3, n) / math.sqrt(3)),
    "lognormal": lambda chance, n: np.asarray((chance.lognormal(0, 1, n) - 1.65) / 2.16),
}


def noisy(shape: Sequence[float] | Floats, seed: int, noise: str = "normal", spread: float = SPREAD) -> Floats:
    return np.asarray(shape * (1 + spread * NOISE[noise](np.random.default_rng(seed), len(shape))))


def levels(*parts: tuple[int, float]) -> list[float]:
    return [value for nights, value in parts for _ in range(nights)]


def slope(flat: int, nights: int, rate: float = 0.01, after: int = 0) -> list[float]:
    rise = [1 + rate * night for night in range(1, nights + 1)]
    return [1.0] * flat + rise + [1 + rate * nights] * after


def found(values: Sequence[float] | Floats, **more: float | bool) -> list[tuple[str, int]]:
    return [(one.kind, one.at) for one in changes(values, **more)]  # type: ignore[arg-type]


# exact clocks


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (levels((30, 1.0)), []),
        (levels((20, 1.0), (10, 1.1)), [("step", 20)]),
        (levels((20, 1.0), (10, 0.9)), [("step", 20)]),
        (levels((4, 1.0), (3, 1.1)), [("step", 4)]),
        (levels((27, 1.0), (3, 1.06)), [("step", 27)]),
        (levels((28, 1.0), (2, 1.5)), []),
        (levels((3, 1.0), (3, 2.0)), [("step", 3)]),
        (levels((20, 1.0), (10, 1.04)), []),
        (levels((15, 1.0), (1, 9.0), (14, 1.0)), []),
        (levels((15, 1.0), (2, 9.0), (13, 1.0)), []),
        (levels((29, 1.0), (1, 9.0)), []),
        (levels((10, 1.0), (10, 1.2), (10, 1.0)), [("step", 10), ("step", 20)]),
        (levels((20, 1.0), (10, 1.2), (60, 1.0)), [("step", 20), ("step", 30)]),
        (levels((5, 1.0), (10, 1.1), (10, 1.2), (5, 1.3)), [("step", 5), ("step", 15), ("step", 25)]),
        (slope(18, 12), [("drift", 18)]),
        (slope(15, 15, 0.004), [("drift", 15)]),
        (slope(18, 12, 0.003), []),
        (slope(25, 5), [("drift", 25)]),
        (slope(10, 10, after=10), [("drift", 10)]),
        (slope(0, 30), [("drift", 1)]),
        (slope(18, 12, -0.01), [("drift", 18)]),
        (
            [a + b for a, b in zip(levels((8, 1.0), (22, 1.2)), slope(18, 12), strict=True)],
            [("step", 8), ("drift", 18)],
        ),
        ([1.0, 2.0] * 15, []),
        ([1.0, 2.0, 3.0] * 10, []),
    ],
)
def test_exact_values_change_where_they_do(values: list[float], expected: list[tuple[str, int]]) -> None:
    assert found(values, exact=True) == expected
    assert found([-value for value in values], exact=True) == expected, "and so do their negatives"
    for size in (1e-300, 1e-9, 1e300):
        assert found([value * size for value in values], exact=True) == expected, size


def test_a_drift_with_pauses_and_a_slip_is_one() -> None:
    steps = [0.01, 0.01, 0, 0.012, -0.002, 0.011, 0.01, 0, 0.013, 0.01, 0.01, 0.008]
    values = [1.0] * 18 + [1 + rise for rise in itertools.accumulate(steps)]
    (one,) = changes(values, exact=True)
    assert (one.kind, one.until) == ("drift", 29)
    assert abs(one.at - 18) <= 1


def test_what_an_exact_step_says() -> None:
    (one,) = changes(levels((20, 0.25), (10, 0.3)), exact=True)
    assert one == Change(20, 0.25, pytest.approx(0.3), "step", 20)
    assert one.share == pytest.approx(0.2)
    assert str(one) == "+20.0 % step"


@pytest.mark.parametrize(("rate", "nights"), [(0.01, 12), (0.03, 10), (0.05, 6), (0.1, 8)])
def test_a_drift_goes_on_to_the_last_night(rate: float, nights: int) -> None:
    (one,) = changes(slope(20, nights, rate), exact=True)
    assert (one.at, one.until, one.new) == (20, 19 + nights, pytest.approx(1 + rate * nights))


@pytest.mark.parametrize("after", [3, 10])
def test_a_drift_that_was_mended_is_undone_by_a_step_from_its_end(after: int) -> None:
    drift, step = changes([*slope(10, 10), *[1.0] * after], exact=True)
    assert (drift.kind, drift.at, drift.until, drift.new) == ("drift", 10, 19, pytest.approx(1.1))
    assert (step.kind, step.at, step.old, step.new) == ("step", 20, drift.new, 1.0)


def test_what_a_drift_says() -> None:
    (one,) = changes([4 * value for value in slope(18, 12)], exact=True)
    assert (one.at, one.until, one.old, one.new) == (18, 29, 4, pytest.approx(4.48))
    assert [one.rate, one.lower, one.upper] == pytest.approx([0.04] * 3)
    assert str(one) == "+12.0 % drift over 12 nights"


def test_the_limits_hold_a_noisy_slope() -> None:
    held = 0
    for seed in range(10):
        one = changes(noisy(slope(5, 25), seed, spread=0.01))[-1]
        assert one.rate is not None
        assert one.lower is not None
        assert one.upper is not None
        assert one.lower < one.rate < one.upper
        held += one.lower <= 0.01 <= one.upper
    assert held >= 6


# noise


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("spread", [SPREAD, 0.3])
def test_quiet_nights_are_quiet(noise: str, spread: float) -> None:
    assert sum(bool(changes(noisy(np.ones(30), seed, noise, spread))) for seed in range(60)) <= 1


@pytest.mark.parametrize("noise", NOISE)
def test_a_step_of_a_tenth_is_found_within_four_nights(noise: str) -> None:
    shape = levels((20, 1.0), (4, 1.1))
    several = [found(noisy(shape, seed, noise)) for seed in range(20)]
    assert sum(any(abs(at - 20) <= 2 for _, at in steps) for steps in several) >= 17


def test_a_step_is_found_once_and_stays() -> None:
    several = [found(noisy(levels((20, 1.0), (10, 1.2)), seed)) for seed in range(20)]
    assert sum([kind for kind, _ in steps] == ["step"] for steps in several) >= 19


def test_a_change_that_went_away_is_two() -> None:
    found = [changes(noisy(levels((15, 1.0), (8, 1.2), (17, 1.0)), seed)) for seed in range(10)]
    assert sum([one.share > 0 for one in several] == [True, False] for several in found) >= 9


@pytest.mark.parametrize(("flat", "nights", "spread"), [(20, 10, 0.01), (15, 15, 0.02), (25, 15, 0.02)])
def test_a_slow_drift_is_one_drift(flat: int, nights: int, spread: float) -> None:
    found = [changes(noisy(slope(flat, nights), seed, spread=spread)) for seed in range(10)]
    assert sum([one.kind for one in several] == ["drift"] for several in found) >= 9
    begins = [one.at for several in found for one in several]
    assert abs(np.median(begins) - flat) <= 2


def test_single_nights_that_are_off_are_no_change() -> None:
    shape = np.ones(30)
    shape[[3, 12, 13, 22, 29]] = 1.5, 0.2, 1.6, 3.0, 2.0
    assert not [seed for seed in range(20) if changes(noisy(shape, seed))]


@pytest.mark.parametrize("spread", [0.01, SPREAD])
def test_values_that_do_not_repeat_are_not_exact_whatever_is_said(spread: float) -> None:
    assert sum(bool(changes(noisy(np.ones(30), seed, spread=spread), exact=True)) for seed in range(40)) <= 1


def test_weekends_are_no_change() -> None:
    weekends = np.where(np.arange(56) % 7 >= 5, 1.05, 1.0)
    assert sum(bool(changes(noisy(weekends, seed, spread=0.01))) for seed in range(20)) <= 1


def test_the_same_values_give_the_same_changes() -> None:
    values = noisy(levels((20, 1.0), (10, 1.1)), 3)
    before = changes(values)
    np.random.seed(7)
    assert before
    assert changes(values) == changes(list(values)) == before


# what was asked for


def test_the_least_effect_is_a_share_or_an_amount() -> None:
    values = levels((20, 1.0), (10, 1.08))
    assert found(values, exact=True, min_effect=0.1) == []
    assert found(values, exact=True, min_effect=0.0) == [("step", 20)]
    assert found(values, exact=True, least=0.1) == []
    assert found(values, exact=True, least=0.07) == [("step", 20)]


def test_beside_a_level_of_zero_only_an_amount_says_what_is_little() -> None:
    values = [1e-9 * value for value in levels((20, 0.0), (10, 3.0))]
    (one,) = changes(values, exact=True)
    assert one.share == math.inf
    assert str(one) == "from 0 to 3e-09 step"
    assert changes(values, exact=True, least=5e-9) == []
    around = 1e-6 * np.random.default_rng(1).normal(size=30)
    assert sum(bool(changes(1e-6 * np.random.default_rng(s).normal(size=30))) for s in range(40)) <= 1
    assert found(around + levels((20, 0.0), (10, 2e-5)), least=1e-5) == [("step", 20)]


@pytest.mark.parametrize("persistence", [1, 2, 3, 5])
def test_a_change_counts_once_it_has_persisted(persistence: int) -> None:
    early = levels((20, 1.0), (persistence - 1, 1.1))
    assert found(early, exact=True, persistence=persistence) == []
    assert found([*early, 1.1], exact=True, persistence=persistence) == [("step", 20)]
    assert found([*early, *[1.0] * 10], exact=True, persistence=persistence) == []


@pytest.mark.parametrize("exact", [True, False])
def test_with_fewer_values_than_needed_nothing_is_reported(exact: bool) -> None:
    count = nights_needed(exact=exact)
    assert count == (6 if exact else 15)
    values = levels((count - 3, 1.0), (3, 9.0))
    if not exact:
        values = list(noisy(values, 1, spread=0.001))
    assert found(values, exact=exact) == [("step", count - 3)]
    for fewer in range(count):
        assert found(values[count - fewer :], exact=exact) == [], fewer


@pytest.mark.parametrize("values", [[1.0, math.nan, 1.0], [math.inf] * 30])
def test_what_is_no_series_of_numbers_is_refused(values: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="nan|inf"):
        changes(values)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [({"min_effect": -0.1}, "-0.1"), ({"min_effect": math.nan}, "nan"), ({"least": math.inf}, "inf"),
     ({"persistence": 0}, "0 nights")],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_refused(wrong: dict[str, float], expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        changes([1.0] * 30, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        [],
        [0.0] * 30,
        [5e-324, 0.0] * 15,
        [5e-324] * 15 + [1e-323] * 15,
        [1e308, -1e308] * 15,
        [-1e308] * 15 + [1e308] * 15,
        [0.1 + 0.2, 0.3] * 15,
        list(range(30)),
        [2.0**night for night in range(30)],
        [0.0] * 29 + [1e308],
    ],
    ids=lambda values: str(values)[:30],
)
def test_any_values_have_an_answer(values: list[float], exact: bool) -> None:
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for least in (0.0, 1e-6):
            for one in changes(values, exact=exact, least=least):
                assert math.isfinite(one.old) and math.isfinite(one.new)  # noqa: PT018
                assert 0 < one.at <= one.until < len(values)


# the statistic


def test_the_energy_statistic_is_the_one_of_its_definition() -> None:
    values = np.random.default_rng(4).normal(size=11)

    def mean(a: Floats, b: Floats) -> float:
        return float(np.mean([abs(x - y) for x in a for y in b]))

    def statistic(split: int, end: int) -> float:
        before, after = values[:split], values[split:end]
        weight = len(before) * len(after) / (len(before) + len(after))
        return weight * (2 * mean(before, after) - mean(before, before) - mean(after, after))

    found, splits, ends = energy.largest_energies(values[:, None], 3)
    whole = {split: statistic(split, 11) for split in range(3, 9)}
    every = {(split, end): statistic(split, end) for split in range(3, 9) for end in range(split + 3, 12)}
    assert found[:, 0] == pytest.approx([max(whole.values()), max(every.values())])
    assert splits[0, 0] == max(whole, key=whole.__getitem__)
    assert (splits[1, 0], ends[1, 0]) == max(every, key=every.__getitem__)


def test_the_p_values_are_shares_of_random_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    """In noise a p value is below x in x of all cases."""
    monkeypatch.setattr(energy, "PERMUTATIONS", 99)
    low = 0
    for seed in range(200):
        values = np.random.default_rng(seed).normal(size=16)
        found, _, _ = energy.largest_energies(values[:, None], 3)
        low += np.array(energy.p_values(values, found, 3, (0.2, 0.2))) <= 0.2
    assert all(20 <= one <= 60 for one in low), "P(Bin(200, 0.2) outside of it) is 0.001"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("shortest", "longest"), [(1, 1), (1, None), (5, None), (11, None)])
def test_the_best_slope_is_the_one_of_least_squares(shortest: int, longest: int | None) -> None:
    values = np.random.default_rng(5).normal(size=12) + np.clip(np.arange(12) - 4.0, 0, 4)
    best = math.inf
    for begin, end in itertools.combinations(range(12), 2):
        if shortest <= end - begin <= (longest or 12):
            shape = np.clip((np.arange(12) - begin) / (end - begin), 0, 1)
            best = min(best, float(np.linalg.lstsq(np.stack([np.ones(12), shape], 1), values)[1][0]))
    found = best_ramp(values, shortest, longest)
    assert found is not None
    assert found.cost == pytest.approx(best)
    assert best_ramp(values, 12) is None
