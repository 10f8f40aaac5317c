"""Bounds files: the bounds of a board, in TOML."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from hil.errors import ConfigurationError
from hil.host import project, toml
from hil.host.hints import closest, did_you_mean
from hil.measure.bound import Bound
from hil.measure.clock import CLOCKS
from hil.measure.figures import DEADLINE_FIGURES, FIGURES
from hil.measure.quantities import UNITS
from hil.measure.response import RESPONSE_FIGURES
from hil.measure.series_data import SeriesData
from hil.measure.units import Amount, amount, parse


def _amount(given: Any) -> Amount:
    if not isinstance(given, str):
        raise ValueError(f'{given!r} has no unit; write an amount as "2 ms" or "0.1 %"')
    return parse(given)


def _clock(name: str | None) -> str | None:
    if name is not None and name not in CLOCKS:
        raise ValueError(f"there is no clock {name!r}; {did_you_mean(name, CLOCKS)}the clocks are: {', '.join(CLOCKS)}")
    return name


def _figure(name: str) -> str:
    if name not in (known := [*FIGURES, *RESPONSE_FIGURES, *DEADLINE_FIGURES]):
        raise ValueError(f"there is no figure {name!r}; {did_you_mean(name, known)}the figures are: {', '.join(known)}")
    return name


def alike(subject: str, other: str) -> bool:
    """Return whether both subjects are of one module, with whichever arguments, or of one place."""
    return re.split(r"[\s,]", subject, maxsplit=1)[0] == re.split(r"[\s,]", other, maxsplit=1)[0]


_AmountText = Annotated[Amount, BeforeValidator(_amount)]


class BoundsRow(BaseModel):
    """A row of a bounds file: a bound, and the quantity, the subject and perhaps the test of its series.

    All three are spelled as in a results file, and equal to them for a match.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    quantity: str = Field(min_length=1)
    subject: str = Field(min_length=1)
    test: str | None = Field(None, min_length=1)
    figure: Annotated[str, AfterValidator(_figure)]
    limit: _AmountText
    marginal: _AmountText | None = None
    clock: Annotated[str | None, AfterValidator(_clock)] = None
    deadline: _AmountText | None = None
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _makes_a_bound(self) -> BoundsRow:
        try:
            bound = self.bound()
            if (unit := UNITS.get(self.quantity)) and (bound.figure.deadline or bound.figure.unit is None):
                amount(self.deadline or self.limit, unit, f"{self.figure} of {self.quantity}")
        except ConfigurationError as error:
            raise ValueError(error.message) from None
        return self

    def bound(self, source: str = "") -> Bound:
        if (self.deadline is not None) != (self.figure in DEADLINE_FIGURES):
            raise ConfigurationError(
                f"deadline belongs to the figures {' and '.join(DEADLINE_FIGURES)}, and only to them"
            )
        figure = (
            DEADLINE_FIGURES[self.figure](self.deadline)
            if self.deadline
            else {**FIGURES, **RESPONSE_FIGURES}[self.figure]
        )
        return Bound(figure, self.limit, self.marginal, self.reason, self.clock, source)

    def __str__(self) -> str:
        more = (f" in {self.test}" if self.test else "") + (f" by {self.clock}" if self.clock else "")
        return f"{self.figure} of {self.quantity!r} of {self.subject!r}{more}"

    def names(self, series: SeriesData) -> bool:
        """Return whether the row is for `series`, by whichever clock."""
        same = (self.quantity, self.subject) == (series.quantity, series.subject)
        return same and self.test in (None, series.provenance.get("test"))


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    image: str | None = None
    bound: tuple[BoundsRow, ...]


class Bounds:
    """The bounds file of a board; if it names an `image`, the bounds hold for that image only.

    Each `[[bound]]` has `quantity`, `subject` (a module and its arguments), `figure`, `limit` (`"2 ms"`), `reason`;
    optionally `test`, `marginal` and `clock`, and `deadline` for deadline misses. Raises `ConfigurationError` with
    file, line and key.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        hint = "Write one beside the file of the board, or pass --bounds FILE (pytest: --hil-bounds)."
        read = toml.load(path, _File, "bounds file", hint)
        self.image, self.rows = read.image, read.bound
        self._text = path.read_text("utf-8-sig")

    def of(self, series: SeriesData) -> tuple[Bound, ...]:
        """Return the bounds for `series`.

        Raises `ConfigurationError` if the series is of another image than the bounds.
        """
        measured = series.provenance.get("image", "").partition(" ")[0]  # the digest follows
        if measured and self.image not in (None, measured):
            raise ConfigurationError(
                f"the bounds in {self.path} are for image {self.image}, but the series is of image {measured}",
                hint=f"Choose a board for {measured} with --board, or give its own bounds with --bounds FILE "
                "(pytest: --hil-bounds).",
            )
        return tuple(
            row.bound(self.where(number))
            for number, row in enumerate(self.rows)
            if row.names(series) and row.clock in (None, series.clock.name)
        )

    def where(self, number: int) -> str:
        """Return `FILE:LINE` of the row of this index."""
        return f"{self.shown}:{toml.line_of(self._text, ('bound', number))}"

    @property
    def shown(self) -> Path:
        """The path for messages, relative to the project if inside."""
        root = project.current().root
        return self.path.relative_to(root) if self.path.is_relative_to(root) else self.path

    def nearest(self, series: SeriesData) -> str:
        """Return the row that is most probably meant for `series`, which has none: `FILE:LINE: ...`; empty without one.

        It has the same quantity and subject, else the same quantity and module, else the same quantity.
        """
        rows = [(number, row) for number, row in enumerate(self.rows) if row.quantity == series.quantity]
        same = [(number, row) for number, row in rows if row.subject == series.subject]
        subjects = [row.subject for _, row in rows if alike(row.subject, series.subject)] or [
            row.subject for _, row in rows
        ]
        meant = closest(series.subject, subjects)
        number, row = next(iter(same or [(number, row) for number, row in rows if row.subject == meant]), (0, None))
        return f"{self.where(number)}: {row}" if row else ""
