"""Figures of a series, their estimates with confidence intervals, and bounds on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from hil.errors import ConfigurationError
from hil.measure.series_data import SeriesData
from hil.measure.units import Amount, amount, shown

CONFIDENCE = 0.95  # one-sided

Interval = tuple[float | None, float | None]
"""Lower and upper confidence limit, each one-sided; None where the samples are too few for one."""


@dataclass(frozen=True)
class Estimate:
    """The value of a figure with its confidence interval, in `unit` (`"s"`, `"B"` or `"1"`).

    `physical_unit` is the name for people of the unit of plain numbers, such as `"°C"`.

    `lower` and `upper` are one-sided limits at `confidence`, None if there are too few samples; `samples_needed` is the
    number of samples that gives both.
    """

    value: float
    lower: float | None
    upper: float | None
    samples_needed: int = 1
    unit: str = "s"
    confidence: float = CONFIDENCE
    physical_unit: str = ""

    def shown(self, value: float) -> str:
        """Return a number in the unit of the estimate for people."""
        return f"{value:.6g} {self.physical_unit}" if self.physical_unit else shown(value, self.unit)


@dataclass(frozen=True)
class Figure:
    """A named figure of a series; `p99 <= 2 * ms` makes a `Bound` of it.

    - `interval`: the confidence interval; None for a figure that describes these samples only, such as `max`.
    - `samples_needed`: the number of samples that the interval needs at a confidence.
    - `unit`: None for a figure in the unit of its series.
    - `deadline`: the deadline of a miss rate or count.
    - `ceiling`: the largest possible value, whatever the samples; None if there is none.
    """

    name: str
    value: Callable[[SeriesData], float]
    interval: Callable[[SeriesData, float], Interval] | None = None
    samples_needed: Callable[[float], int] = lambda confidence: 1
    unit: str | None = None
    deadline: Amount | None = None
    ceiling: float | None = None

    def estimate(self, series: SeriesData, confidence: float = CONFIDENCE) -> Estimate:
        """Return the figure of `series` with its interval. By an exact clock both limits are the value.

        Raises `ConfigurationError` for a confidence outside 0.5 to 1 and for a deadline in another unit than the
        series.
        """
        if not 0.5 <= confidence < 1:
            raise ConfigurationError(
                f"the confidence {confidence} is not within 0.5 to 1", hint="Give 0.95, or 1 - 0.05 / analyses."
            )
        value = float(self.value(series))
        unit = self.unit or series.unit
        physical = "" if self.unit else series.physical_unit
        if series.clock.exact or not self.interval:
            return Estimate(value, value, value, unit=unit, confidence=confidence, physical_unit=physical)
        return Estimate(
            value, *self.interval(series, confidence), self.samples_needed(confidence), unit, confidence, physical
        )

    def __le__(self, limit: Amount | float) -> Bound:
        return Bound(self, limit)  # type: ignore[arg-type]  # a bare number becomes an amount


@dataclass(frozen=True)
class Bound:
    """A limit that a figure must not exceed.

    A figure above `marginal`, a limit below `limit`, keeps the bound with a warning. `reason` says why the limit was
    chosen. `clock` is the name of the clock for which the bound holds, None for any. `source` is `FILE:LINE` of its row
    in a bounds file, else empty. A bare number, which becomes an amount of the unit `"1"` and `plain`, is a limit for
    figures of plain numbers, the signals of a plant.

    Raises `ConfigurationError` for an amount without a unit or in the wrong one, a negative limit, a limit that the
    figure can never exceed, a marginal limit that is not below it, and for use as a truth value.
    """

    figure: Figure
    limit: Amount
    marginal: Amount | None = None
    reason: str = ""
    clock: str | None = None
    source: str = field(default="", compare=False)
    plain: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        if self.figure.unit is None and isinstance(self.limit, int | float) and not isinstance(self.limit, bool):
            object.__setattr__(self, "limit", Amount(float(self.limit), "1"))
            object.__setattr__(self, "plain", True)
        for limit in (self.limit,) if self.marginal is None else (self.limit, self.marginal):
            unit = self.figure.unit or (limit.unit if isinstance(limit, Amount) else "s")
            if amount(limit, unit, self.figure.name) < 0 and not self.plain:
                raise ConfigurationError(f"{self.figure.name} <= {limit}: the limit is negative")
            if self.figure.ceiling is not None and limit.value >= self.figure.ceiling:
                raise ConfigurationError(
                    f"{self.figure.name} <= {limit}: this bound can never be exceeded",
                    hint="Give a share below 100 %, such as 1 * percent.",
                )
        if self.marginal is not None and not self.marginal < self.limit:
            raise ConfigurationError(f"{self}: the marginal limit {self.marginal} is not below the limit")

    def __str__(self) -> str:
        return f"{self.figure.name} <= {f'{self.limit.value:.6g}' if self.plain else self.limit}"

    def __bool__(self) -> bool:
        raise ConfigurationError(
            f"{self} is a bound, not a truth value: `and`, `or`, `not`, `if` and `assert` would lose it",
            hint="Pass each bound as an argument of its own: series.check(p99 <= 2 * ms, p50 <= 1 * ms).",
        )
