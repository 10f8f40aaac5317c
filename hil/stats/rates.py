"""Failure rates with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass

from hil.errors import ConfigurationError


@dataclass(frozen=True)
class Rate:
    """`failed` of `total` tries, with two-sided limits, 0 to 1, of the true rate at `confidence`."""

    failed: int
    total: int
    lower: float
    upper: float
    confidence: float

    @property
    def value(self) -> float:
        """The share that failed, 0 to 1."""
        return self.failed / self.total

    def __str__(self) -> str:
        value, lower, upper = (f"{100 * share:.4g} %" for share in (self.value, self.lower, self.upper))
        return f"{self.failed} of {self.total} ({value}, {100 * self.confidence:g} % interval {lower} .. {upper})"


def rate(failed: int, total: int, confidence: float = 0.95) -> Rate:
    """Return the failure rate with the exact interval of Clopper and Pearson (Biometrika 26, 1934).

    At the lower limit `failed` or more of `total` have the probability (1 - confidence) / 2, at the upper limit
    `failed` or fewer; both are quantiles of beta distributions. For independent tries the interval holds its confidence
    at every true rate. Raises `ConfigurationError` unless 0 <= failed <= total, 1 <= total and 0.5 <= confidence < 1.
    """
    from scipy.special import betaincinv

    if not (0 <= failed <= total and total >= 1):
        raise ConfigurationError(f"no rate of {failed} failures in {total} tries", hint="Give 0 <= failed <= total.")
    if not 0.5 <= confidence < 1:
        raise ConfigurationError(f"the confidence {confidence} is not within 0.5 to 1", hint="Give 0.95, for example.")
    tail = (1 - confidence) / 2
    lower = float(betaincinv(failed, total - failed + 1, tail)) if failed else 0.0
    upper = float(betaincinv(failed + 1, total - failed, 1 - tail)) if failed < total else 1.0
    return Rate(failed, total, lower, upper, confidence)
