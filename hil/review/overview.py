"""The overview page of a night: findings first, then boards and suites, then what was run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from hil.review import rendering, trends
from hil.review.board_findings import boards_up
from hil.review.console_pages import NightPages, PageLink
from hil.review.finding import Finding, FindingKind, short
from hil.review.findings import findings, verdict
from hil.review.matrix import SIGNS, cells, matrix
from hil.review.review_window import ReviewedNight, ReviewWindow
from hil.review.trend_series import TrendSeries, pictured, trend_series

if TYPE_CHECKING:
    from hil.history.rows import StoredFigure, Test

OVERVIEW, REPORT, SUMMARY, STATE = "overview.html", "report.html", "summary.md", "state.json"
TESTS = 200  # listed of a cell; the report has them all


@dataclass(frozen=True)
class Review:
    """The findings of a night, its verdict, the path of its overview, and the pages that it links to."""

    window: ReviewWindow
    findings: tuple[Finding, ...]
    verdict: str
    overview: Path
    pages: NightPages

    def console(self, test: Test) -> PageLink | None:
        """Return a link to a test's console page, or, without one, the place in its transcript as text."""
        return self.pages.console(self.window.night.by_id[test.run].name, test.nodeid, test.transcript)

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
    made = Review(window, found, verdict(found, window), directory / OVERVIEW, NightPages(directory))
    _write(made, drawn)
    return made


def _write(made: Review, drawn: dict[tuple[str, ...], list[TrendSeries]]) -> None:
    window, night, directory = made.window, made.window.night, made.overview.parent
    table = matrix(window)
    seconds = dict.fromkeys(table, 0.0)
    for test in night.tests:
        seconds[night.board(test)] += test.seconds
    rendering.write(
        made.overview,
        "overview.html",
        window=window,
        night=night,
        verdict=made.verdict,
        findings=[(finding, _links(made, drawn, finding)) for finding in made.findings],
        matrix=table,
        troubled=[cell for cell in cells(table) if cell.tests],
        most=TESTS,
        dead={finding.board for finding in made.findings if finding.kind is FindingKind.DEAD},
        began=min(run.began for run in night.runs),
        ended=max(run.ended or run.began for run in night.runs),
        seconds=seconds,
        files=[
            PageLink(text, name)
            for name, text, sign in ((REPORT, "Allure report", REPORT), (SUMMARY, "summary", STATE))
            if (directory / sign).exists()  # the summary is written after this page
        ],
        boots=_boots(window),
        up=boards_up(night),
        images=_images(window),
        quantities=[
            PageLink(quantity, f"{trends.DIRECTORY}/{trends.file_of(quantity)}")
            for quantity in sorted({figures[0].key.quantity for figures in drawn.values()})
        ],
        signs=SIGNS,
        short=short,
        console=made.console,
    )


def _links(made: Review, drawn: dict[tuple[str, ...], list[TrendSeries]], finding: Finding) -> list[PageLink]:
    """Return the links of a finding to trends, report and console."""
    links: list[PageLink] = []
    for key in {key.series: key for key in finding.keys}.values():
        if key.series in drawn:
            where = f"{trends.DIRECTORY}/{trends.file_of(key.quantity)}#{trends.anchor(key)}"
            links.append(PageLink(f"trend of {key.quantity}, {key.subject}", where))
    example = finding.example
    if finding.test and made.overview.with_name(REPORT).exists():
        known = made.pages.report_id(made.window.night.by_id[example.run].name, example) if example else ""
        function = finding.test.rpartition("::")[2].partition("[")[0]
        links.append(PageLink("in the report", f"{REPORT}#{known}" if known else f"{REPORT}?query={quote(function)}"))
    console = made.console(example) if example else None
    return [*links, console] if console else links


def _boots(window: ReviewWindow) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Return by board and kind of boot how many succeeded, of how many: in the night, and in all nights."""
    found = {}
    for board, kind in sorted({(boot.board, boot.kind) for boot in window.night.boots}):
        counted = []
        for nights in (window.nights[-1:], window.nights):
            boots = [boot for night in nights for boot in night.boots if (boot.board, boot.kind) == (board, kind)]
            counted.append((sum(not boot.fault for boot in boots), len(boots)))
        found[board, kind] = counted
    return found


def _images(window: ReviewWindow) -> list[tuple[str, str, str, str]]:
    """Return the tested images as (board, name, digest, first of the nights in a row with it), by board."""
    tested = [_tested(night) for night in window.nights]
    found = []
    for (board, digest), name in sorted(tested[-1].items()):
        count = next(
            (count for count, images in enumerate(reversed(tested)) if (board, digest) not in images), len(tested)
        )
        found.append((board, name, digest, window.names[-count]))
    return found


def _tested(night: ReviewedNight) -> dict[tuple[str, str], str]:
    """Return the names of the images in a night, by board and digest."""
    rows: list[Test | StoredFigure] = [*night.tests, *night.figures]
    return {(night.board(row), row.image_sha256): row.image for row in reversed(rows) if row.image_sha256}
