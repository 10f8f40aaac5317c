"""Figures whose level changed and has not returned by the night under review."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hil.measure.units import shown
from hil.review.finding import percent
from hil.review.trend_series import MEDIAN, PERSISTENCE, TrendSeries, watched
from hil.stats.change import Change

LATER = 7  # nights between the beginnings of drifts that may share a cause
# in standard errors and in multiples of the noise: among hundreds of quiet figures some move by less
CLEAR, LARGE = 3.5, 2.0
NORMAL = math.sqrt(math.pi / 2)
RECENT = 7  # nights: an improvement that is older is the normal state


@dataclass(frozen=True)
class LevelChange:
    """A series that left its level at the value number `at` of those taken and has not returned; `way` is the change.

    `kind` is "step" or "drift"; `new` means that the night before did not show it yet, `single` that only the night
    under review does.
    """

    series: TrendSeries
    at: int
    old: float
    now: float
    kind: str
    way: Change | None
    new: bool
    single: bool = False

    @property
    def since(self) -> str:
        return self.series.night(self.at)

    @property
    def place(self) -> int:
        """The index of the night in the window."""
        return self.series.known[self.at]

    @property
    def worse(self) -> bool:
        return self.now > self.old

    @property
    def share(self) -> float:
        return (self.now - self.old) / abs(self.old) if self.old else float("inf") * (1 if self.worse else -1)

    @property
    def text(self) -> str:
        """The old and the new level, as in `p50 10.1 ms -> 12.3 ms (+21.8 %)`."""
        drift = self.way.rate if self.way else None
        rate = f", {percent(drift / abs(self.old), 2)} a night" if drift is not None and self.old else ""
        return moved(self.series.key.name, self.old, self.now, self.series.key.unit) + rate


def moved(figure: str, old: float, now: float, unit: str) -> str:
    """Return a change as in `p50 10.1 ms -> 12.3 ms (+21.8 %)`."""
    share = f" ({percent((now - old) / abs(old))})" if old else ""
    return f"{figure} {shown(old, unit)} -> {shown(now, unit)}{share}"


def level_changes(all_series: Sequence[TrendSeries]) -> Iterator[LevelChange]:
    """Yield the changes of series that the night under review measured: worse levels, and recent improvements."""
    moved: set[tuple[str, ...]] = set()  # series whose median has changed
    for series in sorted(watched(all_series), key=lambda series: series.key.name not in MEDIAN):
        if series.now is None or (found := level_change(series, series.key.series in moved)) is None:
            continue
        moved.add(series.key.series)
        if found.worse or (found.new and found.place >= len(series.points) - RECENT):
            yield found


def level_change(series: TrendSeries, median_moved: bool = False) -> LevelChange | None:
    """Return the lasting change of a series; None where it is back at its old level.

    With an exact clock a median needs no persistence, as it has no noise; nor does an extreme whose median moved as
    well. An extreme alone must persist: it repeats, but only with the same image.
    """
    changes = series.changes
    drifting = bool(changes) and changes[-1].kind == "drift" and changes[-1].until >= len(series.values) - PERSISTENCE
    sure = series.exact and (median_moved or series.key.name in MEDIAN)
    if sure and not drifting and (jump := _jump(series)) is not None:
        return jump
    if not changes:
        return None
    last = changes[-1]
    first = _first(series)
    if first is None or (changes[first].kind == "step" and not _is_clear(series, first)):
        return None
    begin = changes[first]
    known = any(
        abs(change.at - begin.at) <= PERSISTENCE and (change.new > change.old) == (last.new > last.old)
        for change in series.changes_until(len(series.values) - 1)
    )
    # a step by an exact clock was reported in its first night
    reported = series.exact and begin.kind == "step" and begin.at < len(series.values) - 1
    return LevelChange(series, begin.at, begin.old, last.new, begin.kind, begin, not known and not reported)


def _is_clear(series: TrendSeries, which: int) -> bool:
    """Check that a step is beyond doubt among many figures: against its standard error, and against the noise itself.

    The error of a median is 1.25 times that of a mean, as for a normal distribution. An exact clock has no noise.
    """
    if series.exact:
        return True
    borders = [0, *(change.at for change in series.changes), len(series.values)]
    levels = [series.values[begin:end] for begin, end in itertools.pairwise(borders)]
    noise = noise_of(levels)
    error = NORMAL * noise * math.sqrt(1 / len(levels[which]) + 1 / len(levels[which + 1]))
    return abs(series.changes[which].new - series.changes[which].old) >= max(CLEAR * error, LARGE * noise)


def noise_of(levels: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation of normally distributed values about the medians of their levels."""
    beside = [abs(value - statistics.median(level)) for level in levels for value in level]
    return NORMAL * statistics.fmean(beside)


def _first(series: TrendSeries) -> int | None:
    """Return the index of the change that left the old level: the last rise, else the one that was only half undone.

    None where the last change went back all the way.
    """
    changes = series.changes
    last = len(changes) - 1
    now, origin = changes[-1].new, changes[0].old
    if changes[-1].new > changes[-1].old or last == 0:
        return last
    if abs(now - origin) < series.min_effect * abs(origin):
        return None
    if now < origin:
        return last
    risen = [index for index, change in enumerate(changes) if change.new > change.old and change.old < now]
    return risen[0] if risen else last


def _jump(series: TrendSeries) -> LevelChange | None:
    """Return a change in the last nights, which are too few to persist."""
    values, count = series.values, len(series.values)
    for back in range(1, min(PERSISTENCE, count)):
        at = count - back
        last, usual = values[at - 1], statistics.median(values[max(0, at - PERSISTENCE) : at])
        beyond = all(_is_beyond(value, base, series) for value in values[at:] for base in (last, usual))
        if beyond and len({value > base for value in values[at:] for base in (last, usual)}) == 1:
            return LevelChange(series, at, last, values[-1], "step", None, new=back == 1, single=back == 1)
    return None


def _is_beyond(value: float, base: float, series: TrendSeries) -> bool:
    return value != base and abs(value - base) >= max(series.min_effect * abs(base), series.least)


def grouped(changes: Sequence[LevelChange]) -> list[list[LevelChange]]:
    """Group changes that may share a cause, the most significant of a group first.

    A group has one board, one direction and about one night: steps of one or of neighbouring nights; drifts within
    `LATER` nights, as the beginning of a drift is uncertain. Figures of one series always belong together.
    """
    groups: list[list[LevelChange]] = []
    for change in changes:
        near = [group for group in groups if any(_may_share_cause(change, other) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([change, *(other for group in near for other in group)])
    return [sorted(group, key=_significance) for group in groups]


def _may_share_cause(change: LevelChange, other: LevelChange) -> bool:
    a, b = change.series.key, other.series.key
    if a.board != b.board or change.worse != other.worse:
        return False
    if a.series == b.series:
        return True
    if change.kind != other.kind:
        return False
    return abs(change.place - other.place) <= (1 if change.kind == "step" else LATER)


def _significance(change: LevelChange) -> tuple[bool, bool, float, str]:
    """Order bounded figures first, then medians, then by relative size."""
    key = change.series.key
    return not change.series.bounded, key.name != "p50", -abs(change.share), str(key)
