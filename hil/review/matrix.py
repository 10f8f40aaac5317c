"""Boards and suites of a night as a table: outcomes, the nearest bound, and changes since the night before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.measure.margins import margin
from hil.measure.units import shown
from hil.review.review_window import ReviewedNight, ReviewWindow, group_by

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test

STRIP = 14  # nights in a cell's strip
NEAR = 0.9  # share of a bound; a value beyond it is marked
ORDER = ("failed", "not run", "passed", "skipped")
SIGNS = {
    "failed": "\N{MULTIPLICATION X}",
    "not run": "?",
    "passed": "\N{CHECK MARK}",
    "skipped": "-",
    "": "\N{MIDDLE DOT}",
}


@dataclass(frozen=True)
class Cell:
    """The tests of one suite on one board.

    `state` is the worst outcome, `strip` that of each of the last nights, oldest first. `nearest` is the figure that is
    nearest to its bound, None without bounds; `tests` are those that failed or were not run.
    """

    board: str
    suite: str
    counts: Counter[str]
    faults: Counter[str]
    state: str
    strip: tuple[tuple[str, str], ...]
    nearest: StoredFigure | None
    changed: str
    tests: tuple[Test, ...]

    @property
    def text(self) -> str:
        return ", ".join(f"{self.counts[name]} {name}" for name in ORDER if self.counts[name]) or "nothing run"

    @property
    def strip_text(self) -> str:
        """The strip in words."""
        counts = Counter(state or "nothing run" for _, state in self.strip)
        bad = [night for night, state in self.strip if state == "failed"]
        last = f"; last failed on {bad[-1]}" if bad else ""
        return f"last {len(self.strip)} nights: {', '.join(f'{count} {name}' for name, count in counts.items())}{last}"

    @property
    def margin(self) -> float | None:
        """The share of the nearest bound that is left; negative beyond it."""
        return None if self.nearest is None else _margin(self.nearest)

    @property
    def margin_text(self) -> str:
        """The margin in words."""
        return margin(self.nearest.value, self.nearest.bound or 0.0) if self.nearest else ""

    @property
    def worst(self) -> str:
        """The figure that is nearest to its bound, in words."""
        if (figure := self.nearest) is None:
            return ""
        values = f"{shown(figure.value, figure.unit)} of {shown(figure.bound or 0.0, figure.unit)}"
        return f"{figure.name} of {figure.quantity}, {figure.subject}: {values}"

    @property
    def near(self) -> bool:
        return self.margin is not None and self.margin <= 1 - NEAR + 1e-9


def matrix(window: ReviewWindow) -> dict[str, dict[str, Cell | None]]:
    """Return the cells of the window's last night by board and suite; None where nothing ran, the night before too."""
    nights = window.nights[-STRIP:]
    by_night = [_tests(night) for night in nights]
    now, then = by_night[-1], by_night[-2] if window.before else {}
    places = {*now, *then}
    boards = sorted({board for board, _ in places})
    suites = sorted({suite for _, suite in places})
    figures = group_by(window.night.figures, lambda figure: (window.night.board(figure), figure.suite))

    def cell(board: str, suite: str) -> Cell | None:
        place = board, suite
        if place not in places:
            return None
        tests = now.get(place, [])
        bounded = [figure for figure in figures.get(place, []) if figure.bound is not None]
        return Cell(
            board=board,
            suite=suite,
            counts=Counter(test.outcome for test in tests),
            faults=Counter(test.fault or "unknown" for test in tests if test.outcome == "failed"),
            state=_state(tests),
            strip=tuple(
                (night.name, _state(found.get(place, []))) for night, found in zip(nights, by_night, strict=True)
            ),
            nearest=min(bounded, key=_margin, default=None),
            changed=_changed(tests, then.get(place, []), window.night, window.before) if window.before else "",
            tests=tuple(test for test in tests if test.outcome in ("failed", "not run")),
        )

    return {board: {suite: cell(board, suite) for suite in suites} for board in boards}


def cells(table: dict[str, dict[str, Cell | None]]) -> list[Cell]:
    return [cell for row in table.values() for cell in row.values() if cell]


def _tests(night: ReviewedNight) -> dict[tuple[str, str], list[Test]]:
    return group_by(night.tests, lambda test: (night.board(test), test.suite))


def _state(tests: Sequence[Test]) -> str:
    """Return the worst outcome; empty without tests."""
    return next((name for name in ORDER if any(test.outcome == name for test in tests)), "")


def _changed(tests: Sequence[Test], then: Sequence[Test], night: ReviewedNight, before: ReviewedNight) -> str:
    """Return the differences to the night before, in words."""
    now_outcomes, then_outcomes = _outcomes(tests, night), _outcomes(then, before)
    if not then_outcomes:
        return "new"
    if not now_outcomes:
        return "gone"
    differ = [key for key, outcome in now_outcomes.items() if then_outcomes.get(key, outcome) != outcome]
    worse = sum(now_outcomes[key] in ("failed", "not run") for key in differ)
    better = sum(now_outcomes[key] == "passed" for key in differ)
    counts = {
        "worse": worse,
        "better": better,
        "other": len(differ) - worse - better,
        "new": len(now_outcomes.keys() - then_outcomes.keys()),
        "gone": len(then_outcomes.keys() - now_outcomes.keys()),
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _outcomes(tests: Sequence[Test], night: ReviewedNight) -> dict[tuple[str, str], str]:
    """Return the outcome of each test; of a repeated one the worst."""
    found: dict[tuple[str, str], str] = {}
    for test in tests:
        key = night.key(test)
        found[key] = min(found.get(key, test.outcome), test.outcome, key=ORDER.index)
    return found


def _margin(figure: StoredFigure) -> float:
    if figure.bound:
        return 1 - figure.value / figure.bound
    return -math.inf if figure.value > 0 else 0.0
