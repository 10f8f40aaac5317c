"""The review's pages in a browser: with keys alone, without scripts, in light and dark, on paper, and large ones in time."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from browser import barriers, chromium, visit
from limits import soonest
from playwright.sync_api import Browser

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from reviewed import VIRTUAL, Plan, history

from hil.history.rows import Test
from hil.review.comparison import compare, write
from hil.review.overview import review
from hil.review.review_window import ReviewWindow

RESULTS, BOARDS, SUITES = 5000, 10, 5
OPENS = 2.0  # seconds that a page of so many results may take


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def fails(night: int, one: Test) -> Test:
    """In the last night one test in twenty, for different causes."""
    number = int(one.test.partition("::test_")[2].partition("[")[0]) if "realtime" not in one.test else 1
    if night == 3 and number % 20 == 0:
        return replace(one, outcome="failed", fault="image", cause=f"AssertionError: line {number} is not as expected")
    return one


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("review")
    plan = Plan(
        boards=[f"board {number}" for number in range(BOARDS)],
        suites=[f"suite{number}" for number in range(SUITES)],
        tests=RESULTS // BOARDS // SUITES,
        measured=[("response time", "hello.wasm", VIRTUAL)],
        nights=4,
        level=lambda board, quantity, subject, night: 0.01 * (1.3 if night == 3 and board.endswith("1") else 1),
        test=fails,
    )
    with history(root, plan) as store:
        window = ReviewWindow.of(store)
        assert len(window.night.tests) >= RESULTS
        review(window, root)
    write(compare("2026-01-01:job-board 1", "2026-01-04:job-board 1", root / "history.sqlite"), root)
    return root


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["overview.html", "trends/index.html", "trends/response-time.html", "compare.html"])
def test_a_page_has_no_barriers_no_errors_and_asks_nobody(
    browser: Browser, pages: Path, name: str, scheme: str
) -> None:
    with visit(browser, "dark" if scheme == "dark" else "light") as seen:
        page = seen.open(pages / name)
        assert barriers(page) == []
        assert page.locator("h1").count() == 1
        seen.check()


def test_an_overview_of_many_results_opens_in_time(browser: Browser, pages: Path) -> None:
    with visit(browser) as seen:

        def once() -> float:
            begun = time.monotonic()
            page = seen.open(pages / "overview.html")
            assert page.locator("ol.findings > li").first.is_visible()
            return time.monotonic() - begun

        assert soonest(once, OPENS) < OPENS
        seen.check()


def test_keys_go_through_findings_and_filter_them(browser: Browser, pages: Path) -> None:
    with visit(browser) as seen:
        page = seen.open(pages / "overview.html")
        focused = "document.activeElement.id"
        page.keyboard.press("j")
        assert page.evaluate(focused) == "finding-1"
        page.keyboard.press("ArrowDown")
        page.keyboard.press("k")
        assert page.evaluate(focused) == "finding-1"
        page.keyboard.press("/")
        assert page.evaluate(focused) == "filter"
        page.keyboard.type("hello.wasm step")
        shown = page.locator("ol.findings > li:visible")
        assert shown.count() == 1
        assert "board 1: response time of hello.wasm" in shown.inner_text()
        assert page.locator("#matches").inner_text().startswith("1 of ")
        page.keyboard.press("Escape")
        assert shown.count() > 1
        page.keyboard.press("j")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.tagName") == "A"  # a finding's link comes after it
        seen.check()


def test_the_skip_link_is_first_and_leads_to_the_findings(browser: Browser, pages: Path) -> None:
    with visit(browser) as seen:
        page = seen.open(pages / "overview.html")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_all_is_there_without_scripts_and_the_filter_is_not(browser: Browser, pages: Path) -> None:
    with visit(browser, scripts=False) as seen:
        page = seen.open(pages / "overview.html")
        assert not page.locator("#tools").is_visible()
        page.get_by_role("link", name="trend of response time, hello.wasm").first.click()
        assert "/trends/response-time.html#" in page.url
        assert page.locator("svg[role=img]").first.is_visible()
        seen.check()


def test_it_prints(browser: Browser, pages: Path) -> None:
    with visit(browser) as seen:
        page = seen.open(pages / "trends" / "response-time.html")
        page.emulate_media(media="print")
        assert not page.locator("#tools").is_visible()
        assert len(page.pdf()) > 10_000
