"""Boards and suites of a night as a table: what came out, how near the worst bound is, what has changed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hil.measure.units import shown
from hil.review.window import ReviewedNight, ReviewWindow

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test

STRIP = 14  # nights of a cell's strip
NEAR = 0.9  # of a bound: what is used up beyond it is marked
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
    """A board and a suite. `state` is the worst outcome, `strip` that of each of the last nights, oldest first."""

    board: str
    suite: str
    counts: Counter[str]
    faults: Counter[str]
    state: str
    then: str
    strip: tuple[tuple[str, str], ...]
    margin: float | None
    worst: str
    changed: str
    tests: tuple[Test, ...]

    @property
    def text(self) -> str:
        return ", ".join(f"{self.counts[name]} {name}" for name in ORDER if self.counts[name]) or "nothing run"

    @property
    def sign(self) -> str:
        return SIGNS[self.state]

    @property
    def strip_text(self) -> str:
        """The strip in words."""
        told = Counter(state or "nothing run" for _, state in self.strip)
        bad = [night for night, state in self.strip if state == "failed"]
        last = f"; last failed on {bad[-1]}" if bad else ""
        return f"last {len(self.strip)} nights: {', '.join(f'{count} {name}' for name, count in told.items())}{last}"

    @property
    def margin_text(self) -> str:
        """How much of the nearest bound is left."""
        if self.margin is None:
            return ""
        if not math.isfinite(self.margin):
            return "beyond a bound of 0"
        return f"{-self.margin:.1%} beyond a bound" if self.margin < 0 else f"{self.margin:.1%} left"

    @property
    def near(self) -> bool:
        return self.margin is not None and self.margin <= 1 - NEAR + 1e-9


@dataclass(frozen=True)
class Matrix:
    """Cells by board and suite; None where a board has nothing of a suite, in this night and the one before."""

    boards: tuple[str, ...]
    suites: tuple[str, ...]
    rows: tuple[tuple[Cell | None, ...], ...]

    @property
    def cells(self) -> list[Cell]:
        return [cell for row in self.rows for cell in row if cell]


def matrix(window: ReviewWindow) -> Matrix:
    """The matrix of the window's last night."""
    night, before = window.night, window.before
    by_night = [_tests(one) for one in window.nights[-STRIP:]]
    now = by_night[-1]
    then = by_night[-2] if before else {}
    places = dict.fromkeys([*sorted(now), *sorted(then)])
    boards = sorted({board for board, _ in places})
    suites = sorted({suite for _, suite in places})
    figures: dict[tuple[str, str], list[StoredFigure]] = {}
    for figure in night.figures:
        figures.setdefault((night.board(figure), figure.suite), []).append(figure)

    def cell(board: str, suite: str) -> Cell | None:
        place = board, suite
        if place not in places:
            return None
        tests = now.get(place, [])
        margin, worst = _worst(figures.get(place, []))
        state, last = _state(tests), _state(then.get(place, []))
        strip = tuple(
            (one.name, _state(found.get(place, [])))
            for one, found in zip(window.nights[-STRIP:], by_night, strict=True)
        )
        return Cell(
            board=board,
            suite=suite,
            counts=Counter(test.outcome for test in tests),
            faults=Counter(test.fault or "not told" for test in tests if test.outcome == "failed"),
            state=state,
            then=last,
            strip=strip,
            margin=margin,
            worst=worst,
            changed=_changed(tests, then.get(place, []), night, before) if before else "",
            tests=tuple(test for test in tests if test.outcome in ("failed", "not run")),
        )

    rows = tuple(tuple(cell(board, suite) for suite in suites) for board in boards)
    return Matrix(tuple(boards), tuple(suites), rows)


def _tests(night: ReviewedNight) -> dict[tuple[str, str], list[Test]]:
    found: dict[tuple[str, str], list[Test]] = {}
    for test in night.tests:
        found.setdefault((night.board(test), test.suite), []).append(test)
    return found


def _state(tests: Sequence[Test]) -> str:
    """The worst outcome; empty where there are no tests."""
    return next((name for name in ORDER if any(test.outcome == name for test in tests)), "")


def _changed(tests: Sequence[Test], then: Sequence[Test], night: ReviewedNight, before: ReviewedNight) -> str:
    """What is not as it was the night before, in words."""
    now_out, then_out = _outcomes(tests, night), _outcomes(then, before)
    if not then_out:
        return "new"
    if not now_out:
        return "gone"
    other = [key for key, outcome in now_out.items() if then_out.get(key, outcome) != outcome]
    worse = sum(now_out[key] in ("failed", "not run") for key in other)
    better = sum(now_out[key] == "passed" for key in other)
    added, gone = len(now_out.keys() - then_out.keys()), len(then_out.keys() - now_out.keys())
    told = {"worse": worse, "better": better, "other": len(other) - worse - better, "new": added, "gone": gone}
    return ", ".join(f"{count} {what}" for what, count in told.items() if count)


def _outcomes(tests: Sequence[Test], night: ReviewedNight) -> dict[tuple[str, str], str]:
    """By test; of one that was repeated the worst."""
    found: dict[tuple[str, str], str] = {}
    for test in tests:
        key = night.key(test)
        found[key] = min(found.get(key, test.outcome), test.outcome, key=ORDER.index)
    return found


def _worst(figures: Sequence[StoredFigure]) -> tuple[float | None, str]:
    """The smallest share of a bound that is left, and of which figure; less than 0 where one is broken."""
    left: list[tuple[float, str]] = []
    for figure in figures:
        if figure.bound is None:
            continue
        margin = _margin(figure.value, figure.bound)
        told = f"{figure.name} of {figure.quantity}, {figure.subject}"
        told += f": {shown(figure.value, figure.unit)} of {shown(figure.bound, figure.unit)}"
        left.append((margin, told))
    return min(left, default=(None, ""))


def _margin(value: float, bound: float) -> float:
    if bound:
        return 1 - value / bound
    return -math.inf if value > 0 else 0.0
