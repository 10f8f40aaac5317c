"""The decision whether a series keeps a bound.

With L and U the confidence limits of the figure, u the uncertainty of the clock and B the bound: pass if U + u <= B,
fail if L - u > B, else inconclusive (the guard band of ILAC-G8). A failed bound that the load of the host explains is
inconclusive too; its failure origin is the infrastructure.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

from hil.errors import ConfigurationError
from hil.measure.bound import CONFIDENCE, Bound, Estimate
from hil.measure.host import total
from hil.measure.margins import bound_text
from hil.measure.quantities import SIGNAL
from hil.measure.relief import relieved
from hil.measure.series_data import SeriesData
from hil.measure.units import amount, shown

FINEST = 4  # uncertainties of the clock that a bound needs at least; three noise floors are within


class Outcome(enum.StrEnum):
    """The outcome of a bound; `MARGINAL` is kept, but above the marginal limit."""

    PASS = "pass"
    MARGINAL = "marginal"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def kept(self) -> bool:
        return self in (Outcome.PASS, Outcome.MARGINAL)


@dataclass(frozen=True)
class Check:
    """The outcome of one bound, and why.

    `undecidable` is true if no number of samples can decide it, `fine` if the clock's resolution is too coarse on any
    link and host, `host` if the load of the host may be the cause.
    """

    bound: Bound
    estimate: Estimate
    outcome: Outcome
    why: str = ""
    undecidable: bool = False
    fine: bool = False
    host: bool = False

    @property
    def origin(self) -> str:
        """The failure origin of a bound that is not kept, one of `ORIGINS`: who has to act."""
        if self.outcome is Outcome.FAIL:
            return "image"
        if self.fine:
            return "configuration"
        return "infrastructure" if self.host or self.undecidable else "test"

    def __str__(self) -> str:
        bound, estimate = self.bound, self.estimate
        lower, upper = ("?" if limit is None else estimate.shown(limit) for limit in (estimate.lower, estimate.upper))
        parts = [bound_text(self.outcome, bound.figure.name, estimate.value, bound.limit.value, estimate.shown)]
        if lower == "?" or lower != upper:
            parts.append(f"{100 * estimate.confidence:.4g} % confidence interval {lower} .. {upper}")
        if self.outcome is not Outcome.PASS:
            parts += [self.why, f"reason of the bound: {bound.reason}" if bound.reason else ""]
        text = "; ".join(filter(None, parts))
        return f"{text} ({bound.source})" if bound.source and self.outcome is not Outcome.PASS else text


def decide(bound: Bound, series: SeriesData, confidence: float = CONFIDENCE) -> Check:
    """Decide whether `series` keeps `bound`. Raises `ConfigurationError`, with the row, if their units differ.

    A bound that is not kept is inconclusive, with the infrastructure as its failure origin, if the series without the
    delays by the host might keep it, and if virtual time lost its lock step.
    """
    try:
        check = _decide(bound, series, confidence)
    except ConfigurationError as error:
        if not bound.source:
            raise
        raise ConfigurationError(f"{bound.source}: {error.message}", hint=error.hint) from error
    if check.outcome.kept or check.undecidable:
        return check
    if series.disturbed:
        why = f"the host disturbed virtual time: {series.clock.remark}"
        return replace(check, outcome=Outcome.INCONCLUSIVE, why=why, host=True)
    guard = series.clock.uncertainty if series.unit == "s" else 0.0
    for other in relieved(series, (bound.figure.deadline or bound.limit).value - guard):
        outcome = _decide(bound, other, confidence).outcome
        if outcome.kept or (check.outcome is Outcome.FAIL and outcome is not Outcome.FAIL):
            why = f"the host was too busy for a decision: {total(series.host)}"
            return replace(check, outcome=Outcome.INCONCLUSIVE, why=why, host=True)
    return check


def _decide(bound: Bound, series: SeriesData, confidence: float) -> Check:
    unit = bound.figure.unit or series.unit
    if bound.plain and series.quantity != SIGNAL:
        amount(bound.limit.value, unit, f"{bound.figure.name} of {series.quantity}")  # raises
    limit = amount(bound.limit, unit, f"{bound.figure.name} of {series.quantity}")
    estimate = bound.figure.estimate(series, confidence)
    unsure = series.clock.uncertainty
    judged = bound.figure.deadline or bound.limit
    if judged.unit == "s" and judged.value < FINEST * unsure:
        why = f"{judged} is below {shown(FINEST * unsure)}, {FINEST} times the uncertainty of the clock"
        fine = judged.value < FINEST * series.clock.resolution
        return Check(bound, estimate, Outcome.INCONCLUSIVE, why, undecidable=True, fine=fine)
    guard = unsure if unit == "s" else 0.0
    if estimate.lower is not None and estimate.lower - guard > limit:
        return Check(bound, estimate, Outcome.FAIL)
    if estimate.upper is None:
        why = f"{len(series)} samples; the interval of {bound.figure.name} needs {estimate.samples_needed}"
        return Check(bound, estimate, Outcome.INCONCLUSIVE, why)
    if estimate.upper + guard > limit:
        if estimate.lower == estimate.upper:
            why = f"the bound is closer to the figure than the uncertainty of the clock, {shown(guard)}"
            return Check(bound, estimate, Outcome.INCONCLUSIVE, why, undecidable=True)
        return Check(bound, estimate, Outcome.INCONCLUSIVE, "the bound lies within the confidence interval")
    if bound.marginal is not None and estimate.upper + guard > bound.marginal.value:
        return Check(bound, estimate, Outcome.MARGINAL, f"above the marginal limit {bound.marginal}")
    return Check(bound, estimate, Outcome.PASS)
