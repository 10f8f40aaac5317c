"""Bounds and the decision whether a series keeps them: pass, fail or inconclusive, never a lucky pass."""

from __future__ import annotations

import difflib
import enum
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from hil.errors import ConfigurationError
from hil.timing.figures import FIGURES, Estimate, Figure
from hil.timing.series import Series, parse_time, shown

FLOORS = 3  # a bound finer than this many noise floors or resolutions cannot be judged
WORST_SHOWN = 5


class Outcome(enum.StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Bound:
    """A limit, in seconds, that a figure must not exceed, and why it is what it is."""

    figure: Figure
    limit: float
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.figure.name} <= {shown(self.limit)}"

    def decide(self, series: Series) -> Check:
        """Pass when the figure's upper confidence limit keeps the bound, fail when the lower one exceeds it."""
        estimate = self.figure.estimate(series)
        clock = series.clock
        finest = FLOORS * max(clock.resolution, clock.floor or 0.0)
        if self.limit < finest:
            return Check(
                self, estimate, Outcome.INCONCLUSIVE, f"the bound is finer than {shown(finest)}, {FLOORS} floors"
            )
        if estimate.lower is not None and estimate.lower > self.limit:
            return Check(self, estimate, Outcome.FAIL)
        if estimate.upper is None:
            why = (
                f"{len(series.samples)} samples, {estimate.wanted} are needed for an upper limit of {self.figure.name}"
            )
            return Check(self, estimate, Outcome.INCONCLUSIVE, why)
        if estimate.upper <= self.limit:
            return Check(self, estimate, Outcome.PASS)
        return Check(self, estimate, Outcome.INCONCLUSIVE, "the bound lies within the confidence interval")


@dataclass(frozen=True)
class Check:
    """What became of one bound."""

    bound: Bound
    estimate: Estimate
    outcome: Outcome
    why: str = ""

    def __str__(self) -> str:
        lower, upper = (("?" if x is None else shown(x)) for x in (self.estimate.lower, self.estimate.upper))
        interval = "" if lower == upper else f" (95 % limits {lower} .. {upper})"
        because = "; ".join(filter(None, (self.why, self.bound.reason and f"bound's reason: {self.bound.reason}")))
        return f"{self.outcome}: {self.bound}: {shown(self.estimate.value)}{interval}" + (
            f"; {because}" if because and self.outcome is not Outcome.PASS else ""
        )


class BoundsNotKept(AssertionError):
    """Some bound failed or could not be judged; the text shows figures, clock and the worst samples."""

    def __init__(self, series: Series, checks: Sequence[Check]) -> None:
        worst = sorted(enumerate(series.samples, 1), key=lambda pair: -pair[1])[:WORST_SHOWN]
        text = [str(series), *map(str, checks)]
        text.append("worst samples: " + ", ".join(f"#{number} {shown(value)}" for number, value in worst))
        super().__init__("\n".join(text))
        self.series = series
        self.checks = tuple(checks)


def check(series: Series, bounds: Sequence[Bound]) -> tuple[Check, ...]:
    """Decide each bound. Raises `BoundsNotKept` unless all pass, `ConfigurationError` without any bound."""
    if not bounds:
        raise ConfigurationError(
            f"no bounds for {series.quantity} of {series.subject}: a check that cannot fail",
            hint="add one to the board's bounds file, boards/NAME.bounds.toml",
        )
    checks = tuple(bound.decide(series) for bound in bounds)
    if any(one.outcome is not Outcome.PASS for one in checks):
        raise BoundsNotKept(series, checks)
    return checks


def _time(text: Any) -> float:
    if not isinstance(text, str):
        raise ValueError('a time is written with its unit, as "2 ms"')
    value = parse_time(text)
    if value <= 0:
        raise ValueError("a limit is more than 0")
    return value


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    quantity: str
    subject: str
    figure: str
    limit: Annotated[str, AfterValidator(lambda text: (_time(text), text)[1])]
    reason: str = Field(min_length=1)


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bound: tuple[_Row, ...]


class Bounds:
    """The bounds of a board, from its bounds file.

    Each `[[bound]]` has `quantity`, `subject` (a module and its arguments), `figure`, `limit`
    (`"2 ms"`) and `reason`. Raises `ConfigurationError` naming file, entry and key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            rows = _File.model_validate(tomllib.loads(path.read_text("utf-8"))).bound
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the bounds file {path}: {error.strerror}",
                hint="write one beside the board's file, or pass --bounds FILE",
            ) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{path}: not valid TOML: {error}") from error
        except ValidationError as error:
            problems = [f"{path}: {_where(problem)}: {_what(problem)}" for problem in error.errors(include_url=False)]
            raise ConfigurationError("\n".join(problems), hint=f"correct {path}") from error
        for number, row in enumerate(rows, 1):
            if row.figure not in FIGURES:
                near = difflib.get_close_matches(row.figure, FIGURES, n=1)
                raise ConfigurationError(
                    f"{path}: bound {number}: figure: there is no figure {row.figure!r}",
                    hint=(f"did you mean {near[0]!r}? " if near else "") + f"the figures are: {', '.join(FIGURES)}",
                )
        self._rows = rows

    def of(self, series: Series) -> tuple[Bound, ...]:
        """The bounds for what `series` measured."""
        return tuple(
            Bound(FIGURES[row.figure], parse_time(row.limit), row.reason)
            for row in self._rows
            if (row.quantity, row.subject) == (series.quantity, series.subject)
        )


def _where(problem: Any) -> str:
    place = list(problem["loc"])
    if len(place) > 1 and isinstance(place[1], int):
        return f"bound {place[1] + 1}" + (f": {'.'.join(map(str, place[2:]))}" if place[2:] else "")
    return ".".join(map(str, place)) or "file"


def _what(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key; the keys are: {', '.join(_Row.model_fields)}"
    return "this key is missing" if problem["type"] == "missing" else str(problem["msg"]).removeprefix("Value error, ")
