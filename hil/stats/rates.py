"""Failure rates with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

from hil.errors import ConfigurationError
from hil.stats.distributions import beta_quantile


@dataclass(frozen=True)
class Rate:
    """`failed` of `total` tries, with two-sided limits, 0 to 1, of the true rate at 95 %."""

    failed: int
    total: int
    lower: float
    upper: float

    @property
    def value(self) -> float:
        """The share that failed, 0 to 1."""
        return self.failed / self.total

    def __str__(self) -> str:
        value, lower, upper = (f"{100 * share:.4g} %" for share in (self.value, self.lower, self.upper))
        return f"{self.failed} of {self.total} ({value}, 95 % interval {lower} .. {upper})"


def rate(failed: int, total: int) -> Rate:
    """Return the failure rate with the exact interval of Clopper and Pearson (Biometrika 26, 1934).

    At the lower limit `failed` or more of `total` have the probability 2.5 %, at the upper limit `failed` or fewer. For
    independent tries the interval holds its confidence at every true rate. Raises `ConfigurationError` unless
    0 <= failed <= total and 1 <= total.
    """
    if not (0 <= failed <= total and total >= 1):
        raise ConfigurationError(f"no rate of {failed} failures in {total} tries", hint="Give 0 <= failed <= total.")
    return Rate(failed, total, lower_limit(failed, total, 0.975), upper_limit(failed, total, 0.975))


def lower_limit(failed: int, total: int, confidence: float) -> float:
    """Return the one-sided lower limit of a rate, a quantile of a beta distribution."""
    return beta_quantile(failed, total - failed + 1, 1 - confidence) if failed else 0.0


def upper_limit(failed: int, total: int, confidence: float) -> float:
    """Return the one-sided upper limit of a rate, a quantile of a beta distribution."""
    return beta_quantile(failed + 1, total - failed, confidence) if failed < total else 1.0
