"""The page of a night: what a reviewer must know first, then boards and suites, then what was run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hil.review import pages, trends
from hil.review.findings import Finding, came_up, findings, short, verdict
from hil.review.lines import TrendSeries, lines, pictured
from hil.review.matrix import SIGNS, Matrix, matrix
from hil.review.window import ReviewedNight, ReviewWindow

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test

OVERVIEW, REPORT, SUMMARY, STATE = "overview.html", "report.html", "summary.md", "state.json"
TESTS = 200  # of a cell that are listed; the report has them all


@dataclass(frozen=True)
class PageLink:
    """Where to see more; `href` is relative to the page."""

    text: str
    href: str


@dataclass(frozen=True)
class Booted:
    """How a board came up in a night and in all of the window."""

    board: str
    kind: str
    tries: int
    failed: int
    every: int
    every_failed: int
    up: bool


@dataclass(frozen=True)
class TestedImage:
    """An image that was tested: in which nights it had its digest first."""

    name: str
    digest: str
    board: str
    since: str


@dataclass(frozen=True)
class Review:
    """A night's findings, and where its pages are."""

    window: ReviewWindow
    findings: tuple[Finding, ...]
    verdict: str
    overview: Path

    @property
    def facts(self) -> dict[str, object]:
        """As JSON has it."""
        return {
            "night": self.window.night.name,
            "plan": self.window.plan,
            "before": self.window.before.name if self.window.before else "",
            "nights": len(self.window.nights),
            "verdict": self.verdict,
            "findings": [one.facts for one in self.findings],
            "overview": str(self.overview),
        }


def review(window: ReviewWindow, directory: Path) -> Review:
    """Make the pages of the window's last night in `directory`. Raises `InfrastructureError` for a disk that fails."""
    every = lines(window)
    found = tuple(findings(window, every))
    shown = pictured(every)
    trends.write(directory / trends.DIRECTORY, window, shown)
    made = Review(window, found, verdict(found, window), directory / OVERVIEW)
    _write(made, shown)
    return made


def _write(made: Review, shown: dict[tuple[str, ...], list[TrendSeries]]) -> None:
    window, directory = made.window, made.overview.parent
    table = matrix(window)
    pages.write(
        made.overview,
        "overview.html",
        window=window,
        night=window.night,
        verdict=made.verdict,
        findings=[(number, one, _links(one, directory, shown)) for number, one in enumerate(made.findings, 1)],
        matrix=table,
        troubled=[cell for cell in table.cells if cell.tests],
        most=TESTS,
        began=min(run.began for run in window.night.runs),
        ended=max(run.ended or run.began for run in window.night.runs),
        seconds=_seconds(table, window.night),
        files=[
            PageLink(text, name)
            for name, text, sign in ((REPORT, "Allure report", REPORT), (SUMMARY, "summary", STATE))
            if (directory / sign).exists()  # a night's summary is written after this
        ],
        boots=_boots(window),
        images=_images(window.night, window),
        quantities=[
            PageLink(quantity, f"{trends.DIRECTORY}/{trends.file_of(quantity)}")
            for quantity in sorted({of_series[0].key.quantity for of_series in shown.values()})
        ],
        signs=SIGNS,
        short=short,
        transcript=lambda place: _transcript(place, directory),
    )


def _links(one: Finding, directory: Path, shown: dict[tuple[str, ...], list[TrendSeries]]) -> list[PageLink]:
    made: list[PageLink] = []
    for key in {key.series: key for key in one.keys}.values():
        if key.series in shown:
            where = f"{trends.DIRECTORY}/{trends.file_of(key.quantity)}#{trends.anchor(key)}"
            made.append(PageLink(f"trend of {key.quantity}, {key.subject}", where))
    if one.test and (directory / REPORT).exists():  # where it looks for the test
        function = one.test.rpartition("::")[2].partition("[")[0]
        made.append(PageLink("in the report", f"{REPORT}?query={quote(function)}"))
    if place := _transcript(one.transcript, directory):
        made.append(place)
    return made


def _transcript(place: str, directory: Path) -> PageLink | None:
    """The transcript at PATH or PATH:LINE, where it is in the night's directory."""
    path, _, line = place.rpartition(":")
    if not path or not line.isdigit():
        path, line = place, ""
    if not path or not Path(path).is_relative_to(directory.absolute()) or not os.path.exists(path):  # noqa: PTH110  a name may be too long
        return None
    href = quote(os.fsencode(os.path.relpath(path, directory.absolute())))
    return PageLink(f"transcript, line {line}" if line else "transcript", href)


def _seconds(table: Matrix, night: ReviewedNight) -> dict[str, float]:
    """How long the tests of each board took together."""
    taken = dict.fromkeys(table.boards, 0.0)
    for test in night.tests:
        taken[night.board(test)] += test.seconds
    return taken


def _boots(window: ReviewWindow) -> list[Booted]:
    night = window.night
    up = came_up(night)
    found = []
    for board, kind in sorted({(boot.board, boot.kind) for boot in night.boots}):
        now = [boot for boot in night.boots if (boot.board, boot.kind) == (board, kind)]
        every = [boot for one in window.nights for boot in one.boots if (boot.board, boot.kind) == (board, kind)]
        failed, all_failed = (sum(bool(boot.fault) for boot in boots) for boots in (now, every))
        found.append(Booted(board, kind, len(now), failed, len(every), all_failed, up[board]))
    return found


def _images(night: ReviewedNight, window: ReviewWindow) -> list[TestedImage]:
    """The images that were tested, by board, and since which of the nights they are the same."""
    found: dict[tuple[str, str], str] = {}
    for one in _with_images(night):
        if one.image_sha256:
            found.setdefault((night.board(one), one.image_sha256), one.image)
    return [
        TestedImage(name, digest, board, _first(window, board, digest))
        for (board, digest), name in sorted(found.items())
    ]


def _with_images(night: ReviewedNight) -> list[Test | StoredFigure]:
    return [*night.tests, *night.figures]


def _first(window: ReviewWindow, board: str, digest: str) -> str:
    since = window.night.name
    for night in reversed(window.nights[:-1]):
        if not any(one.image_sha256 == digest and night.board(one) == board for one in _with_images(night)):
            break
        since = night.name
    return since
