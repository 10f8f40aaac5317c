"""Figures and their confidence limits, against exact arithmetic, numpy, scipy and HdrHistogram."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hdrh.histogram import HdrHistogram
from hypothesis import given
from hypothesis import strategies as st

from hil import Clock, Series, mean, miss_count, misses, ms, p50, p90, p99, p999, peak_to_peak, percent, rms, us
from hil.errors import ConfigurationError
from hil.measure.bound import Figure
from hil.measure.figures import FIGURES, quantile_ranks

CLOCK = Clock("guest counter", 16e-9)
EXACT = Clock("virtual time", 16e-9, floor=0.0, exact=True)


def series(samples: Any, clock: Clock = CLOCK, unit: str = "s") -> Series:
    return Series("response time", "nbody-c.wasm 10", samples, clock, unit)


def exact_ranks(n: int, q: Fraction, confidence: Fraction) -> tuple[int | None, int | None]:
    """The same by exact arithmetic, from the definition."""
    below = [Fraction(0)]  # below[r] = P(Bin(n, q) < r)
    for k in range(n):
        below.append(below[-1] + math.comb(n, k) * q**k * (1 - q) ** (n - k))
    lower = [rank for rank in range(1, n + 1) if 1 - below[rank] >= confidence]
    upper = [rank for rank in range(1, n + 1) if below[rank] >= confidence]
    return max(lower, default=None), min(upper, default=None)


@pytest.mark.parametrize("confidence", ["0.95", "0.99"])
@pytest.mark.parametrize("q", ["0.5", "0.9", "0.99", "0.999"])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 28, 29, 58, 59, 100, 298, 299, 300, 473])
def test_ranks_are_the_exact_binomial_s(n: int, q: str, confidence: str) -> None:
    assert quantile_ranks(n, float(q), float(confidence)) == exact_ranks(n, Fraction(q), Fraction(confidence))


@pytest.mark.parametrize("q", [0.5, 0.99, 0.999])
def test_ranks_of_a_million_samples_are_scipy_s(q: float) -> None:
    n = 1_000_000
    upper = int(scipy.stats.binom.ppf(0.95, n, q)) + 1
    lower = n - int(scipy.stats.binom.ppf(0.95, n, 1 - q))
    assert quantile_ranks(n, q) == (lower, upper)


@pytest.mark.parametrize(
    ("figure", "wanted"), [(p50, 5), (p90, 29), (p99, 299), (p999, 2995), (mean, 100), (rms, 1000)]
)
def test_how_many_samples_the_limits_want(figure: Figure, wanted: int) -> None:
    estimate = figure.estimate(series([1.0] * wanted))
    assert (estimate.samples_needed, estimate.upper) == (wanted, 1.0 if figure is not rms else 0.0)
    assert figure.estimate(series([1.0] * (wanted - 1))).upper is None


def test_more_confidence_wants_more_samples() -> None:
    assert p99.estimate(series([1.0]), 0.99).samples_needed == 459
    assert p99.estimate(series([1.0] * 458), 0.99).upper is None
    assert p99.estimate(series([1.0] * 459), 0.99).upper == 1.0


@pytest.mark.parametrize("confidence", [0.0, 0.4, 1.0, 95.0, math.nan])
def test_what_is_no_confidence_is_refused(confidence: float) -> None:
    with pytest.raises(ConfigurationError, match=str(confidence)):
        p99.estimate(series([1.0]), confidence)


@pytest.mark.parametrize(("figure", "q"), [(p50, "0.5"), (p90, "0.9"), (p99, "0.99"), (p999, "0.999")])
def test_a_quantile_is_the_sample_of_its_rank(figure: Figure, q: str) -> None:
    for n in [*range(1, 120), 700, 1000, 2000, 3000]:
        samples = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
        assert figure.estimate(series(samples)).value == math.ceil(Fraction(q) * n)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=200))
def test_figures_are_numpy_s(samples: list[float]) -> None:
    taken = series(samples)
    for figure, q in ((p50, 50), (p90, 90), (p99, 99), (p999, 99.9)):
        assert figure.estimate(taken).value == np.percentile(samples, q, method="inverted_cdf")
    values = {name: figure.estimate(taken).value for name, figure in FIGURES.items()}
    assert (values["min"], values["max"]) == (min(samples), max(samples))
    assert values["peak_to_peak"] == max(samples) - min(samples)
    assert values["mean"] == pytest.approx(np.mean(samples))
    assert values["rms"] == pytest.approx(np.std(samples))


@pytest.mark.parametrize("seed", range(3))
def test_percentiles_are_hdr_histogram_s(seed: int) -> None:
    micros = np.random.default_rng(seed).lognormal(6, 1, 20_000).astype(int) + 1
    histogram = HdrHistogram(1, 10_000_000, 5)
    for value in micros.tolist():
        histogram.record_value(value)
    taken = series(micros * 1e-6)
    for figure, percentile in ((p50, 50), (p90, 90), (p99, 99), (p999, 99.9)):
        assert figure.estimate(taken).value * 1e6 == pytest.approx(
            histogram.get_value_at_percentile(percentile), rel=2e-5
        )
    assert taken.ordered[-1] * 1e6 == pytest.approx(histogram.get_max_value(), rel=2e-5)


@given(st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=50))
def test_limits_enclose_the_value(samples: list[float]) -> None:
    taken = series(samples)
    for figure in (*FIGURES.values(), misses(2 * ms), miss_count(2 * ms)):
        estimate = figure.estimate(taken)
        assert estimate.lower is None or estimate.lower <= estimate.value
        assert estimate.upper is None or estimate.upper >= estimate.value


def test_limits_hold_the_true_figure_as_often_as_they_say() -> None:
    random = np.random.default_rng(11)
    true = {"p90": 0.9, "mean": 0.5, "rms": 12**-0.5, "misses(700 ms)": 0.3}
    figures = (p90, mean, rms, misses(700 * ms))
    low, high = dict.fromkeys(true, 0), dict.fromkeys(true, 0)
    for _ in range(1000):
        taken = series(random.random(1000))
        for figure in figures:
            estimate = figure.estimate(taken)
            assert estimate.lower is not None
            assert estimate.upper is not None
            low[figure.name] += estimate.lower <= true[figure.name]
            high[figure.name] += estimate.upper >= true[figure.name]
    assert min(*low.values(), *high.values()) >= 930, "95 % of 1000, less three standard deviations"
    assert max(low["p90"], low["mean"], high["p90"], high["mean"]) <= 990, "limits that always hold say nothing"


def test_the_mean_s_limits_are_student_s() -> None:
    samples = np.random.default_rng(1).normal(5, 1, 120)
    estimate = mean.estimate(series(samples))
    t = scipy.stats.t.interval(0.9, 119, samples.mean(), scipy.stats.sem(samples))
    assert (estimate.lower, estimate.upper) == pytest.approx(t)


def test_the_rms_of_normal_samples_has_about_the_chi_square_limits() -> None:
    samples = np.random.default_rng(2).normal(0, 1, 10_000)
    estimate = rms.estimate(series(samples))
    squares = samples.var() * len(samples)
    chi = [math.sqrt(squares / scipy.stats.chi2.ppf(q, len(samples) - 1)) for q in (0.95, 0.05)]
    assert (estimate.lower, estimate.upper) == pytest.approx(chi, rel=2e-3)


@pytest.mark.parametrize(("n", "late"), [(1, 0), (1, 1), (300, 0), (300, 3), (300, 300), (1000, 1)])
def test_misses_have_clopper_and_pearson_s_limits(n: int, late: int) -> None:
    estimate = misses(2 * ms).estimate(series([3e-3] * late + [1e-3] * (n - late)))
    exact = scipy.stats.binomtest(late, n).proportion_ci(0.9, method="exact")  # two-sided 90 % is one-sided 95 %
    assert estimate.value == late / n
    assert (estimate.lower, estimate.upper) == pytest.approx((exact.low, exact.high))
    assert estimate.unit == "1"


def test_no_misses_bound_the_rate_at_three_in_n() -> None:
    assert misses(2 * ms).estimate(series([1e-3] * 1000)).upper == pytest.approx(3 / 1000, rel=5e-3)


def test_a_sample_at_the_deadline_is_kept_and_counts_against_the_limits_the_clock_cannot_tell() -> None:
    noisy = Clock("host monotonic", 1e-9, floor=10e-6)
    taken = series([2e-3] * 100, noisy)
    assert miss_count(2 * ms).estimate(taken).value == 0
    estimate = misses(2 * ms).estimate(taken)
    assert (estimate.value, estimate.lower, estimate.upper) == (0.0, 0.0, 1.0)
    upper = misses(2 * ms + 11 * us).estimate(taken).upper
    assert upper is not None
    assert upper < 0.04


def test_a_deadline_has_the_series_unit() -> None:
    with pytest.raises(ConfigurationError, match="2.* unit"):
        misses(2)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="response time.*2 %"):
        misses(2 * percent).estimate(series([1.0]))
    assert misses(60 * percent).estimate(series([0.5, 0.7], unit="1")).value == 0.5


@pytest.mark.parametrize("figure", [*FIGURES.values(), misses(2 * ms)], ids=lambda figure: figure.name)
def test_exact_figures_are_no_sample_of_anything(figure: Figure) -> None:
    estimate = figure.estimate(series([1e-3, 3e-3, 2e-3], EXACT))
    assert estimate.lower == estimate.value == estimate.upper
    assert estimate.samples_needed == 1


@pytest.mark.parametrize("figure", [*FIGURES.values(), misses(2 * ms)], ids=lambda figure: figure.name)
@pytest.mark.parametrize("samples", [[1e-3], [1e-3] * 400], ids=["one", "equal"])
def test_degenerate_series_have_figures(figure: Figure, samples: list[float]) -> None:
    value = figure.estimate(series(samples)).value
    spread = figure in (rms, peak_to_peak) or figure.unit == "1"
    assert value == pytest.approx(0.0 if spread else 1e-3, abs=1e-15)
