"""The overview page of a night: findings first, then boards and suites, then what was run."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hil.review import pages, trends
from hil.review.board_findings import boards_up
from hil.review.console_pages import NightPages, relative
from hil.review.finding import Finding, short
from hil.review.findings import findings, verdict
from hil.review.matrix import SIGNS, Matrix, matrix
from hil.review.review_window import ReviewedNight, ReviewWindow
from hil.review.trend_series import TrendSeries, pictured, trend_series

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test

OVERVIEW, REPORT, SUMMARY, STATE = "overview.html", "report.html", "summary.md", "state.json"
TESTS = 200  # listed of a cell; the report has them all


@dataclass(frozen=True)
class PageLink:
    """A link; `href` is relative to the page, empty for text only."""

    text: str
    href: str = ""


@dataclass(frozen=True)
class BootRates:
    """How often a board came up by one kind of boot, in the night and in the whole window."""

    board: str
    kind: str
    tries: int
    failed: int
    all_tries: int
    all_failed: int
    up: bool


@dataclass(frozen=True)
class TestedImage:
    """An image that was tested on a board, and the first of the nights in a row with the same digest."""

    name: str
    digest: str
    board: str
    since: str


@dataclass(frozen=True)
class Review:
    """The findings of a night, its verdict, and the path of its overview."""

    window: ReviewWindow
    findings: tuple[Finding, ...]
    verdict: str
    overview: Path

    @property
    def facts(self) -> dict[str, object]:
        """The review as JSON data."""
        return {
            "night": self.window.night.name,
            "plan": self.window.plan,
            "before": self.window.before.name if self.window.before else "",
            "nights": len(self.window.nights),
            "verdict": self.verdict,
            "findings": [finding.facts for finding in self.findings],
            "overview": str(self.overview),
        }


def review(window: ReviewWindow, directory: Path) -> Review:
    """Write the pages of the window's last night into `directory`. Raises `InfrastructureError` for disk errors."""
    all_series = trend_series(window)
    found = tuple(findings(window, all_series))
    drawn = pictured(all_series)
    trends.write(directory / trends.DIRECTORY, window, drawn)
    made = Review(window, found, verdict(found, window), directory / OVERVIEW)
    _write(made, drawn)
    return made


def _write(made: Review, drawn: dict[tuple[str, ...], list[TrendSeries]]) -> None:
    window, directory = made.window, made.overview.parent
    table = matrix(window)
    links = _Links(window, directory, drawn)
    pages.write(
        made.overview,
        "overview.html",
        window=window,
        night=window.night,
        verdict=made.verdict,
        findings=[(number, finding, links.of_finding(finding)) for number, finding in enumerate(made.findings, 1)],
        matrix=table,
        troubled=[cell for cell in table.cells if cell.tests],
        most=TESTS,
        began=min(run.began for run in window.night.runs),
        ended=max(run.ended or run.began for run in window.night.runs),
        seconds=_seconds(table, window.night),
        files=[
            PageLink(text, name)
            for name, text, sign in ((REPORT, "Allure report", REPORT), (SUMMARY, "summary", STATE))
            if (directory / sign).exists()  # the summary is written after this page
        ],
        boots=_boots(window),
        images=_images(window),
        quantities=[
            PageLink(quantity, f"{trends.DIRECTORY}/{trends.file_of(quantity)}")
            for quantity in sorted({figures[0].key.quantity for figures in drawn.values()})
        ],
        signs=SIGNS,
        short=short,
        console=links.console,
    )


class _Links:
    """Makes the links from the overview in `directory` to trends, report and consoles."""

    def __init__(self, window: ReviewWindow, directory: Path, drawn: dict[tuple[str, ...], list[TrendSeries]]) -> None:
        self._directory, self._drawn = directory, drawn
        self._pages = NightPages(window.night, directory)

    def of_finding(self, finding: Finding) -> list[PageLink]:
        made: list[PageLink] = []
        for key in {key.series: key for key in finding.keys}.values():
            if key.series in self._drawn:
                where = f"{trends.DIRECTORY}/{trends.file_of(key.quantity)}#{trends.anchor(key)}"
                made.append(PageLink(f"trend of {key.quantity}, {key.subject}", where))
        if finding.test and (self._directory / REPORT).exists():
            pages = self._pages.of(finding.example) if finding.example else None
            function = finding.test.rpartition("::")[2].partition("[")[0]
            made.append(
                PageLink(
                    "in the report", f"{REPORT}#{pages.report_id}" if pages else f"{REPORT}?query={quote(function)}"
                )
            )
        if finding.example and (console := self.console(finding.example)):
            made.append(console)
        return made

    def console(self, test: Test) -> PageLink | None:
        """Return a link to the test's console page, or, without one, the place in its transcript as text."""
        pages = self._pages.of(test)
        if pages and pages.console and (path := relative(pages.console, self._directory)):
            return PageLink("console", f"{quote(os.fsencode(path))}#fail")
        name, _, line = test.transcript.rpartition(":")
        if not name or not line.isdigit():
            name, line = test.transcript, ""
        path = relative(Path(name), self._directory) if name else ""
        return PageLink(f"transcript {path}" + f", line {line}" * bool(line)) if path else None


def _seconds(table: Matrix, night: ReviewedNight) -> dict[str, float]:
    """Return the total duration of each board's tests, in seconds."""
    taken = dict.fromkeys(table.boards, 0.0)
    for test in night.tests:
        taken[night.board(test)] += test.seconds
    return taken


def _boots(window: ReviewWindow) -> list[BootRates]:
    night = window.night
    up = boards_up(night)
    found = []
    for board, kind in sorted({(boot.board, boot.kind) for boot in night.boots}):
        now = [boot for boot in night.boots if (boot.board, boot.kind) == (board, kind)]
        boots = [boot for of in window.nights for boot in of.boots if (boot.board, boot.kind) == (board, kind)]
        failed, all_failed = (sum(bool(boot.fault) for boot in several) for several in (now, boots))
        found.append(BootRates(board, kind, len(now), failed, len(boots), all_failed, up[board]))
    return found


def _images(window: ReviewWindow) -> list[TestedImage]:
    """Return the tested images, by board."""
    night = window.night
    found: dict[tuple[str, str], str] = {}
    for row in _with_images(night):
        if row.image_sha256:
            found.setdefault((night.board(row), row.image_sha256), row.image)
    return [
        TestedImage(name, digest, board, _first_night(window, board, digest))
        for (board, digest), name in sorted(found.items())
    ]


def _with_images(night: ReviewedNight) -> list[Test | StoredFigure]:
    return [*night.tests, *night.figures]


def _first_night(window: ReviewWindow, board: str, digest: str) -> str:
    since = window.night.name
    for night in reversed(window.nights[:-1]):
        if not any(row.image_sha256 == digest and night.board(row) == board for row in _with_images(night)):
            break
        since = night.name
    return since
