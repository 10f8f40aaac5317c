"""The nights that a review covers: those of one plan, the one under review last."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from hil.board.selection import is_place, name_of
from hil.compare.shifts import MIN_EFFECT, SeriesComparison, compare_series
from hil.errors import ConfigurationError
from hil.history.rows import FigureKey
from hil.host.hints import did_you_mean

if TYPE_CHECKING:
    from hil.history.rows import Boot, Note, Run, StoredFigure, Test
    from hil.history.store import History
    from hil.measure.series import Series

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
NIGHTS = 30


def group_by(rows: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Return the rows by their keys, both in their order."""
    found: dict[K, list[T]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found


@dataclass(frozen=True)
class ReviewedNight:
    """The recorded runs, tests, boots and figures of one night."""

    name: str
    runs: tuple[Run, ...] = ()
    tests: tuple[Test, ...] = ()
    boots: tuple[Boot, ...] = ()
    figures: tuple[StoredFigure, ...] = ()

    @functools.cached_property
    def by_id(self) -> Mapping[str, Run]:
        return {run.id: run for run in self.runs}

    def tests_of(self, run: Run) -> list[Test]:
        return [test for test in self.tests if test.run == run.id]

    def board(self, row: Test | StoredFigure) -> str:
        """Return the board of a test or figure; for a test that never had one, that of its run."""
        return row.board or board_of(self.by_id[row.run])

    def key(self, row: Test | StoredFigure) -> tuple[str, str]:
        """Return the identity of a test in all nights: the names of its run and of itself."""
        return self.by_id[row.run].name, row.test

    def figure_key(self, figure: StoredFigure) -> FigureKey:
        """Return the identity of a figure in all nights."""
        series = (self.board(figure), figure.quantity, figure.subject, figure.unit, figure.clock, figure.seed)
        return FigureKey(*self.key(figure), *series, figure.name)

    def series_key(self, run: Run, series: Series) -> tuple[str, ...]:
        """Return `FigureKey.series` of the figures of a series."""
        test, board, seed = (series.provenance.get(name, "") for name in ("test", "board", "seed"))
        what = (series.quantity, series.subject, series.unit, series.clock.name, seed)
        return run.name, test, board or board_of(run), *what

    def verdict(self, test: Test) -> bool | None:
        """Return whether the test passed; None without a verdict: its board was not up, or it was not run."""
        if test.outcome == "passed":
            return True
        return False if test.blamed and not test.dead_board else None

    @functools.cached_property
    def verdicts(self) -> Mapping[tuple[str, str], bool]:
        """Whether each test passed, by `key`; a repeated test passes when all repetitions do."""
        found: dict[tuple[str, str], bool] = {}
        for test in self.tests:
            if (passed := self.verdict(test)) is not None:
                key = self.key(test)
                found[key] = found.get(key, True) and passed
        return found


@dataclass(frozen=True)
class ReviewWindow:
    """The last nights of a plan, at least one, oldest first. `others` are plans with nights of their own.

    `idle` are runs of the last night that are not finished, each with the reason; without one it is still to come.
    `min_effect` is the least change of a figure that counts, as a share; `compared` are the series of the last night
    beside those of the night before, by `FigureKey.series`, but not those of exact clocks.
    """

    plan: str
    nights: tuple[ReviewedNight, ...]
    notes: tuple[Note, ...] = ()
    others: tuple[str, ...] = ()
    idle: Mapping[str, str] = field(default_factory=dict)
    min_effect: float = MIN_EFFECT
    compared: Mapping[tuple[str, ...], SeriesComparison] = field(default_factory=dict)

    @classmethod
    def of(
        cls, history: History, night: str | None = None, count: int = NIGHTS, min_effect: float = MIN_EFFECT
    ) -> ReviewWindow:
        """Return the window of up to `count` nights that ends with `night`, by default the newest.

        Raises `ConfigurationError` without any night, or for an unknown one.
        """
        all_runs = [run for run in history.runs() if run.night]
        names = list(dict.fromkeys(run.night for run in all_runs))
        if not names:
            raise ConfigurationError(
                "there are no nights in this history",
                hint="run `hil nightly`, or import old nights with `hil history add`",
            )
        last = night or names[-1]
        if last not in names:
            raise ConfigurationError(
                f"there is no night {last!r} in this history; {did_you_mean(last, names)}the newest is {names[-1]}",
                hint="list the nights with `hil history list`",
            )
        plan = next(run.plan for run in all_runs if run.night == last)
        chosen = list(dict.fromkeys(run.night for run in all_runs if run.plan == plan))
        chosen = chosen[: chosen.index(last) + 1][-count:]
        by_night = {name: [run for run in all_runs if (run.plan, run.night) == (plan, name)] for name in chosen}
        nights = tuple(
            ReviewedNight(
                name,
                tuple(runs),
                tuple(history.tests(runs)),
                tuple(history.boots(runs)),
                tuple(history.figures(runs)),
            )
            for name, runs in by_night.items()
        )
        return cls(
            plan,
            nights,
            notes=tuple(note for note in history.notes() if note.night in chosen),
            others=tuple(sorted({run.plan for run in all_runs} - {plan})),
            min_effect=min_effect,
            compared=_compared(history, *nights[-2:], min_effect=min_effect) if len(nights) > 1 else {},
        )

    @property
    def night(self) -> ReviewedNight:
        """The night under review."""
        return self.nights[-1]

    @property
    def before(self) -> ReviewedNight | None:
        return self.nights[-2] if len(self.nights) > 1 else None

    @property
    def ended(self) -> bool:
        """Whether no run of the night is still to come."""
        return all(self.idle.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(night.name for night in self.nights)


def board_of(run: Run) -> str:
    """Return a run's board, without the path of its file."""
    return run.board if is_place(run.board) else name_of(run.board)


def _compared(
    history: History, before: ReviewedNight, night: ReviewedNight, *, min_effect: float
) -> dict[tuple[str, ...], SeriesComparison]:
    old, new = (
        {of.series_key(run, record.series): record.series for run in of.runs for record in history.series(run)}
        for of in (before, night)
    )
    return {
        key: compare_series(old[key], series, min_effect)
        for key, series in new.items()
        if key in old and not series.clock.exact
    }


def streak(flags: Sequence[bool | None]) -> int:
    """Return the index where the unbroken row of true flags at the end begins; gaps (None) do not break it."""
    begin = len(flags) - 1
    for index in range(len(flags) - 1, -1, -1):
        if flags[index] is False:
            break
        if flags[index]:
            begin = index
    return begin
