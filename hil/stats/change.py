"""When a figure changed from one night to the next for good: steps and drifts in a short series of values.

1. Outliers are clipped: what is further from the median of the values around it (five for a persistence of three)
   than `CLIP` times the noise is moved there. The noise is the median of the differences of neighbours, as a standard
   deviation of a normal distribution; steps and drifts hardly show in it. It is taken for at least a tenth of the least
   effect.
2. E-divisive (Matteson and James, J. Am. Stat. Assoc. 109, 334, 2014) splits the values in two where the energy
   distance of the values before to those after is largest, and each part again, as long as a permutation test is
   passed: with all the values after the split at `SIGNIFICANT`, which finds what has just begun; with only some of
   them at `SURE`, which finds what came and went. Where the noise is beyond the least effect, which then keeps no alarm
   back, both are at `SURE`. The generator has a fixed seed, so the same values give the same changes.
   Values of an exact clock have no noise: there each split counts that leaves `persistence` values on either side
   and whose medians differ by half the least effect.
3. Splits that follow each other in one direction are one drift where a flat line, a slope and a flat line fit better
   than levels do, by the Bayesian information criterion and `HANDICAP`. A drift takes `DRIFT` nights (`EXACT_DRIFT` by
   an exact clock), and the limits of its slope (Theil 1950, Sen 1968) are both on its side of zero.
4. Of the steps the smallest is dropped, until each is at least the least effect (a share of the old level, and never
   less than `least`) and has persisted: `persistence` values, and three in four of the new level, are beyond half
   the way.

So a step is told `persistence` nights after it came, and a value that was off for fewer nights is no change.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hil.errors import ConfigurationError

if TYPE_CHECKING:
    from hil.stats.arrays import Floats

MINIMUM = 0.05  # of the old level
PERSISTENCE = 3  # nights
DRIFT, EXACT_DRIFT = 8, 5  # nights from the first value to the last of a slope
CLIP = 3.0  # standard deviations
SIGNIFICANT = 0.01  # a split's p value
SURE = 0.002
PERMUTATIONS = 999
BATCH = 16  # permutations at a time; most tests end after the first
HANDICAP = 1.5  # by how much less a slope has to cost than levels do
Z95 = 1.6449  # of the normal distribution, one-sided


@dataclass(frozen=True)
class Change:
    """A change of level, or a slope.

    `at` is the place, from 0, of the first value that is off the old level, `until` of the first on the new one: of a
    step the same, of a drift the last of its slope, be it that it ended there or that there are no more values.
    `old` and `new` are the medians of the two levels, of a drift its ends. `rate` is a drift's slope per night with its
    `lower` and `upper` limit, each one-sided at 95 %. `confidence` is 1 minus the p value of the split, 1 by an exact
    clock.
    """

    at: int
    old: float
    new: float
    kind: Literal["step", "drift"]
    confidence: float
    until: int
    rate: float | None = None
    lower: float | None = None
    upper: float | None = None

    @property
    def share(self) -> float:
        """The change as a share of the old level; infinite where that is 0."""
        return (self.new - self.old) / abs(self.old) if self.old else math.copysign(math.inf, self.new - self.old)

    def __str__(self) -> str:
        size = f"{self.share:+.1%}".replace("%", " %") if math.isfinite(self.share) else f"from 0 to {self.new:.4g}"
        return f"{size} {self.kind}" + (f" over {self.until - self.at + 1} nights" if self.kind == "drift" else "")


def needed(*, persistence: int = PERSISTENCE, exact: bool = False) -> int:
    """How many values it takes to tell a step that came `persistence` nights ago.

    By an exact clock as many before it as after it; else so many that in noise the last values are the largest, or the
    smallest, in half the cases that `SIGNIFICANT` allows.
    """
    if exact:
        return 2 * persistence
    return next(n for n in itertools.count(2 * persistence) if math.comb(n, persistence) >= 4 / SIGNIFICANT)


def changes(
    values: Sequence[float] | Floats,
    *,
    minimum: float = MINIMUM,
    persistence: int = PERSISTENCE,
    exact: bool = False,
    least: float = 0.0,
) -> list[Change]:
    """The changes of `values`, one a night, in their order; none where there are fewer values than `needed` says.

    `minimum` is the least effect as a share of the old level, `least` in the values' own unit: give what the clock can
    tell, and for values whose level is about 0, of which no share says anything. `exact` is for values that repeat to
    the bit unless the software changes.
    Raises `ConfigurationError` for values that are not finite, and for a minimum, least or persistence out of range.
    """
    import numpy as np

    if not 0 <= minimum < math.inf or not 0 <= least < math.inf or persistence < 1:
        raise ConfigurationError(
            f"changes of at least {minimum} and {least} that hold for {persistence} nights cannot be looked for",
            hint="give minimum >= 0, least >= 0 and persistence >= 1",
        )
    raw = np.asarray(values, dtype=np.float64)
    if raw.ndim != 1:
        raise ConfigurationError(f"a series of nights has one value a night, this has {raw.ndim} dimensions")
    if not np.isfinite(raw).all():
        bad = int(np.flatnonzero(~np.isfinite(raw))[0])
        raise ConfigurationError(
            f"value {bad + 1} of {len(raw)} is {raw[bad]}", hint="leave out nights without a figure"
        )
    size = float(np.abs(raw).max(initial=0.0))
    if len(raw) < needed(persistence=persistence, exact=exact) or not size:
        return []
    # in units of the largest, so that squares neither overflow nor vanish
    return [
        _scaled(change, size) for change in _Search(raw / size, minimum, persistence, exact, least / size).changes()
    ]


def _scaled(change: Change, size: float) -> Change:
    rate, lower, upper = (None if one is None else one * size for one in (change.rate, change.lower, change.upper))
    ends = change.old * size, change.new * size
    return Change(change.at, *ends, change.kind, change.confidence, change.until, rate, lower, upper)


@dataclass(frozen=True)
class _Split:
    at: int
    confidence: float


@dataclass(frozen=True)
class _Ramp:
    """A flat line to `begin`, a slope to `end`, a flat line; `cost` is the sum of the squares beside it."""

    begin: int
    end: int
    old: float
    new: float
    cost: float


class _Search:
    """One search in values of about 1."""

    def __init__(self, values: Floats, minimum: float, persistence: int, exact: bool, least: float) -> None:
        import numpy as np

        self.raw, self.minimum, self.persistence, self.least = values, minimum, persistence, least
        least_effect = self.threshold(float(np.median(values)))
        noise = float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2))
        self.exact = exact and noise <= least_effect / 4  # what does not repeat is not exact, whatever its clock
        self.noise = max(noise, least_effect / 10, 1e-12)  # rounding of what was computed is no change
        self.significant = SIGNIFICANT if self.noise <= least_effect else SURE, SURE
        centre = _smoothed(values, 2 * persistence - 1)
        self.values = np.clip(values, centre - CLIP * self.noise, centre + CLIP * self.noise)

    def threshold(self, level: float) -> float:
        """The least effect beside a `level`."""
        return max(self.minimum * abs(level), self.least) * (
            1 - 1e-9
        )  # what is just as much, but for rounding, is enough

    def changes(self) -> list[Change]:
        splits = list(self.splits(0, len(self.values)))
        drifts = [found for run in _runs(self, splits) for found in self.drifts(splits, run)]
        kept = self.steps(splits, {place: drift for places, drift in drifts for place in places})
        return sorted([*kept, *(drift for _, drift in drifts)], key=lambda change: change.at)

    def splits(self, begin: int, end: int) -> Iterator[_Split]:
        """Where E-divisive splits the values from `begin` to before `end`, in order."""
        values = self.values[begin:end]
        if len(values) < 2 * self.persistence or values.min() == values.max():
            return
        found, places, ends = _energy(values[:, None], self.persistence)
        if self.exact:
            chances = self.differ(values, places[:, 0], ends[:, 0])
        else:
            chances = _chances(values, found, self.persistence, self.significant)
        for place, p, most in zip(places[:, 0].tolist(), chances, self.significant, strict=True):
            if p <= most:
                yield from self.splits(begin, begin + place)
                yield _Split(begin + place, 1 - p)
                yield from self.splits(begin + place, end)
                return

    def differ(self, values: Floats, places: Any, ends: Any) -> Sequence[float]:
        """0 for each split of `values` that leaves different levels, up to its end, else 1."""
        import numpy as np

        levels = [
            (np.median(values[:place]), np.median(values[place:end])) for place, end in zip(places, ends, strict=True)
        ]
        return [float(abs(new - old) < self.threshold(float(old)) / 2 or new == old) for old, new in levels]

    def level(self, begin: int, end: int) -> float:
        import numpy as np

        return float(np.median(self.values[begin:end]))

    def borders(self, splits: Sequence[_Split]) -> list[int]:
        return [0, *(split.at for split in splits), len(self.values)]

    def drifts(self, splits: Sequence[_Split], run: range) -> list[tuple[range, Change]]:
        """The drifts that explain splits of `run`, which all go one way: the longest that fit better than levels."""
        for length in range(len(run), 0, -1):
            for first in range(run.start, run.stop - length + 1):
                part = range(first, first + length)
                if drift := self.drift(splits, part):
                    before, after = range(run.start, first), range(part.stop, run.stop)
                    return [*self.drifts(splits, before), (part, drift), *self.drifts(splits, after)]
        return []

    def drift(self, splits: Sequence[_Split], part: range) -> Change | None:
        """The drift in place of the splits of `part`; None where levels fit better, or it is small or not sure."""
        borders = self.borders(splits)[part.start : part.stop + 2]
        values = self.values[borders[0] : borders[-1]]
        ramp = _best_ramp(values, EXACT_DRIFT if self.exact else DRIFT)
        if ramp is None:
            return None
        if len(part) == 1:
            step = _best_ramp(values, 1, 1)
            levels = step.cost if step else math.inf
        else:
            levels = sum(float(self.values[a:b].var()) * (b - a) for a, b in itertools.pairwise(borders))
        # What a parameter costs. Levels have their heights and places; a slope's end is not charged, or a noisy drift
        # would need many more nights before it was none of steps.
        each = math.log(len(values))
        if (levels - ramp.cost) / self.noise**2 + each * (2 * len(part) - 2) <= HANDICAP:
            return None
        begin, end, old, new = borders[0] + ramp.begin, borders[0] + ramp.end, ramp.old, ramp.new
        pace = (new - old) / (end - begin)
        while (
            len(self.raw) - self.persistence < end + 1 < len(self.raw)
        ):  # the last values may have been clipped in vain
            if abs(self.raw[end + 1] - new - pace) >= abs(self.raw[end + 1] - new):
                break
            end, new = end + 1, new + pace
        inside = self.raw if self.exact else self.values
        rate, lower, upper = _slope(inside[begin : end + 1])
        if self.exact:
            old, new = float(self.raw[begin]), float(self.raw[end])
        if abs(new - old) < self.threshold(old) or lower * upper <= 0:
            return None
        confidence = max(splits[place].confidence for place in part)
        return Change(begin + 1, old, new, "drift", confidence, end, rate, lower, upper)

    def steps(self, splits: Sequence[_Split], drifting: Mapping[int, Change]) -> list[Change]:
        """The splits that are no part of a drift and stand up to the least effect and to persistence."""
        left = list(enumerate(splits))
        while True:
            borders = self.borders([split for _, split in left])
            found: list[tuple[float, int, Change]] = []
            for number, (place, split) in enumerate(left):
                if place in drifting:
                    continue
                before, at, after = borders[number : number + 3]
                old, new = self.level(before, at), self.level(at, after)
                if number and (drift := drifting.get(left[number - 1][0])):
                    old = drift.new
                if number + 1 < len(left) and (drift := drifting.get(left[number + 1][0])):
                    new = drift.old
                effect = abs(new - old) / (self.threshold(old) or 1e-300)
                if not self.held(at, after, old, new):
                    effect = 0.0
                found.append((effect, number, Change(at, old, new, "step", split.confidence, at)))
            weakest = min(found, default=None, key=lambda one: one[0])
            if weakest is None or weakest[0] >= 1:
                return [change for _, _, change in found]
            del left[weakest[1]]

    def held(self, at: int, after: int, old: float, new: float) -> bool:
        """Whether the new level persisted: enough nights are beyond half the way to it, and three in four of all."""
        import numpy as np

        beyond = int(((self.values[at:after] - (old + new) / 2) * np.sign(new - old) > 0).sum())
        return beyond >= max(self.persistence, 0.75 * (after - at))


def _runs(search: _Search, splits: Sequence[_Split]) -> list[range]:
    """The splits that follow each other in one direction."""
    borders = search.borders(splits)
    levels = [search.level(a, b) for a, b in itertools.pairwise(borders)]
    ups = [new > old for old, new in itertools.pairwise(levels)]
    runs, start = [], 0
    for _, group in itertools.groupby(ups):
        length = len(list(group))
        runs.append(range(start, start + length))
        start += length
    return runs


def _smoothed(values: Floats, width: int) -> Floats:
    """The median of the `width` values around each, of those at the ends of the first and last so many."""
    import numpy as np

    inner = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    return np.pad(inner, width // 2, "edge")


def _energy(orders: Any, persistence: int) -> tuple[Any, Any, Any]:
    """The largest energy statistics of each column of `orders`, and the places of their splits and ends.

    With m values before the split at t and n after it, up to the end k, it is m n / (m + n) times twice the mean
    distance between the two less the mean distances within each. The first row is of splits whose end is that of the
    values: it finds best what has just begun; the second of all: it finds what came and went. All sums come from one
    cumulative sum over both axes of the distances.
    """
    import numpy as np

    count, width = orders.shape
    sums = np.zeros((count + 1, count + 1, width))
    np.abs(orders[:, None] - orders, out=sums[1:, 1:])
    for place in range(2, count + 1):  # as wide as the columns are: numpy's own cumulative sum goes one by one
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
    """Splits t, ends k of what is after them, and what the sums over [0, t) x [0, k), [0, t)^2 and [0, k)^2 count for.

    The splits of all the values come first; the first number says how many they are.
    """
    import numpy as np

    split, end = np.triu_indices(count + 1, persistence)
    kept = split >= persistence
    order = np.argsort(end[kept] != count, kind="stable")
    split, end = split[kept][order], end[kept][order]
    m, n = split[:, None].astype(float), (end - split)[:, None].astype(float)
    weight = m * n / (m + n)
    parts = weight * (2 / (m * n) + 2 / n**2), -weight * (1 / m + 1 / n) ** 2, -weight / n**2
    return int((end == count).sum()), split, end, *parts


def _chances(values: Floats, found: Any, persistence: int, significant: Sequence[float]) -> Sequence[float]:
    """The shares of random orders whose statistics are at least those `found`: p values.

    They are 1 once none can be significant.
    """
    import numpy as np

    random = np.random.default_rng(0)
    reached, done = np.zeros(len(found), int), 0
    while done < PERMUTATIONS:
        size = min(BATCH, PERMUTATIONS - done)
        order = random.random((len(values), size)).argsort(axis=0)
        largest, _, _ = _energy(values[order], persistence)
        reached += (largest >= found * (1 - 1e-12)).sum(axis=1)
        done += size
        if ((reached + 1) / (PERMUTATIONS + 1) > significant).all():
            return [1.0] * len(reached)
    return [float(p) for p in (reached + 1) / (PERMUTATIONS + 1)]


def _best_ramp(values: Floats, shortest: int, longest: int | None = None) -> _Ramp | None:
    """The slope of so many nights that leaves the least squares; None where there are too few values.

    A slope's shape goes from 0 at its begin to 1 at its end; height and rise come from a regression on it, whose sums
    are differences of cumulative sums.
    """
    import numpy as np

    count = len(values)
    if count <= shortest:
        return None
    mean = values.mean()
    centred = values - mean
    sums, moments = np.cumsum(centred), np.cumsum(centred * np.arange(count))
    begin, end = np.triu_indices(count, shortest)
    if longest is not None:
        begin, end = (ends[end - begin <= longest] for ends in (begin, end))
    length, after = end - begin, count - 1 - end
    shape = (length + 1) / 2 + after
    square = (length + 1) * (2 * length + 1) / (6 * length) + after
    product = (moments[end] - moments[begin] - begin * (sums[end] - sums[begin])) / length - sums[end]
    power = square - shape**2 / count
    best = int(np.argmax(product**2 / power))
    rise = float(product[best] / power[best])
    old = float(mean - rise * shape[best] / count)
    place = int(begin[best]), int(end[best])
    fitted = old + rise * np.clip((np.arange(count) - place[0]) / (place[1] - place[0]), 0, 1)
    return _Ramp(*place, old, old + rise, float(((values - fitted) ** 2).sum()))


def _slope(values: Floats) -> tuple[float, float, float]:
    """The median slope of all pairs with its limits (see hil/stats/trend.py; here no correlation is allowed for)."""
    import numpy as np

    count = len(values)
    before, after = np.triu_indices(count, 1)
    slopes = np.sort((values[after] - values[before]) / (after - before))
    variance = count * (count - 1) * (2 * count + 5) / 18
    rank = max(1, math.floor((len(slopes) - Z95 * math.sqrt(variance)) / 2))
    return float(np.median(slopes)), float(slopes[rank - 1]), float(slopes[-rank])
