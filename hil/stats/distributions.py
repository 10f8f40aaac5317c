"""Probabilities and quantiles of the distributions that confidence limits and tests need, with double precision.

The incomplete beta function is a continued fraction (DLMF 8.17.22) times a binomial probability, which is computed
without cancellation (Loader, Fast and Accurate Computation of Binomial Probabilities, 2000). The rest is closed forms.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from statistics import NormalDist

TINY = 1e-300
STEPS = 1_000_000  # of a continued fraction; it needs about the square root of the number of samples
ROUNDS = 100  # of Newton's method, which needs about five


def normal_quantile(p: float) -> float:
    """Return the quantile `p`, between 0 and 1, of the standard normal distribution."""
    return NormalDist().inv_cdf(p)


def normal_tail(z: float) -> float:
    """Return the probability that a standard normal value exceeds `z`."""
    return math.erfc(z / math.sqrt(2)) / 2


def binomial_probability(k: float, n: float, p: float) -> float:
    """Return the probability of `k` successes in `n` tries of probability `p`, both also for fractions."""
    if k == 0 or k == n:
        return math.exp(n * (math.log1p(-p) if k == 0 else math.log(p)))
    exponent = _stirling_error(n) - _stirling_error(k) - _stirling_error(n - k)
    exponent -= _deviance(k, n * p) + _deviance(n - k, n * (1 - p))
    return math.exp(exponent) * math.sqrt(n / (2 * math.pi * k * (n - k)))


@functools.lru_cache(maxsize=4096)
def binomial_quantile(n: int, p: float, confidence: float) -> int:
    """Return the smallest k for which at most k successes in `n` tries have at least the probability `confidence`."""
    z = normal_quantile(confidence)
    near = n * p + z * math.sqrt(n * p * (1 - p)) + (z * z - 1) * (1 - 2 * p) / 6 - 0.5
    k = min(max(round(near), 0), n)
    below = binomial_share(k, n, p)
    while k < n and below < confidence:
        k += 1
        below += binomial_probability(k, n, p)
    while k and below - (here := binomial_probability(k, n, p)) >= confidence:
        k -= 1
        below -= here
    return k


def binomial_share(k: int, n: int, p: float) -> float:
    """Return the probability of at most `k` successes in `n` tries of probability `p`."""
    return beta_shares(k + 1, n - k, p)[1] if k < n else 1.0


def beta_shares(a: float, b: float, x: float) -> tuple[float, float]:
    """Return the probabilities that a value of the beta distribution `a`, `b` is below `x`, and above it."""
    if x > (a + 1) / (a + b + 2):  # there the continued fraction of the other side converges
        return beta_shares(b, a, 1 - x)[::-1]
    share = _beta_step(a, b, x) / a * _fraction(a, b, x)
    return share, 1 - share


@functools.lru_cache(maxsize=4096)
def beta_quantile(a: float, b: float, p: float) -> float:
    """Return the quantile `p`, between 0 and 1, of the beta distribution `a`, `b`."""
    # Newton's method between the logits of both, where the function is nearly a straight line
    goal, place = math.log(p) - math.log1p(-p), math.log(a / b)
    for _ in range(ROUNDS):
        x = 1 / (1 + math.exp(-place))
        below, above = (max(share, TINY) for share in beta_shares(a, b, x))
        step = (math.log(below) - math.log(above) - goal) * below * above / max(_beta_step(a, b, x), TINY)
        place -= step
        if abs(step) < 1e-12:
            break
    return 1 / (1 + math.exp(-place))


def student_quantile(freedom: float, p: float) -> float:
    """Return the quantile `p` of Student's distribution with so many degrees of freedom, at least 5."""
    if p == 0.5:
        return 0.0
    y = beta_quantile(0.5, freedom / 2, abs(2 * p - 1))  # the share of t^2 in t^2 + the degrees of freedom
    return math.copysign(math.sqrt(freedom * y / (1 - y)), p - 0.5)


def chi_square_tail(freedom: int, x: float) -> float:
    """Return the probability that a chi-square value with so many degrees of freedom exceeds `x`."""
    half = x / 2
    if not half:
        return 1.0
    total = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    power = freedom % 2 / 2  # 0, 1, 2, ... or 1/2, 3/2, ...
    while power < freedom / 2:
        total += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        power += 1
    return total


def kolmogorov_tail(n: float, distance: float) -> float:
    """Return the probability that the distance of `n` values from their distribution exceeds `distance`.

    Kolmogorov's series with the correction of Vrbik (Pioneer J. Theor. Appl. Stat. 15, 2018), within 2e-4 for n >= 100.
    """
    root = math.sqrt(n)
    d = root * distance
    d += 1 / (6 * root) + (d - 1) / (4 * n)
    if d < 0.2:
        return 1.0  # the series does not converge; the tail differs from 1 by less than 1e-12
    terms = (2 * (-1) ** (i - 1) * math.exp(-2 * i * i * d * d) for i in range(1, 40))
    return min(max(math.fsum(terms), 0.0), 1.0)


def _beta_step(a: float, b: float, x: float) -> float:
    """Return x^a (1-x)^b / B(a, b): the change of the share below `x` per change of the logit of `x`."""
    return a * b / (a + b) * binomial_probability(a, a + b, x)


def _fraction(a: float, b: float, x: float) -> float:
    """Return the value of the continued fraction, by the modified method of Lentz."""
    value = ratio = 1.0
    inverse = 0.0
    for coefficient in _coefficients(a, b, x):
        inverse = 1 / (1 + coefficient * inverse or TINY)
        ratio = 1 + coefficient / ratio or TINY
        value *= ratio * inverse
        if abs(ratio * inverse - 1) < 1e-16:
            break
    return 1 / value


def _coefficients(a: float, b: float, x: float) -> Iterator[float]:
    for m in range(STEPS):
        if m:
            yield m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        yield -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))


def _stirling_error(z: float) -> float:
    """Return ln gamma(z + 1) minus Stirling's approximation."""
    if z < 16:
        return math.lgamma(z + 1) - (z + 0.5) * math.log(z) + z - math.log(2 * math.pi) / 2
    square = z * z
    series = (1 / 360 - (1 / 1260 - (1 / 1680 - 1 / 1188 / square) / square) / square) / square
    return (1 / 12 - series) / z


def _deviance(x: float, mean: float) -> float:
    """Return x ln(x / mean) + mean - x, also where both are nearly equal."""
    if abs(x - mean) >= 0.1 * (x + mean):
        return x * math.log(x / mean) + mean - x
    ratio = (x - mean) / (x + mean)
    total, term = (x - mean) * ratio, 2 * x * ratio
    for odd in range(3, 1000, 2):
        term *= ratio * ratio
        if total == (total := total + term / odd):
            break
    return total
