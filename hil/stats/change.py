"""Change points: steps and drifts in a short series with one value a night.

1. Clip outliers: a value further from the median of its neighbourhood (five values for a persistence of three) than
   `CLIP` times the noise is moved to that distance. The noise is the median of the differences of neighbours, scaled to
   the standard deviation of a normal distribution; steps and drifts hardly affect it. It is at least a tenth of the
   least effect.
2. Split: E-divisive (`hil.stats.energy`) splits the values where the energy distance between before and after is
   largest, and each part again while a permutation test is significant: at `SIGNIFICANT` with all values after the
   split, which finds recent changes, at `SURE` with some of them, which finds changes that went away. If the noise
   exceeds the least effect, which then prevents no false alarm, both use `SURE`. Values of an exact clock have no
   noise: there each split counts that leaves `persistence` values on both sides and medians that differ by half the
   least effect.
3. Join: consecutive splits in one direction are one drift if a flat line, a slope and a flat line fit better than
   levels, by the Bayesian information criterion and `HANDICAP`. A drift takes `DRIFT` nights (`EXACT_DRIFT` by an exact
   clock), and both limits of its slope (Theil 1950, Sen 1968) have the same sign.
4. Prune: drop the smallest step until each is at least the least effect (a share of the old level, and not less than
   `least`) and has persisted: `persistence` values, and three in four of the new level, are beyond half the way.

So a step is reported `persistence` nights after it came, and values that are off for fewer nights are no change.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from hil.errors import ConfigurationError
from hil.stats.arrays import Floats
from hil.stats.energy import largest_energies, p_values
from hil.stats.ramp import best_ramp, median_slope

MIN_EFFECT = 0.05  # as a share of the old level
PERSISTENCE = 3  # nights
DRIFT, EXACT_DRIFT = 8, 5  # nights from the first value to the last of a slope
CLIP = 3.0  # standard deviations
SIGNIFICANT = 0.01  # p value of a split
SURE = 0.002
HANDICAP = 1.5  # difference of costs from which a slope is better than levels


@dataclass(frozen=True)
class Change:
    """A step or a drift.

    - `at`: the index of the first value off the old level.
    - `until`: the index of the first value on the new level; `at` for a step, the last value of the slope for a drift.
    - `old`, `new`: the medians of the two levels of a step, the ends of a drift.
    - `rate`: the slope of a drift per night, with one-sided limits `lower` and `upper` at 95 %.
    """

    at: int
    old: float
    new: float
    kind: Literal["step", "drift"]
    until: int
    rate: float | None = None
    lower: float | None = None
    upper: float | None = None

    @property
    def share(self) -> float:
        """The change as a share of the old level; infinite for an old level of 0."""
        return (self.new - self.old) / abs(self.old) if self.old else math.copysign(math.inf, self.new - self.old)

    def __str__(self) -> str:
        size = f"{self.share:+.1%}".replace("%", " %") if math.isfinite(self.share) else f"from 0 to {self.new:.4g}"
        return f"{size} {self.kind}" + (f" over {self.until - self.at + 1} nights" if self.kind == "drift" else "")


def nights_needed(*, persistence: int = PERSISTENCE, exact: bool = False) -> int:
    """Return the number of values needed to find a step that came `persistence` nights ago.

    By an exact clock there are as many values before it as after it; else so many that noise makes the last values the
    largest, or the smallest, in half the cases that `SIGNIFICANT` allows.
    """
    if exact:
        return 2 * persistence
    return next(n for n in itertools.count(2 * persistence) if math.comb(n, persistence) >= 4 / SIGNIFICANT)


def changes(
    values: Sequence[float] | Floats,
    *,
    min_effect: float = MIN_EFFECT,
    persistence: int = PERSISTENCE,
    exact: bool = False,
    least: float = 0.0,
) -> list[Change]:
    """Return the changes of `values`, one value a night, in order; none for fewer values than `nights_needed`.

    `min_effect` is the least effect as a share of the old level, `least` in the unit of the values: give the
    uncertainty of the clock, and a relevant effect for levels of about 0, where a share has no meaning. `exact` is for
    values that repeat to the bit unless the software changes. Raises `ConfigurationError` for values that are not
    finite and for `min_effect`, `least` or `persistence` out of range.
    """
    if not 0 <= min_effect < math.inf or not 0 <= least < math.inf or persistence < 1:
        raise ConfigurationError(
            f"cannot search changes of at least {min_effect} and {least} that hold for {persistence} nights",
            hint="Give min_effect >= 0, least >= 0 and persistence >= 1.",
        )
    raw = np.asarray(values, dtype=np.float64)
    if not np.isfinite(raw).all():
        bad = int(np.flatnonzero(~np.isfinite(raw))[0])
        raise ConfigurationError(
            f"value {bad + 1} of {len(raw)} is {raw[bad]}", hint="Leave out nights without a figure."
        )
    size = float(np.abs(raw).max(initial=0.0))
    if len(raw) < nights_needed(persistence=persistence, exact=exact) or not size:
        return []
    # scaled to the largest value, so that squares neither overflow nor vanish
    return [
        _scaled(change, size) for change in _Search(raw / size, min_effect, persistence, exact, least / size).changes()
    ]


def _scaled(change: Change, size: float) -> Change:
    sized = {name: getattr(change, name) for name in ("old", "new", "rate", "lower", "upper")}
    return replace(change, **{name: value * size for name, value in sized.items() if value is not None})


class _Search:
    """A search in values scaled to 1."""

    def __init__(self, values: Floats, min_effect: float, persistence: int, exact: bool, least: float) -> None:
        self.raw, self.min_effect, self.persistence, self.least = values, min_effect, persistence, least
        least_effect = self.threshold(float(np.median(values)))
        noise = float(np.median(np.abs(np.diff(values)))) / (0.6745 * math.sqrt(2))
        self.exact = exact and noise <= least_effect / 4  # values that do not repeat are not exact
        self.noise = max(noise, least_effect / 10, 1e-12)  # rounding is no change
        self.significant = SIGNIFICANT if self.noise <= least_effect else SURE, SURE
        centre = _smoothed(values, 2 * persistence - 1)
        self.values = np.clip(values, centre - CLIP * self.noise, centre + CLIP * self.noise)

    def threshold(self, level: float) -> float:
        """Return the least effect at a `level`."""
        return max(self.min_effect * abs(level), self.least) * (1 - 1e-9)  # an equal effect counts in spite of rounding

    def changes(self) -> list[Change]:
        splits = list(self.splits(0, len(self.values)))
        drifts = [found for run in _runs(self, splits) for found in self.drifts(splits, run)]
        kept = self.steps(splits, {place: drift for places, drift in drifts for place in places})
        return sorted([*kept, *(drift for _, drift in drifts)], key=lambda change: change.at)

    def splits(self, begin: int, end: int) -> Iterator[int]:
        """Yield the places of the splits by E-divisive of the values from `begin` to before `end`, in order."""
        values = self.values[begin:end]
        if len(values) < 2 * self.persistence or values.min() == values.max():
            return
        found, places, ends = largest_energies(values[:, None], self.persistence)
        if self.exact:
            chances = self.differ(values, places[:, 0], ends[:, 0])
        else:
            chances = p_values(values, found, self.persistence, self.significant)
        for place, p, most in zip(places[:, 0].tolist(), chances, self.significant, strict=True):
            if p <= most:
                yield from self.splits(begin, begin + place)
                yield begin + place
                yield from self.splits(begin + place, end)
                return

    def differ(self, values: Floats, places: Any, ends: Any) -> Sequence[float]:
        """Return 0 for each split of `values` into different levels, up to its end, else 1."""
        levels = [
            (np.median(values[:place]), np.median(values[place:end])) for place, end in zip(places, ends, strict=True)
        ]
        return [float(abs(new - old) < self.threshold(float(old)) / 2 or new == old) for old, new in levels]

    def level(self, begin: int, end: int) -> float:
        return float(np.median(self.values[begin:end]))

    def borders(self, splits: Sequence[int]) -> list[int]:
        return [0, *splits, len(self.values)]

    def drifts(self, splits: Sequence[int], run: range) -> list[tuple[range, Change]]:
        """Return the longest drifts that explain splits of `run`, all in one direction, better than levels do."""
        for length in range(len(run), 0, -1):
            for first in range(run.start, run.stop - length + 1):
                part = range(first, first + length)
                if drift := self.drift(splits, part):
                    before, after = range(run.start, first), range(part.stop, run.stop)
                    return [*self.drifts(splits, before), (part, drift), *self.drifts(splits, after)]
        return []

    def drift(self, splits: Sequence[int], part: range) -> Change | None:
        """Return the drift that replaces the splits of `part`; None if levels fit better, or it is small or unsure."""
        borders = self.borders(splits)[part.start : part.stop + 2]
        values = self.values[borders[0] : borders[-1]]
        ramp = best_ramp(values, EXACT_DRIFT if self.exact else DRIFT)
        if ramp is None:
            return None
        if len(part) == 1:
            step = best_ramp(values, 1, 1)
            levels = step.cost if step else math.inf
        else:
            levels = sum(float(self.values[a:b].var()) * (b - a) for a, b in itertools.pairwise(borders))
        # The cost of a parameter. Levels are charged for heights and places; the end of a slope is free, or a noisy
        # drift would need many more nights to differ from steps.
        each = math.log(len(values))
        if (levels - ramp.cost) / self.noise**2 + each * (2 * len(part) - 2) <= HANDICAP:
            return None
        begin, end, old, new = borders[0] + ramp.begin, borders[0] + ramp.end, ramp.old, ramp.new
        pace = (new - old) / (end - begin)
        # the last values may have been clipped wrongly
        while len(self.raw) - self.persistence < end + 1 < len(self.raw):
            if abs(self.raw[end + 1] - new - pace) >= abs(self.raw[end + 1] - new):
                break
            end, new = end + 1, new + pace
        inside = self.raw if self.exact else self.values
        rate, lower, upper = median_slope(inside[begin : end + 1])
        if self.exact:
            old, new = float(self.raw[begin]), float(self.raw[end])
        if abs(new - old) < self.threshold(old) or lower * upper <= 0:
            return None
        return Change(begin + 1, old, new, "drift", end, rate, lower, upper)

    def steps(self, splits: Sequence[int], drifting: Mapping[int, Change]) -> list[Change]:
        """Return the steps at splits outside drifts that reach the least effect and have persisted."""
        left = list(enumerate(splits))
        while True:
            borders = self.borders([split for _, split in left])
            found: list[tuple[float, int, Change]] = []
            for number, (place, _) in enumerate(left):
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
                found.append((effect, number, Change(at, old, new, "step", at)))
            weakest = min(found, default=None, key=lambda step: step[0])
            if weakest is None or weakest[0] >= 1:
                return [change for _, _, change in found]
            del left[weakest[1]]

    def held(self, at: int, after: int, old: float, new: float) -> bool:
        """Return whether the new level persisted: enough nights, and three in four, are beyond half the way to it."""
        beyond = int(((self.values[at:after] - (old + new) / 2) * np.sign(new - old) > 0).sum())
        return beyond >= max(self.persistence, 0.75 * (after - at))


def _runs(search: _Search, splits: Sequence[int]) -> list[range]:
    """Return the ranges of consecutive splits in one direction."""
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
    """Return the median of the `width` values around each value; at the ends, of the first and last `width`."""
    inner = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
    return np.pad(inner, width // 2, "edge")
