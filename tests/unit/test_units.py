"""Amounts with units that cannot be mixed up."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.errors import ConfigurationError
from hil.measure.units import Amount, amount, ms, ns, parse, percent, ratio, s, shown, us


def test_amounts_scale_add_and_compare() -> None:
    assert 2 * ms == ms * 2 == Amount(2e-3, "s")
    assert (1 * s - 250 * ms).value == 0.75
    assert 1 * ms < 2 * ms <= 2000 * us
    assert 3 * ms / (2 * ms) == 1.5
    assert 50 * percent == 0.5 * ratio
    assert str(1500 * us) == "1.5 ms"


@pytest.mark.parametrize(
    "mixed",
    [
        lambda: 1 * ms + 1 * percent,
        lambda: 1 * ms < 1 * ratio,
        lambda: 1 * ms <= 2,
        lambda: 1 * ms - 0.5,
        lambda: 1 * ms / (1 * percent),
        lambda: math.nan * ms,
        lambda: math.inf * s,
    ],
)
def test_units_do_not_mix(mixed: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match="nan|inf|%|ms|2|0.5"):
        mixed()


def test_an_amount_is_asked_for_by_its_unit() -> None:
    assert amount(3 * ms, "s", "p99") == 3e-3
    with pytest.raises(ConfigurationError, match=r"(?s)p99.* 3\b.*2 \* ms"):
        amount(3, "s", "p99")
    with pytest.raises(ConfigurationError, match="p99.*3 %"):
        amount(3 * percent, "s", "p99")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 ns"),
        (1.5, "s", "1.5 s"),
        (1e-3, "s", "1 ms"),
        (12.345678e-3, "s", "12.35 ms"),
        (-2e-6, "s", "-2 us"),
        (1e-12, "s", "0.001 ns"),
        (0.025, "1", "2.5 %"),
        (3.0, "1", "3"),
        (0.0, "1", "0"),
    ],
)
def test_amounts_are_shown_with_a_unit_that_suits(value: float, unit: str, text: str) -> None:
    assert shown(value, unit) == text


@given(st.floats(1e-9, 1e6))
def test_shown_times_are_read_back(seconds: float) -> None:
    assert parse(shown(seconds)).value == pytest.approx(seconds, rel=1e-3)


def test_ratios_are_read() -> None:
    assert parse("2 %") == 2 * percent
    assert parse("0.5") == 0.5 * ratio


@pytest.mark.parametrize("text", ["", "2ms", "ms", "x ms", "2 m", "nan ms", "inf s", "2 ms ms", "1_0 ms x"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse(text)


def test_the_units_are_what_they_say() -> None:
    assert [unit.value for unit in (s, ms, us, ns)] == [1.0, 1e-3, 1e-6, 1e-9]


def test_an_unknown_unit_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="'turns' is not the unit of an amount") as caught:
        Amount(3.6, "turns")
    assert "'s' (a time), 'B' (an amount of memory), '1' (a ratio or count)" in str(caught.value.hint)
