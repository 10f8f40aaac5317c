"""Rates of failures: known intervals, coverage by exact computation, and bad numbers."""

from __future__ import annotations

import math

import pytest

from hil.errors import ConfigurationError
from hil.stats.rates import rate


def binomial(k: int, n: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize(
    ("failed", "total", "lower", "upper"),
    [
        (0, 30, 0.0, 1 - 0.025 ** (1 / 30)),  # closed forms
        (30, 30, 0.025 ** (1 / 30), 1.0),
        (1, 1, 0.025, 1.0),
        (1, 30, 0.000844, 0.172169),
        (5, 10, 0.187086, 0.812914),
    ],
)
def test_known_intervals(failed: int, total: int, lower: float, upper: float) -> None:
    found = rate(failed, total)
    assert found.lower == pytest.approx(lower, abs=1e-6)
    assert found.upper == pytest.approx(upper, abs=1e-6)
    assert found.lower <= found.value <= found.upper


def test_limits_are_those_of_the_definition() -> None:
    found = rate(3, 40)
    assert sum(binomial(k, 40, found.lower) for k in range(3, 41)) == pytest.approx(0.025)
    assert sum(binomial(k, 40, found.upper) for k in range(4)) == pytest.approx(0.025)


@pytest.mark.parametrize("true", [0.001, 0.03, 0.2, 0.5, 0.97])
def test_the_interval_holds_the_true_rate_as_often_as_it_says(true: float) -> None:
    every = [rate(k, 25) for k in range(26)]
    covered = sum(binomial(k, 25, true) for k, one in enumerate(every) if one.lower <= true <= one.upper)
    assert covered >= 0.95


def test_the_text_has_counts_share_and_interval() -> None:
    text = str(rate(1, 30))
    assert all(part in text for part in ("1 of 30", "3.333 %", "95 %", "0.08436 % .. 17.22 %"))


@pytest.mark.parametrize(("failed", "total"), [(-1, 3), (4, 3), (0, 0)])
def test_what_is_no_rate_is_refused(failed: int, total: int) -> None:
    with pytest.raises(ConfigurationError, match=f"{failed} failures in {total} tries"):
        rate(failed, total)
