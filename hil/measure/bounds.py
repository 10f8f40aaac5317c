"""Bounds and the decision whether a series keeps them: never a lucky pass.

With L and U the figure's confidence limits, u the clock's uncertainty and B the bound: pass where
U + u <= B, fail where L - u > B, else inconclusive (the guard band of ILAC-G8). Where what the host took from the
measurement explains that a bound is not kept, it is inconclusive, too, and the host's failure.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hil.console import Transcript
from hil.errors import ORIGINS, ConfigurationError, HilError
from hil.host import toml
from hil.measure.figures import CONFIDENCE, DEADLINE_FIGURES, FIGURES, FORMER_NAMES, Estimate, Figure
from hil.measure.host import total
from hil.measure.relief import relieved
from hil.measure.series import Series
from hil.measure.units import Amount, amount, parse, shown

FINEST = 4  # a bound below so many uncertainties of the clock cannot be judged; three noise floors are within
WORST_SHOWN = 5
CLOCKS = ("virtual time", "guest counter", "host monotonic", "module (WASI)", "logic analyser")
MOST = 100_000  # samples that a top-up may ask for, when nobody says


class Outcome(enum.StrEnum):
    """What became of a bound; `MARGINAL` is kept, but not the tighter limit that warns."""

    PASS = "pass"
    MARGINAL = "marginal"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"

    @property
    def kept(self) -> bool:
        return self in (Outcome.PASS, Outcome.MARGINAL)


@dataclass(frozen=True)
class Bound:
    """A limit that a figure must not exceed, and why it is what it is.

    A figure above `marginal`, which is below the limit, is kept but shown. `clock` names the clock that
    the bound is for; None for any. Raises `ConfigurationError` for an amount without its unit or of
    the wrong one, a negative limit, one that the figure can never exceed, a marginal limit that is not below it, and
    for a bound that is used as a truth value.
    """

    figure: Figure
    limit: Amount
    marginal: Amount | None = None
    reason: str = ""
    clock: str | None = None

    def __post_init__(self) -> None:
        for limit in (self.limit,) if self.marginal is None else (self.limit, self.marginal):
            unit = self.figure.unit or (limit.unit if isinstance(limit, Amount) else "s")
            if amount(limit, unit, self.figure.name) < 0:
                raise ConfigurationError(f"{self.figure.name} <= {limit}: a limit is not negative")
            if self.figure.most is not None and limit.value >= self.figure.most:
                raise ConfigurationError(
                    f"{self.figure.name} <= {limit}: a bound that is never exceeded",
                    hint="give a share below 100 %, as 1 * percent",
                )
        if self.marginal is not None and not self.marginal < self.limit:
            raise ConfigurationError(f"{self}: the marginal limit {self.marginal} is not below the limit")

    def __str__(self) -> str:
        return f"{self.figure.name} <= {self.limit}"

    def __bool__(self) -> bool:
        raise ConfigurationError(
            f"{self} is a bound, not a truth value: `and`, `or`, `not`, `if` and `assert` would lose it",
            hint="give each bound by itself, as series.check(p99 <= 2 * ms, p50 <= 1 * ms)",
        )

    def decide(self, series: Series, confidence: float = CONFIDENCE) -> Check:
        """Decide whether `series` keeps the bound. Raises `ConfigurationError` where their units differ.

        A bound that would be kept, or might be, without the delays of the host is inconclusive, and the host's failure;
        so is one that is not kept in virtual time that has lost its lock step.
        """
        check = self._decide(series, confidence)
        if check.outcome.kept or check.undecidable:
            return check
        if series.disturbed:
            why = f"the host disturbed virtual time: {series.clock.remark}"
            return replace(check, outcome=Outcome.INCONCLUSIVE, why=why, host=True)
        guard = series.clock.uncertainty if series.unit == "s" else 0.0
        for other in relieved(series, (self.figure.deadline or self.limit).value - guard):
            outcome = self._decide(other, confidence).outcome
            if outcome.kept or (check.outcome is Outcome.FAIL and outcome is not Outcome.FAIL):
                why = f"the host was too busy to tell: {total(series.host)}"
                return replace(check, outcome=Outcome.INCONCLUSIVE, why=why, host=True)
        return check

    def _decide(self, series: Series, confidence: float) -> Check:
        unit = self.figure.unit or series.unit
        limit = amount(self.limit, unit, f"{self.figure.name} of {series.quantity}")
        estimate = self.figure.estimate(series, confidence)
        unsure = series.clock.uncertainty
        judged = self.figure.deadline or self.limit
        if judged.unit == "s" and judged.value < FINEST * unsure:
            finest = shown(FINEST * unsure)
            why = f"{judged} is finer than {finest}, {FINEST} times what the clock may be off by"
            fine = judged.value < FINEST * series.clock.resolution
            return Check(self, estimate, Outcome.INCONCLUSIVE, why, undecidable=True, fine=fine)
        guard = unsure if unit == "s" else 0.0
        if estimate.lower is not None and estimate.lower - guard > limit:
            return Check(self, estimate, Outcome.FAIL)
        if estimate.upper is None:
            why = f"{len(series)} samples, {estimate.wanted} are needed for the limits of {self.figure.name}"
            return Check(self, estimate, Outcome.INCONCLUSIVE, why)
        if estimate.upper + guard > limit:
            if estimate.lower == estimate.upper:
                why = f"the bound is nearer than the {shown(guard)} that the clock may be off by"
                return Check(self, estimate, Outcome.INCONCLUSIVE, why, undecidable=True)
            return Check(self, estimate, Outcome.INCONCLUSIVE, "the bound lies within the confidence interval")
        if self.marginal is not None and estimate.upper + guard > self.marginal.value:
            return Check(self, estimate, Outcome.MARGINAL, f"above the marginal limit {self.marginal}")
        return Check(self, estimate, Outcome.PASS)


@dataclass(frozen=True)
class Check:
    """What became of one bound, and why.

    `undecidable` where no number of samples could decide it; `fine` where no link or host could: the clock's
    resolution is too coarse; `host` where the host took so much that it may be why the bound is not kept.
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
        """The failure origin, one of `ORIGINS`: who has to act on a bound that is not kept."""
        if self.outcome is Outcome.FAIL:
            return "image"
        if self.fine:
            return "configuration"
        return "infrastructure" if self.host or self.undecidable else "test"

    def __str__(self) -> str:
        one = self.estimate
        lower, upper = ("?" if limit is None else shown(limit, one.unit) for limit in (one.lower, one.upper))
        interval = "" if lower == upper != "?" else f" ({100 * one.confidence:.4g} % limits {lower} .. {upper})"
        because = [self.why, f"bound's reason: {self.bound.reason}" if self.bound.reason else ""]
        text = f"{self.outcome}: {self.bound}: {shown(one.value, one.unit)}{interval}"
        return text if self.outcome is Outcome.PASS else "; ".join(filter(None, (text, *because)))


class BoundsNotKept(AssertionError):
    """Some bound failed or could not be judged; the text shows figures, clock and the worst samples.

    `origin` is the failure origin: the image's only where a bound has failed.
    """

    def __init__(self, series: Series, checks: Sequence[Check]) -> None:
        super().__init__("\n".join([str(series), *map(str, checks), "worst samples:", *_worst(series)]))
        self.series = series
        self.checks = tuple(checks)
        origins = {one.origin for one in checks if not one.outcome.kept}
        self.origin = min(origins, key=ORIGINS.index, default="image")

    @property
    def brief(self) -> str:
        """In one line, for tables: the first bound that was not kept."""
        first = next(one for one in self.checks if not one.outcome.kept and one.origin == self.origin)
        return f"{self.series.quantity} of {self.series.subject}: {first}"


Record = Callable[[Series, tuple[Check, ...]], None]
_records: list[Record] = []


@contextmanager
def recorded(record: Record) -> Iterator[None]:
    """Have each series that is checked meanwhile recorded with what became of its bounds, wherever it is checked."""
    _records.append(record)
    try:
        yield
    finally:
        _records.remove(record)


def check(series: Series, bounds: Sequence[Bound], confidence: float | None = None) -> tuple[Check, ...]:
    """Decide each bound and record the series with the outcomes: the one way behind `Series.check`, `Measure.check`.

    Raises `BoundsNotKept`, an `AssertionError`, unless all are kept, `ConfigurationError` without any bound and for
    what is no bound.
    """
    if not bounds:
        raise ConfigurationError(
            f"no bounds for {series.quantity} of {series.subject} by {series.clock.name}: a check that cannot fail",
            hint="add one to the board's bounds file, boards/NAME.bounds.toml",
        )
    for bound in bounds:
        if not isinstance(bound, Bound):
            raise ConfigurationError(f"{bound!r} is no bound", hint="give bounds as series.check(p99 <= 2 * ms)")
    checks = tuple(bound.decide(series, confidence or series.confidence) for bound in bounds)
    for record in _records[-1:]:
        record(series, checks)
    if not all(one.outcome.kept for one in checks):
        raise BoundsNotKept(series, checks)
    return checks


def looks(first: int, limit: int) -> tuple[int, ...]:
    """The sample counts at which to decide, each at most twice the one before: planned before anything runs.

    Decide at each with `confidence=1 - 0.05 / len(looks)`: then all of them together are wrong in at most 5 %
    of cases (Bonferroni), whichever of them are made. Raises `ConfigurationError` unless 1 <= first <= limit.
    """
    if not 1 <= first <= limit:
        raise ConfigurationError(f"from {first} to {limit} samples: the first is 1 or more, the limit no less")
    planned = [first]
    while planned[-1] < limit:
        planned.append(min(2 * planned[-1], limit))
    return tuple(planned)


def needed(series: Series, bounds: Sequence[Bound], confidence: float = CONFIDENCE, limit: int = MOST) -> int:
    """How many samples in all would decide the inconclusive bounds, if more of them were like these; at most `limit`.

    0 where nothing is to be gained: all is decided, a bound has failed already, the clock is too coarse, or
    there are `limit` samples.
    """
    import numpy as np

    def undecided(taken: Series) -> list[Bound]:
        checks = [bound.decide(taken, confidence) for bound in bounds]
        if any(one.outcome is Outcome.FAIL for one in checks):
            return []
        return [one.bound for one in checks if one.outcome is Outcome.INCONCLUSIVE and not one.undecidable]

    if not undecided(series) or len(series) >= limit:
        return 0
    number = len(series)
    while number < limit:
        number = min(number * 3 // 2 + 1, limit)
        more = replace(series, samples=np.resize(series.samples, number), times=None, offsets=None, host=())
        if not undecided(more):
            break
    return number


def _worst(series: Series) -> Iterator[str]:
    """The largest samples: number, value, time, and the console's line where the series knows it."""
    import numpy as np

    with contextlib.ExitStack() as stack:
        transcript = None
        if series.offsets is not None and (path := series.provenance.get("transcript")):
            with contextlib.suppress(HilError):  # moved or deleted since: the figures stand without it
                transcript = Transcript(Path(path))
                stack.callback(transcript.close)
                transcript.refresh()
        for index in np.argsort(-series.samples, kind="stable")[:WORST_SHOWN]:
            text = f"  #{index + 1} {shown(float(series.samples[index]), series.unit)}"
            if series.times is not None:
                text += f" at {series.times[index]:.6f} s"
            if transcript and series.offsets is not None:
                text += _console(transcript, int(series.offsets[index]))
            yield text


def _console(transcript: Transcript, offset: int) -> str:
    if not 0 <= offset < transcript.size:
        return ""
    start = max(0, offset - 4096)
    start += transcript.read(start, offset).rfind(b"\n") + 1
    line = next(transcript.lines(start, min(start + 8192, transcript.size), first=transcript.line_number(offset)))
    return f", {transcript.path}:{line.number}: {line.text[:200]}"


def _amount(given: Any) -> Amount:
    if not isinstance(given, str):
        raise ValueError('write an amount with its unit, as "2 ms" or "0.1 %"')
    return parse(given)


def _clock(name: str | None) -> str | None:
    if name is not None and name not in CLOCKS:
        raise ValueError(f"there is no clock {name!r}; {toml.near(name, CLOCKS)}the clocks are: {', '.join(CLOCKS)}")
    return name


def _figure(name: str) -> str:
    if name in FORMER_NAMES:
        raise ValueError(f"the figure {name!r} is called {FORMER_NAMES[name]!r}, as in Python")
    if name not in (known := [*FIGURES, *DEADLINE_FIGURES]):
        raise ValueError(f"there is no figure {name!r}; {toml.near(name, known)}the figures are: {', '.join(known)}")
    return name


_AmountText = Annotated[Amount, BeforeValidator(_amount)]


class BoundsRow(BaseModel):
    """A row of a bounds file: a bound, and the series that it is for."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    quantity: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    figure: Annotated[str, AfterValidator(_figure)]
    limit: _AmountText
    marginal: _AmountText | None = None
    clock: Annotated[str | None, AfterValidator(_clock)] = None
    deadline: _AmountText | None = None
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _makes_a_bound(self) -> BoundsRow:
        try:
            self.bound()
        except ConfigurationError as error:
            raise ValueError(error.message) from None
        return self

    def bound(self) -> Bound:
        if (self.deadline is not None) != (self.figure in DEADLINE_FIGURES):
            raise ConfigurationError(
                f"deadline goes with the figures {' and '.join(DEADLINE_FIGURES)}, and only with them"
            )
        figure = DEADLINE_FIGURES[self.figure](self.deadline) if self.deadline else FIGURES[self.figure]
        return Bound(figure, self.limit, self.marginal, self.reason, self.clock)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: str | None = None
    bound: tuple[BoundsRow, ...]


class Bounds:
    """The bounds of a board, from its bounds file; where it names an `image`, they hold for that one only.

    Each `[[bound]]` has `quantity`, `subject` (a module and its arguments), `figure`, `limit` (`"2 ms"`),
    `reason`; where wanted `marginal` and `clock`, for deadline misses `deadline`. Raises
    `ConfigurationError` naming file, line and key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        hint = "write one beside the board's file, or pass --bounds FILE"
        read = toml.load(path, _File, "bounds file", hint)
        self.image, self.rows = read.image, read.bound

    def of(self, series: Series) -> tuple[Bound, ...]:
        """The bounds for what `series` measured, by its clock.

        Raises `ConfigurationError` for a series of another image than that of the bounds.
        """
        measured = series.provenance.get("image", "").partition(" ")[0]  # its digest follows
        if measured and self.image not in (None, measured):
            raise ConfigurationError(
                f"the bounds in {self.path} are for image {self.image}, and {measured} was measured",
                hint=f"choose a board for {measured} with --board, or give its own bounds with --bounds FILE",
            )
        return tuple(
            row.bound()
            for row in self.rows
            if (row.quantity, row.subject) == (series.quantity, series.subject)
            and row.clock in (None, series.clock.name)
        )
