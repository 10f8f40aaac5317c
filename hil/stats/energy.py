"""Energy statistics of E-divisive, and their permutation test.

E-divisive: Matteson and James, J. Am. Stat. Assoc. 109, 334, 2014.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from hil.stats.arrays import Floats

PERMUTATIONS = 999
BATCH = 16  # permutations at a time; most tests end after the first batch


def largest_energies(orders: Any, persistence: int) -> tuple[Any, Any, Any]:
    """Return the largest energy statistics of each column of `orders`, and the places of their splits and ends.

    With m values before the split at t and n values after it, up to the end k, the statistic is m n / (m + n) times the
    difference of twice the mean distance between the two parts and the mean distances within each. The first row
    considers splits with the last value as end, which find recent changes best, the second row all ends, which find
    changes that went away. All sums are differences of one cumulative sum over both axes of the distances.
    """
    count, width = orders.shape
    sums = np.zeros((count + 1, count + 1, width))
    np.abs(orders[:, None] - orders, out=sums[1:, 1:])
    for place in range(2, count + 1):  # all columns at once: numpy's cumulative sum takes them one by one
        sums[place] += sums[place - 1]
    for place in range(2, count + 1):
        sums[:, place] += sums[:, place - 1]
    whole, split, end, of_both, of_before, of_all = _cuts(count, persistence)
    corners = sums[range(count + 1), range(count + 1)]
    statistic = of_both * sums[split, end]
    statistic += of_before * corners[split]
    statistic += of_all * corners[end]
    best = np.array([statistic[:whole].argmax(axis=0), statistic.argmax(axis=0)])
    return np.take_along_axis(statistic, best, axis=0), split[best], end[best]


@functools.lru_cache(maxsize=64)
def _cuts(count: int, persistence: int) -> tuple[int, Any, Any, Any, Any, Any]:
    """Return splits t and ends k, and the weights of the sums over [0, t) x [0, k), [0, t)^2 and [0, k)^2.

    The splits with the last value as end come first; the first result is their number.
    """
    split, end = np.triu_indices(count + 1, persistence)
    kept = split >= persistence
    order = np.argsort(end[kept] != count, kind="stable")
    split, end = split[kept][order], end[kept][order]
    m, n = split[:, None].astype(float), (end - split)[:, None].astype(float)
    weight = m * n / (m + n)
    parts = weight * (2 / (m * n) + 2 / n**2), -weight * (1 / m + 1 / n) ** 2, -weight / n**2
    return int((end == count).sum()), split, end, *parts


def p_values(values: Floats, found: Any, persistence: int, significant: Sequence[float]) -> Sequence[float]:
    """Return the p values of the statistics `found`: the shares of random orders with at least these values.

    All are 1 as soon as none can be `significant`. The seed is fixed: the same values give the same result.
    """
    random = np.random.default_rng(0)
    reached, done = np.zeros(len(found), int), 0
    while done < PERMUTATIONS:
        size = min(BATCH, PERMUTATIONS - done)
        order = random.random((len(values), size)).argsort(axis=0)
        largest, _, _ = largest_energies(values[order], persistence)
        reached += (largest >= found * (1 - 1e-12)).sum(axis=1)
        done += size
        if ((reached + 1) / (PERMUTATIONS + 1) > significant).all():
            return [1.0] * len(reached)
    return [float(p) for p in (reached + 1) / (PERMUTATIONS + 1)]
