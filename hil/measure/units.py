"""Amounts with a unit: `2 * ms`, `0.5 * percent`. A time is never mistaken for a ratio or a bare number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hil.errors import ConfigurationError

KINDS = {"s": "a time", "B": "an amount of memory", "1": "a ratio or count"}


@dataclass(frozen=True, order=False)
class Amount:
    """A finite number of `unit`: `"s"` (time), `"B"` (bytes) or `"1"` (ratio, count).

    Amounts of one unit can be added and compared; a bare number scales. Raises `ConfigurationError` for mixed units, a
    number that is not finite, a number without a unit, and an unknown unit.
    """

    value: float
    unit: str

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ConfigurationError(f"{self.value} is not a finite amount")
        if self.unit not in KINDS:
            raise ConfigurationError(
                f"{self.unit!r} is not the unit of an amount",
                hint=f"The units are {', '.join(f'{unit!r} ({kind})' for unit, kind in KINDS.items())}. Write times as "
                "2 * ms; bounds on the signal of a plant take a bare number: maximum <= 3.6.",
            )

    def __mul__(self, factor: float) -> Amount:
        return Amount(self.value * factor, self.unit) if isinstance(factor, int | float) else NotImplemented

    __rmul__ = __mul__

    def __truediv__(self, other: float | Amount) -> Amount | float:
        if isinstance(other, Amount):
            return self.value / self._same(other)
        return Amount(self.value / other, self.unit) if isinstance(other, int | float) else NotImplemented

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.value + self._same(other), self.unit)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.value - self._same(other), self.unit)

    def __lt__(self, other: Amount) -> bool:
        return self.value < self._same(other)

    def __le__(self, other: Amount) -> bool:
        return self.value <= self._same(other)

    def __gt__(self, other: Amount) -> bool:
        return self.value > self._same(other)

    def __ge__(self, other: Amount) -> bool:
        return self.value >= self._same(other)

    def __str__(self) -> str:
        return shown(self.value, self.unit)

    def _same(self, other: object) -> float:
        if not isinstance(other, Amount):
            raise ConfigurationError(f"{other!r} has no unit", hint="Write a time as 2 * ms, a share as 1 * percent.")
        if other.unit != self.unit:
            raise ConfigurationError(f"{self} and {other} have different units")
        return other.value


s, ms, us, ns = (Amount(factor, "s") for factor in (1.0, 1e-3, 1e-6, 1e-9))
ratio, percent = Amount(1.0, "1"), Amount(1e-2, "1")
B, KiB, MiB = (Amount(factor, "B") for factor in (1.0, 2.0**10, 2.0**20))

NAMES = {"s": s, "ms": ms, "us": us, "ns": ns, "%": percent, "B": B, "KiB": KiB, "MiB": MiB}
"""The units in text; a number alone is a ratio or a count."""


def amount(value: object, unit: str, what: str) -> float:
    """Return the number in `value`. Raises `ConfigurationError` about `what` unless `value` is an amount of `unit`."""
    if not isinstance(value, Amount):
        example = {"s": "2 * ms", "B": "2 * MiB"}.get(unit, "1 * percent")
        raise ConfigurationError(f"{what} is compared with {value!r}, which has no unit", hint=f"Write {example}.")
    if value.unit != unit:
        kinds = {"s": "a time", "B": "an amount of memory", "1": "a ratio"}
        raise ConfigurationError(f"{what} is {kinds[unit]}, but {value} is {kinds[value.unit]}")
    return value.value


def parse(text: str) -> Amount:
    """Return the amount in `"1.5 ms"`, `"2 %"` or `"0.5"`. Raises `ValueError` for another form or unit."""
    number, _, unit = text.strip().partition(" ")
    if unit and unit not in NAMES:
        raise ValueError(f"{text!r} is not an amount; write a number, a space and one of {', '.join(NAMES)}")
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"{text!r} is not an amount: {number!r} is not a number") from None
    if not math.isfinite(value):
        raise ValueError(f"{text!r} is not finite")
    return value * (NAMES[unit] if unit else ratio)


def lasted(seconds: float) -> str:
    """Return a duration for people: `42 s`, `17 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def shown(value: float, unit: str = "s") -> str:
    """Return the number with four digits and a suitable unit: `1.234 ms`, `2.5 %`, `1.5 MiB`."""
    if not math.isfinite(value):
        return str(value)
    if unit == "1":
        return f"{value * 100:.4g} %" if 0 < abs(value) < 1 else f"{value:.6g}"
    names = ("MiB", "KiB", "B") if unit == "B" else ("s", "ms", "us", "ns")
    for name in names[:-1]:
        factor = NAMES[name].value
        if abs(value) >= factor:
            return f"{value / factor:.4g} {name}"
    return f"{value / NAMES[names[-1]].value:.4g} {names[-1]}"
