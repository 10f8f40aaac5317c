"""Series: what is refused, what is kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from hil import Clock, Series
from hil.errors import ConfigurationError

CLOCK = Clock("guest counter", 16e-9)


def series(samples: Any, **more: Any) -> Series:
    return Series("response time", "nbody-c.wasm 10", samples, CLOCK, **more)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ((), "nbody-c.wasm"),
        ((1.0, math.nan), "2 .*samples.* nan"),
        ((math.inf,), "1 .*samples.* inf"),
        ([[1.0], [2.0]], "samples.* 2 "),
    ],
)
def test_a_series_without_meaning_is_refused(samples: Any, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected) as caught:
        series(samples)
    assert "response time of nbody-c.wasm 10" in str(caught.value)


def test_times_and_offsets_are_as_many_as_samples() -> None:
    with pytest.raises(ConfigurationError, match="2 samples.* 1 times"):
        series((1.0, 2.0), times=(1.0,))
    with pytest.raises(ConfigurationError, match="2 samples.* 3 offsets"):
        series((1.0, 2.0), offsets=(1, 2, 3))


def test_the_order_of_samples_is_kept_and_nobody_changes_them() -> None:
    given = np.array([3.0, 1.0, 2.0])
    taken = series(given)
    given[0] = 9
    assert taken.samples.tolist() == [3.0, 1.0, 2.0]
    assert taken.ordered.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="read-only"):
        taken.samples[0] = 1.0


def test_a_clock_s_uncertainty_is_its_floor_but_no_less_than_its_step() -> None:
    assert Clock("c", 1e-6, floor=5e-6).uncertainty == 5e-6
    assert Clock("c", 1e-6, floor=0.0).uncertainty == 1e-6
    assert Clock("c", 1e-6).uncertainty == 1e-6
    assert str(Clock("c", 1e-6)) != str(Clock("c", 1e-6, floor=0.0))
    assert "exact" in str(Clock("c", 1e-6, floor=0.0, exact=True))
