"""Which figures have moved and are still where they moved to: what a line's changes come to at the night's end."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hil.measure.units import shown
from hil.review.lines import MEDIAN, MINIMUM, PERSISTENCE, TrendSeries, judged
from hil.stats.change import Change

LATER = 7  # nights by which the begins of drifts of one cause may lie apart
CLEAR, LARGE = 3.5, 2.0  # standard errors, and times the noise: of hundreds of quiet figures some seem to move by less
NORMAL = math.sqrt(math.pi / 2)
RECENT = 7  # nights; what has been better for longer is what is usual


@dataclass(frozen=True)
class LevelChange:
    """A line that is not where it was: since the value number `at` of those taken, in which `way`.

    `kind` is "step" or "drift"; `new` says that the night before did not show it yet, `single` that only
    the night under review does.
    """

    line: TrendSeries
    at: int
    old: float
    now: float
    kind: str
    way: Change | None
    new: bool
    single: bool = False

    @property
    def since(self) -> str:
        return self.line.night(self.at)

    @property
    def place(self) -> int:
        """The night's place in the window."""
        return self.line.known[self.at]

    @property
    def worse(self) -> bool:
        return self.now > self.old

    @property
    def share(self) -> float:
        return (self.now - self.old) / abs(self.old) if self.old else float("inf") * (1 if self.worse else -1)

    @property
    def text(self) -> str:
        """From where to where, as `p50 10.1 ms -> 12.3 ms (+21.8 %)`."""
        unit = self.line.key.unit
        share = f" ({self.share:+.1%})".replace("%", " %") if self.old else ""
        rate = ""
        if self.way and self.way.rate is not None and self.old:
            rate = f", {self.way.rate / abs(self.old):+.2%} a night".replace("%", " %")
        return f"{self.line.key.name} {shown(self.old, unit)} -> {shown(self.now, unit)}{share}{rate}"


def moves(every: Sequence[TrendSeries]) -> Iterator[LevelChange]:
    """The moves of all lines that the night under review took: what is worse, and what has just become better."""
    led: set[tuple[str, ...]] = set()  # series whose median has moved
    for line in sorted(judged(every), key=lambda line: line.key.name not in MEDIAN):
        if line.now is None or (found := move(line, line.key.series in led)) is None:
            continue
        led.add(line.key.series)
        if found.worse or (found.new and found.place >= len(line.points) - RECENT):
            yield found


def move(line: TrendSeries, led: bool = False) -> LevelChange | None:
    """What a line's changes come to at its end; None where it is back where it was.

    By an exact clock a median that has moved needs no persistence, it has no noise; nor has an extreme beside a
    median that did (`led`). Alone an extreme has to persist: it repeats, but only with the same image.
    """
    every = line.changes
    drifting = bool(every) and every[-1].kind == "drift" and every[-1].until >= len(line.values) - PERSISTENCE
    sure = line.exact and (led or line.key.name in MEDIAN)
    if sure and not drifting and (jumped := _jumped(line)) is not None:
        return jumped
    if not every:
        return None
    last = every[-1]
    first = _begin(every)
    if first is None or (every[first].kind == "step" and not _clear(line, first)):
        return None
    before = _before(line)
    known = any(
        abs(one.at - every[first].at) <= PERSISTENCE and (one.new > one.old) == (last.new > last.old) for one in before
    )
    # of an exact clock a step was told when it came
    new = not known and not (line.exact and every[first].kind == "step" and every[first].at < len(line.values) - 1)
    return LevelChange(line, every[first].at, every[first].old, last.new, every[first].kind, every[first], new)


def _clear(line: TrendSeries, which: int) -> bool:
    """Whether a step is beyond doubt among many figures: against its standard error, and against the noise itself.

    The noise is taken from the mean deviation from the medians of all levels, the error of a median for 1.25 times that
    of a mean, as for a normal distribution. An exact clock has no noise.
    """
    if line.exact:
        return True
    borders = [0, *(change.at for change in line.changes), len(line.values)]
    levels = [line.values[begin:end] for begin, end in itertools.pairwise(borders)]
    beside = [abs(value - statistics.median(level)) for level in levels for value in level]
    noise = NORMAL * statistics.fmean(beside)
    error = NORMAL * noise * math.sqrt(1 / len(levels[which]) + 1 / len(levels[which + 1]))
    return abs(line.changes[which].new - line.changes[which].old) >= max(CLEAR * error, LARGE * noise)


def _before(line: TrendSeries) -> tuple[Change, ...]:
    return line.changes_until(len(line.values) - 1)


def _begin(every: Sequence[Change]) -> int | None:
    """Which of the changes led away from where the line was: the last one up, else what was only half undone.

    None where the last one went all the way back.
    """
    last = len(every) - 1
    now, origin = every[-1].new, every[0].old
    if every[-1].new > every[-1].old or last == 0:
        return last
    if abs(now - origin) < MINIMUM * abs(origin):
        return None
    if now < origin:
        return last
    risen = [index for index, one in enumerate(every) if one.new > one.old and one.old < now]
    return risen[0] if risen else last


def _jumped(line: TrendSeries) -> LevelChange | None:
    """A change in the last nights, too few to persist."""
    values, count = line.values, len(line.values)
    for back in range(1, min(PERSISTENCE, count)):
        at = count - back
        last, usual = values[at - 1], statistics.median(values[max(0, at - PERSISTENCE) : at])
        if all(_beyond(value, base, line) for value in values[at:] for base in (last, usual)) and (
            len({value > base for value in values[at:] for base in (last, usual)}) == 1
        ):
            return LevelChange(line, at, last, values[-1], "step", None, new=back == 1, single=back == 1)
    return None


def _beyond(value: float, base: float, line: TrendSeries) -> bool:
    return value != base and abs(value - base) >= max(MINIMUM * abs(base), line.least)


def together(every: Sequence[LevelChange]) -> list[list[LevelChange]]:
    """Moves by what may be their common cause, the most telling first: one board, one direction, about one night.

    Figures of one series belong together in any case. Steps are of one night, or of neighbours; the begin of a
    drift is not known as well.
    """
    groups: list[list[LevelChange]] = []
    for one in every:
        near = [group for group in groups if any(_akin(one, other) for other in group)]
        groups = [group for group in groups if group not in near]
        groups.append([one, *(other for group in near for other in group)])
    return [sorted(group, key=_telling) for group in groups]


def _akin(one: LevelChange, other: LevelChange) -> bool:
    a, b = one.line.key, other.line.key
    if a.board != b.board or one.worse != other.worse:
        return False
    if a.series == b.series:
        return True
    if one.kind != other.kind:
        return False
    return abs(one.place - other.place) <= (1 if one.kind == "step" else LATER)


def _telling(one: LevelChange) -> tuple[bool, bool, float, str]:
    """The order within a group: drifts whose middle looks like a step are drifts, and bounds count more."""
    share = -abs(one.share)
    return not one.line.bounded, one.line.key.name != "p50", share, str(one.line.key)
