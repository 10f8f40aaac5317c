"""The nights that a review looks at: those of one plan, the one under review the last."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from hil.board.selection import is_place, name_of
from hil.errors import ConfigurationError
from hil.host.toml import near

if TYPE_CHECKING:
    from hil.history.rows import Boot, Note, Run, StoredFigure, Test
    from hil.history.store import History

NIGHTS = 30


class _OfRun(Protocol):
    @property
    def run(self) -> str: ...


T = TypeVar("T", bound=_OfRun)


@dataclass(frozen=True)
class ReviewedNight:
    """All that is known of one night."""

    name: str
    runs: tuple[Run, ...] = ()
    tests: tuple[Test, ...] = ()
    boots: tuple[Boot, ...] = ()
    figures: tuple[StoredFigure, ...] = ()

    @functools.cached_property
    def by_id(self) -> Mapping[str, Run]:
        return {run.id: run for run in self.runs}

    @functools.cached_property
    def _causes(self) -> Mapping[str, Sequence[tuple[str, str]]]:
        """The cause and the board of each failed boot, by run."""
        found: dict[str, list[tuple[str, str]]] = {}
        for boot in self.boots:
            if boot.fault and boot.cause:
                found.setdefault(boot.run, []).append((boot.cause, boot.board))
        return found

    def board(self, one: Test | StoredFigure) -> str:
        """The board of a test or figure; where a test never had one, as its run had it."""
        return one.board or board_of(self.by_id[one.run])

    def key(self, one: Test | StoredFigure) -> tuple[str, str]:
        """What a test is known by in other nights: its run's name and its own."""
        return self.by_id[one.run].name, one.test

    def down(self, test: Test) -> str:
        """The board, or place, that did not come up for a test, and so failed it; empty where that is not why."""
        if test.outcome != "failed":
            return ""
        boards = [board for cause, board in self._causes.get(test.run, ()) if cause in test.cause]
        return next((board for board in boards if board in (test.board, test.place)), boards[0] if boards else "")

    def verdict(self, test: Test) -> bool | None:
        """Whether the test passed; None where it says nothing of itself: its board was not up, or nobody ran it."""
        if test.outcome == "passed":
            return True
        blamed = test.outcome == "failed" and test.fault in ("image", "test")
        return False if blamed and not self.down(test) else None

    @functools.cached_property
    def verdicts(self) -> Mapping[tuple[str, str], bool]:
        """Whether each test passed, by `key`; a test that was repeated when it always did."""
        found: dict[tuple[str, str], bool] = {}
        for test in self.tests:
            if (passed := self.verdict(test)) is not None:
                key = self.key(test)
                found[key] = found.get(key, True) and passed
        return found


@dataclass(frozen=True)
class ReviewWindow:
    """The last nights of a plan, oldest first; there is one at least. `others` are plans with nights of their own.

    `idle` are runs of the last night that are not at their end, and why; without a reason they are still to come.
    """

    plan: str
    nights: tuple[ReviewedNight, ...]
    notes: tuple[Note, ...] = ()
    others: tuple[str, ...] = ()
    idle: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, history: History, night: str | None = None, count: int = NIGHTS) -> ReviewWindow:
        """The window of up to `count` nights that ends with `night`, by default the newest.

        Raises `ConfigurationError` where there are no nights, or none of that name.
        """
        every = [run for run in history.runs() if run.night]
        names = list(dict.fromkeys(run.night for run in every))
        if not names:
            raise ConfigurationError(
                "there are no nights in this history",
                hint="run `hil nightly`, or take in old ones with `hil history add`",
            )
        last = night or names[-1]
        if last not in names:
            raise ConfigurationError(
                f"there is no night {last!r} in this history; {near(last, names)}the newest is {names[-1]}",
                hint="`hil history list` lists them",
            )
        plan = next(run.plan for run in every if run.night == last)
        chosen = list(dict.fromkeys(run.night for run in every if run.plan == plan))
        chosen = chosen[: chosen.index(last) + 1][-count:]
        runs = [run for run in every if run.plan == plan and run.night in chosen]
        place = {run.id: run.night for run in runs}
        of_night: dict[str, list[Run]] = {name: [] for name in chosen}
        for run in runs:
            of_night[run.night].append(run)
        tests, boots, figures = (
            _split(history.tests(runs), place),
            _split(history.boots(runs), place),
            _split(history.figures(runs), place),
        )
        nights = tuple(
            ReviewedNight(name, tuple(of_night[name]), tests.get(name, ()), boots.get(name, ()), figures.get(name, ()))
            for name in chosen
        )
        notes = tuple(note for note in history.notes() if note.night in chosen)
        return cls(plan, nights, notes, tuple(sorted({run.plan for run in every} - {plan})))

    @property
    def night(self) -> ReviewedNight:
        """The one under review."""
        return self.nights[-1]

    @property
    def before(self) -> ReviewedNight | None:
        return self.nights[-2] if len(self.nights) > 1 else None

    @property
    def ended(self) -> bool:
        """Whether the night has come to its end, as far as that is known."""
        return all(self.idle.values())

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(night.name for night in self.nights)


def board_of(run: Run) -> str:
    """A run's board, without the path of its file."""
    return run.board if is_place(run.board) else name_of(run.board)


def _split(rows: Sequence[T], place: Mapping[str, str]) -> dict[str, tuple[T, ...]]:
    """Rows by the night of their run."""
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(place[row.run], []).append(row)
    return {name: tuple(of_night) for name, of_night in found.items()}


def streak(flags: Sequence[bool | None]) -> int:
    """Where the unbroken row that ends with the last of `flags` begins; gaps (None) do not break it."""
    begin = len(flags) - 1
    for index in range(len(flags) - 1, -1, -1):
        if flags[index] is False:
            break
        if flags[index]:
            begin = index
    return begin
