"""The distributions behind confidence limits, against scipy and against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.special
import scipy.stats

from hil.stats import distributions as own
from hil.stats import tails

LEVELS = (0.0005, 0.025, 0.05, 0.5, 0.95, 0.975, 0.9999)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 20, 99, 1000, 50_000, 1_000_000])
def test_limits_of_rates_are_scipy_s(n: int) -> None:
    for failed, p in itertools.product({0, min(1, n - 1), n // 3, n // 2, n - 1}, LEVELS):
        expected = scipy.special.betaincinv(failed + 1, n - failed, p)
        assert own.beta_quantile(failed + 1, n - failed, p) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("p", LEVELS)
def test_a_limit_after_no_failure_is_a_root(p: float) -> None:
    for n in (1, 10, 1000, 1_000_000):
        assert own.beta_quantile(1, n, p) == pytest.approx(-math.expm1(math.log1p(-p) / n), rel=1e-13)


@pytest.mark.parametrize("q", [0.001, 0.01, 0.5, 0.9, 0.99, 0.999])
def test_ranks_are_those_of_the_binomial_distribution(q: float) -> None:
    for n in (1, 2, 10, 59, 299, 300, 4605, 1_000_000):
        for confidence in (0.9, 0.95, 0.999):
            k = own.binomial_quantile(n, q, confidence)
            assert k == int(scipy.special.bdtrik(confidence, n, q) + 1 - 1e-9) or k == 0
            assert scipy.special.bdtr(k, n, q) >= confidence
            assert k == 0 or scipy.special.bdtr(k - 1, n, q) < confidence


def test_shares_are_those_of_the_binomial_distribution() -> None:
    for n, q in itertools.product((1, 30, 1000), (0.01, 0.5, 0.99)):
        for k in range(0, n + 1, max(n // 20, 1)):
            assert own.binomial_share(k, n, q) == pytest.approx(scipy.special.bdtr(k, n, q), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("freedom", [5, 30, 99, 1000, 1_000_000])
def test_student_s_quantiles_are_scipy_s(freedom: int) -> None:
    for p in (0.001, 0.05, 0.5, 0.6, 0.95, 0.975, 0.9999):
        assert own.student_quantile(freedom, p) == pytest.approx(scipy.special.stdtrit(freedom, p), rel=1e-9, abs=1e-12)


def test_the_normal_distribution_is_scipy_s() -> None:
    for p in LEVELS:
        assert own.normal_quantile(p) == pytest.approx(scipy.special.ndtri(p), rel=1e-12, abs=1e-15)
        z = own.normal_quantile(p)
        assert own.normal_tail(z) == pytest.approx(1 - p, rel=1e-11)


@pytest.mark.parametrize("freedom", range(1, 21))
def test_the_chi_square_tail_is_scipy_s(freedom: int) -> None:
    for x in (0.0, 0.01, 1.0, 5.0, 31.4, 200.0):
        assert own.chi_square_tail(freedom, x) == pytest.approx(scipy.special.chdtrc(freedom, x), rel=1e-12)


@pytest.mark.parametrize("n", [125, 250, 25_000])
def test_kolmogorov_s_tail_is_near_scipy_s(n: int) -> None:
    for d in (0.1, 0.3, 0.5, 0.8, 1.0, 1.36, 2.0, 3.0):
        expected = scipy.stats.kstwo.sf(d / math.sqrt(n), n)
        assert own.kolmogorov_tail(n, d / math.sqrt(n)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("steps", [0, 40])
def test_the_halves_are_compared_as_by_scipy(steps: int) -> None:
    samples = np.random.default_rng(5).exponential(size=1001) + np.linspace(0, 0.2, 1001)
    if steps:
        samples = np.round(samples * steps) / steps
    expected = scipy.stats.ks_2samp(samples[:500], samples[500:], method="asymp").pvalue
    assert tails.halves(samples) == pytest.approx(expected, abs=1e-3)
