"""pWCET: right where the samples allow it, refused with a named reason where they do not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from hil import Clock, Series, pwcet
from hil.errors import ConfigurationError
from hil.stats.tails import Fit, halves, ljung_box, runs

CLOCK = Clock("guest counter", 16e-9, floor=0.0)
EXACT = Clock("virtual time", 16e-9, floor=0.0, exact=True)
RANDOM = np.random.default_rng


def series(samples: Any, clock: Clock = CLOCK) -> Series:
    return Series("response time", "nbody-c.wasm 10", samples, clock)


@pytest.mark.parametrize("shape", [0.0, 0.2])
def test_the_limits_of_known_tails_hold_about_as_often_as_they_say(shape: float) -> None:
    true = scipy.stats.genpareto.isf(1e-6, shape, scale=1e-3)
    accepted = held = 0
    for seed in range(40):
        samples = scipy.stats.genpareto.rvs(shape, scale=1e-3, size=5000, random_state=RANDOM(seed))
        tail = pwcet(series(samples))
        if tail.value is not None and tail.lower is not None and tail.upper is not None:
            assert tail.lower < tail.value < tail.upper
            assert tail.upper > samples.max()
            accepted += 1
            held += tail.lower <= true <= tail.upper
    assert 24 <= accepted < 40, "each of four tests refuses one good series in twenty"
    assert held >= 0.75 * accepted, "a two-sided 90 %, less two standard deviations and what a bootstrap lacks"


def test_a_tail_tells_its_tests_and_is_the_same_each_time() -> None:
    taken = series(RANDOM(21).exponential(1e-3, 5000))
    tail = pwcet(taken)
    assert set(tail.tests) == {"Ljung-Box", "runs", "two halves", "fit"}
    assert "1e-06" in str(tail)
    assert pwcet(taken) == tail


def test_the_fit_is_near_scipy_s() -> None:
    samples = scipy.stats.genpareto.rvs(0.1, scale=1e-3, size=10_000, random_state=RANDOM(7))
    fit = pwcet(series(samples)).fit
    assert fit is not None
    excesses = samples[samples > fit.threshold] - fit.threshold
    shape, _, scale = scipy.stats.genpareto.fit(excesses, floc=0)
    assert (len(excesses), fit.share) == (1000, 0.1)
    assert fit.shape == pytest.approx(shape, abs=0.1)
    assert fit.scale == pytest.approx(scale, rel=0.1)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3])
def test_a_fit_s_quantile_is_scipy_s(shape: float) -> None:
    expected = 5e-3 + scipy.stats.genpareto.isf(1e-6 / 0.1, shape, scale=1e-3)
    assert Fit(5e-3, 0.1, shape, 1e-3).quantile(1e-6) == pytest.approx(expected)
    assert Fit(5e-3, 0.1, shape, 1e-3).quantile(0.1) == 5e-3


def correlated(n: int) -> Any:
    noise = RANDOM(1).exponential(1e-3, n)
    return np.convolve(noise, np.ones(5) / 5, "same")


@pytest.mark.parametrize(
    ("samples", "clock", "reason"),
    [
        (RANDOM(1).exponential(1e-3, 5000), EXACT, "exact"),
        (RANDOM(1).exponential(1e-3, 499), CLOCK, "499.* 500"),
        ([1e-3], CLOCK, " 1 .*500"),
        ([1e-3] * 5000, CLOCK, "discrete"),
        (RANDOM(1).integers(1, 100, 5000) * 1e-3, CLOCK, "discrete"),
        (RANDOM(1).exponential(1e-6, 5000), Clock("c", 1e-9, floor=1e-6), "clock"),
        (correlated(5000), CLOCK, "Ljung-Box: p = "),
        (RANDOM(1).exponential(1e-3, 5000) + np.repeat([0, 3e-4], 2500), CLOCK, "two halves: p = "),
        (RANDOM(1).exponential(1e-3, 5000) * np.tile([1, 1.5], 2500), CLOCK, "runs: p = "),
        (np.abs(RANDOM(3).standard_cauchy(5000)), CLOCK, "heavy"),
        (np.where(RANDOM(1).random(5000) < 0.05, 2, 0) + RANDOM(2).random(5000), CLOCK, "fit: p = "),
        (RANDOM(4).random(10_000), CLOCK, "Ljung|fit"),
    ],
    ids=[
        "exact",
        "few",
        "one",
        "equal",
        "steps",
        "coarse",
        "correlated",
        "step",
        "alternating",
        "heavy",
        "bursts",
        "end",
    ],
)
def test_a_series_without_a_tail_to_trust_is_refused_with_the_reason(samples: Any, clock: Clock, reason: str) -> None:
    tail = pwcet(series(samples, clock))
    assert (tail.value, tail.lower, tail.upper) == (None, None, None)
    assert "1e-06" in str(tail)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(str(tail))


@pytest.mark.parametrize("exceedance", [0.0, -1e-6, 1.0, 0.1, math.nan])
def test_what_is_no_exceedance_is_refused(exceedance: float) -> None:
    with pytest.raises(ConfigurationError, match="exceedance"):
        pwcet(series(RANDOM(1).exponential(1e-3, 5000)), exceedance)


@pytest.mark.parametrize("test", [ljung_box, runs, halves])
def test_each_test_refuses_one_good_series_in_twenty_and_no_more(test: Callable[[Any], float]) -> None:
    random = RANDOM(12)
    refused = sum(test(random.exponential(1, 400)) < 0.05 for _ in range(400))
    assert 5 <= refused <= 36, "20 are expected; a test that refuses one in ten is found"


def test_the_fit_s_own_test_refuses_one_good_tail_in_twenty() -> None:
    """Tables for a known distribution would refuse hardly any of them, and hardly any bad one."""
    random = RANDOM(13)
    values = [pwcet(series(random.exponential(1e-3, 1000))).tests["fit"] for _ in range(100)]
    assert 1 <= sum(value < 0.05 for value in values) <= 13
    assert 0.4 < np.mean(values) < 0.6


def test_ljung_box_is_its_definition() -> None:
    samples = RANDOM(5).random(300)
    ranks = scipy.stats.rankdata(samples)
    ranks -= ranks.mean()
    statistic = 0.0
    for lag in range(1, 11):
        r = sum(ranks[i] * ranks[i + lag] for i in range(300 - lag)) / sum(ranks**2)
        statistic += 300 * 302 * r**2 / (300 - lag)
    assert ljung_box(samples, 10) == pytest.approx(scipy.stats.chi2.sf(statistic, 10))


def test_a_constant_is_not_taken_for_independent() -> None:
    assert (ljung_box(np.ones(100)), runs(np.ones(100))) == (0.0, 0.0)
