"""Jitter derived from the times of events: identities of white noise, RFC 3550's recursion, bad input."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hil import (
    Clock,
    Series,
    cycle_to_cycle_jitter,
    interarrival_jitter,
    maximum,
    ms,
    peak_to_peak,
    percent,
    period_jitter,
    release_jitter,
    rms,
    us,
)
from hil.errors import ConfigurationError

CLOCK = Clock("guest counter", 16e-9)
SIGMA = 5e-6


def events(times: Any, **more: Any) -> Series:
    return Series("release time", "tick", np.zeros(len(times)), CLOCK, times=times, **more)


def noisy(n: int = 50_000) -> Series:
    return events(100 + np.arange(n) * 1e-3 + np.random.default_rng(4).normal(0, SIGMA, n))


def test_white_noise_of_the_edges_shows_in_the_jitters_as_theory_has_it() -> None:
    taken = noisy()
    assert rms.estimate(release_jitter(taken, 1 * ms)).value == pytest.approx(SIGMA, rel=0.02)
    assert rms.estimate(period_jitter(taken)).value == pytest.approx(2**0.5 * SIGMA, rel=0.02)
    assert rms.estimate(cycle_to_cycle_jitter(taken)).value == pytest.approx(6**0.5 * SIGMA, rel=0.02)
    mean_difference = 2 * SIGMA / np.pi**0.5  # E|D| for the difference of two normal errors
    assert interarrival_jitter(taken, 1 * ms).samples[100:].mean() == pytest.approx(mean_difference, rel=0.03)


def test_a_late_event_is_late_by_itself_alone() -> None:
    taken = events([0.0, 1e-3, 2.3e-3, 3e-3, 4e-3], offsets=[0, 10, 20, 30, 40])
    late = release_jitter(taken, 1 * ms)
    assert late.samples == pytest.approx([0, 0, 0.3e-3, 0, 0])
    assert (late.quantity, late.subject, late.clock) == ("release jitter", "tick", CLOCK)
    periods = period_jitter(taken, 1 * ms)
    assert periods.samples == pytest.approx([0, 0.3e-3, -0.3e-3, 0])
    assert (list(periods.times), list(periods.offsets)) == ([1e-3, 2.3e-3, 3e-3, 4e-3], [10, 20, 30, 40])  # type: ignore[arg-type]
    assert cycle_to_cycle_jitter(taken).samples == pytest.approx([0.3e-3, -0.6e-3, 0.3e-3])
    late.check(maximum <= 301 * us)


def test_a_grid_begins_at_the_most_punctual_event_not_at_the_first() -> None:
    assert release_jitter(events([0.2e-3, 1e-3, 2e-3]), 1 * ms).samples == pytest.approx([0.2e-3, 0, 0])


def test_interarrival_jitter_is_the_rfc_s_recursion() -> None:
    times = [0.0, 1.2e-3, 2e-3, 3.5e-3]
    jitter, expected = 0.0, []
    for before, after in itertools.pairwise(times):
        jitter += (abs(after - before - 1e-3) - jitter) / 16
        expected.append(jitter)
    assert interarrival_jitter(events(times), 1 * ms).samples == pytest.approx(expected)


def test_a_perfect_clock_has_no_jitter() -> None:
    taken = events(np.arange(100) / 1024)
    period = 1000 / 1024 * ms
    for jitter in (release_jitter(taken, period), period_jitter(taken), interarrival_jitter(taken, period)):
        assert peak_to_peak.estimate(jitter).value == 0
    assert not cycle_to_cycle_jitter(taken).samples.any()


@pytest.mark.parametrize(
    ("derive", "datum"),
    [
        (lambda: period_jitter(Series("q", "s", [1.0], CLOCK)), "q of s"),
        (lambda: period_jitter(events([0.0])), " 1 .* 2 "),
        (lambda: cycle_to_cycle_jitter(events([0.0, 1.0])), " 2 .* 3 "),
        (lambda: interarrival_jitter(events([0.0]), 1 * ms), " 1 .* 2 "),
        (lambda: release_jitter(events([0.0, 1.0]), 0 * ms), "0 ns"),
        (lambda: release_jitter(events([0.0, 1.0]), 1 * percent), "1 %"),
        (lambda: release_jitter(events([0.0, 1.0]), 0.001), "0.001"),  # type: ignore[arg-type]
    ],
)
def test_a_series_that_has_no_jitter_is_refused(derive: Callable[[], Series], datum: str) -> None:
    with pytest.raises(ConfigurationError, match=datum):
        derive()
