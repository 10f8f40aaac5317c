"""Trends: what is flat is not called growth more often than stated, what leaks is found."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import lfilter
from scipy.stats import theilslopes

from hil import B, Clock, KiB, MiB, Series, percent
from hil.errors import ConfigurationError
from hil.measure import results
from hil.measure.decision import Outcome, decide
from hil.measure.growth import drift, growth
from hil.measure.units import parse
from hil.plots import series as plots
from hil.stats.trend import trend

RUNS = 400
STATED = 0.05  # one-sided
MOST = 34  # of 400 runs: P(Bin(400, 0.05) > 34) is 0.001
HOST = Clock("host", 1e-9)

Floats = NDArray[np.float64]
Noise = Callable[[np.random.Generator, int], Floats]


def correlated(phi: float) -> Noise:
    return lambda chance, n: np.asarray(lfilter([1], [1, -phi], chance.normal(size=n + 500))[500:])


def levels(chance: np.random.Generator, n: int) -> Floats:
    """A counter in pages that steps to another level every 25 deployments."""
    return np.repeat(chance.integers(0, 5, size=n // 25 + 1) * 4096.0, 25)[:n]


def two_states(chance: np.random.Generator, n: int) -> Floats:
    """A counter that changes between two values, as a cache does that is filled and dropped."""
    return np.asarray(np.cumsum(chance.random(n) < 1 / 20) % 2 * 8192.0)


FLAT: dict[str, Noise] = {
    "white": lambda chance, n: chance.normal(size=n),
    "pages": lambda chance, n: np.floor(chance.normal(size=n)) * 4096,
    "outliers": lambda chance, n: chance.normal(size=n) + 100 * (chance.random(n) < 0.01),
    "correlated": correlated(0.5),
    "much correlated": correlated(0.9),
    "levels": levels,
    "two states": two_states,
    "settling": lambda chance, n: chance.normal(size=n) - 50 * np.exp(-np.arange(n) / (n / 40)),
}


@pytest.mark.parametrize("n", [41, 200, 1000])
@pytest.mark.parametrize("noise", FLAT)
def test_what_is_flat_is_called_growth_no_more_often_than_stated(noise: str, n: int) -> None:
    chance = np.random.default_rng(n)
    assert sum(trend(FLAT[noise](chance, n)).grows() for _ in range(RUNS)) <= MOST


@pytest.mark.parametrize("noise", ["white", "pages", "correlated", "much correlated", "two states"])
def test_the_limits_hold_the_true_slope(noise: str) -> None:
    chance, true = np.random.default_rng(7), 30.0
    missed = 0
    for _ in range(RUNS):
        found = trend(FLAT[noise](chance, 600) + true / 1000 * np.arange(600))
        assert found.lower is not None
        assert found.upper is not None
        missed += not found.lower <= true <= found.upper
    assert missed <= 60, "P(Bin(400, 0.1) > 60) is 0.001"


@pytest.mark.parametrize("every", [1, 25])
@pytest.mark.parametrize("swing", [0, 16])
def test_a_leak_of_1_kib_in_pages_is_found_within_1000_deployments(every: int, swing: int) -> None:
    chance = np.random.default_rng(1)
    deployments = np.arange(0, 1000, every)
    for _ in range(50):
        taken = deployments * 1024 + chance.normal(size=len(deployments)) * swing * 1024
        found = trend(np.floor(taken / 4096) * 4096, every=every, quantum=4096)
        assert found.grows(256 * 1024), found
        assert found.lower is not None
        assert found.upper is not None
        assert found.lower <= 1000 * 1024 <= found.upper


def test_the_slope_is_theils() -> None:
    samples = np.random.default_rng(2).normal(size=15).cumsum()
    assert trend(samples).slope == pytest.approx(1000 * theilslopes(samples).slope)


def test_a_counter_that_stands_still_hides_at_most_a_step() -> None:
    found = trend([4096.0] * 41, every=5, quantum=4096)
    assert (found.slope, found.grows()) == (0, False)
    assert found.upper == -(found.lower or 0) == pytest.approx(1000 * 4096 / ((found.batches - 1) * 5))


def test_what_happens_at_the_start_is_no_growth() -> None:
    chance = np.random.default_rng(3)
    settling = np.minimum(np.arange(1000), 200) * 100.0 + chance.normal(size=1000)
    found = trend(settling)
    assert 175 <= found.start <= 500
    assert not found.grows()
    assert trend(np.arange(1000.0)).grows(), "but a steady slope is"


def test_a_third_of_the_series_may_be_anything() -> None:
    samples = np.arange(300) * 0.01
    samples[100:180] += 1000
    assert trend(samples).slope == pytest.approx(10, rel=0.2)


def test_few_samples_have_a_slope_and_no_limits() -> None:
    found = trend([0.0, 1.0, 2.0], every=10)
    assert (found.slope, found.lower, found.upper, found.grows()) == (100, None, None, False)


def test_ten_thousand_points_take_less_than_a_second() -> None:
    samples = np.random.default_rng(4).normal(size=10_000)
    begin = time.process_time()
    trend(samples)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("samples", "options"),
    [([1.0], {}), ([1.0, 2.0], {"every": 0}), ([1.0, 2.0], {"quantum": -1.0}), ([1.0, 2.0], {"confidence": 95})],
)
def test_what_makes_no_trend_is_refused(samples: list[float], options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        trend(samples, **options)


def test_growth_is_a_figure_with_bounds() -> None:
    leak = Series("guest memory taken", "m.wasm", np.arange(0, 200, 5) * 1024.0, HOST, "B")
    figure = growth(every=5, quantum=4096)
    outcomes = [decide(figure <= limit, leak).outcome for limit in (512 * KiB, 1000 * KiB, 2 * MiB)]
    assert outcomes == [Outcome.FAIL, Outcome.INCONCLUSIVE, Outcome.PASS]
    assert "1000 KiB" in str(decide(figure <= 512 * KiB, leak))
    with pytest.raises(ConfigurationError, match="%"):
        decide(figure <= 1 * percent, leak)


def test_drift_is_a_share_of_the_median() -> None:
    chance = np.random.default_rng(5)
    slower = Series(
        "response time", "m.wasm", 0.1 * (1 + np.arange(1000) / 1000) + chance.normal(size=1000) / 1e3, HOST
    )
    check = decide(drift() <= 20 * percent, slower)
    assert check.outcome is Outcome.FAIL
    assert check.estimate.value == pytest.approx(1 / 1.5, rel=0.05)
    assert decide(drift() <= 100 * percent, slower).outcome is Outcome.PASS
    hindered = replace(slower, samples=slower.samples + 2 * (chance.random(1000) < 0.3))
    assert decide(drift() <= 100 * percent, hindered).outcome is Outcome.PASS, "what the host adds is no drift"
    still = Series("response time", "m.wasm", [0.0] * 20, HOST)  # type: ignore[arg-type]
    assert drift().estimate(still).value == 0, "below the clock's resolution"


def test_bytes_have_a_unit_of_their_own(tmp_path: Path) -> None:
    assert [str(size) for size in (0 * MiB, 12 * B, 1.5 * KiB, -3 * MiB)] == ["0 B", "12 B", "1.5 KiB", "-3 MiB"]
    assert parse("1.5 MiB") == 1536 * KiB
    leak = Series("guest memory taken", "m.wasm", np.arange(20) * 2048.0, HOST, "B")
    check = decide(growth(every=1) <= 4 * MiB, leak)
    results.write(tmp_path / "r.jsonl", leak, (check,))
    (record,) = results.load(tmp_path / "r.jsonl").records
    assert (record.series.unit, record.checks[0].limit, record.row["max"]) == ("B", 4 * MiB, "38 KiB")
    assert "guest memory taken [KiB]" in plots.timeline(leak, (check,))
