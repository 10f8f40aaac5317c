"""What a morning brings, in a browser: the report, the overview, trends, a comparison, and the pages on a test's page.

No page may have an error, ask for anything elsewhere, or keep somebody from reading it, in light and dark.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import morning
import pytest
from browser import LIMIT, Scheme, Visit, barriers, chromium, visit
from limits import HANG
from playwright.sync_api import Browser, Frame, Locator, Page, expect

expect.set_options(timeout=LIMIT)
Open = Callable[..., Page]
TEST_LIMIT = 900  # seconds: the first one makes the nights
DATA = "<script async>"  # where the generator's page begins to hold its data
PARTS = {"test_silence": ("console", "console, played"), "test_response": ("figures",)}  # pages of ours, by test


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@dataclass(frozen=True)
class Nights:
    """Two nights, the second worse than the first, and the page that holds one against the other."""

    first: Path
    second: Path
    comparison: Path

    @property
    def report(self) -> Path:
        return self.second / "report.html"

    @property
    def overview(self) -> Path:
        return self.second / "overview.html"

    def pages(self) -> list[Path]:
        """One of each kind."""
        trends = self.second / "trends"
        return [self.overview, trends / "index.html", trends / "response-time.html", self.comparison]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    directory = tmp_path_factory.mktemp("morning")
    first, second = morning.nights(directory)
    command = [sys.executable, "-c", "from hil.cli import main; main()", "compare", first.name, second.name]
    command += ["--history", str(first.parent / "history.sqlite"), "-o", str(directory / "compared")]
    done = subprocess.run(command, timeout=HANG, capture_output=True, text=True, cwd=morning.ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    (page,) = (directory / "compared").glob("*.html")
    return Nights(first, second, page)


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """Ends a test that waits for a script that never answers: Playwright itself waits for ever."""

    def end(*_: object) -> None:
        raise TimeoutError(f"the test did not end in {TEST_LIMIT} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(TEST_LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def look(browser: Browser) -> Iterator[Open]:
    """Opens a file in a window of its own, as `look(file, scheme)`; at the end all of them must have been quiet."""
    visits: list[Visit] = []
    with ExitStack() as stack:

        def look(file: Path, scheme: Scheme = "light", *, scripts: bool = True) -> Page:
            visits.append(stack.enter_context(visit(browser, scheme, scripts=scripts)))
            return visits[-1].open(file)

        yield look
        for one in visits:
            one.check()


def found(page: Page, name: str) -> None:
    """Search the report for a test and go to its page."""
    page.get_by_test_id("search-input").fill(name)
    leaf = page.get_by_test_id("tree-leaf")
    expect(leaf).to_have_count(1)
    leaf.click()
    expect(page.get_by_test_id("test-result-info-title")).to_contain_text(name)


def attachment(page: Page, name: str) -> Locator:
    """The attachment of that name on a test's page."""
    named = re.compile(rf"^\d*\s*{re.escape(name)}\s*(text|image|application)/")
    return page.get_by_test_id("test-result-attachment").filter(has_text=named)


def opened(page: Page, name: str) -> Locator:
    """The same, unfolded."""
    one = attachment(page, name)
    one.get_by_test_id("test-result-attachment-header").get_by_role("button").first.click()
    return one


def shown(page: Page, name: str) -> Frame:
    """The page of ours that is attached under that name, as the report shows it."""
    frame = opened(page, name).locator("iframe").element_handle().content_frame()
    assert frame is not None
    frame.wait_for_load_state("load")
    return frame


def saved(page: Page, name: str, directory: Path) -> Path:
    """The same as a file, by the report's button."""
    with page.expect_download() as download:
        attachment(page, name).get_by_role("button").last.click()
    path = directory / f"{name}.html"
    download.value.save_as(path)
    return path


# what the watch is worth


@pytest.mark.parametrize(
    ("markup", "told"),
    [
        ("<script>console.error('told')</script>", "errors:\ntold"),
        ("<script>setTimeout(() => { throw Error('thrown') })</script>", "errors:\nuncaught: thrown"),
        ("<script>fetch('http://127.0.0.1:9/x').catch(() => 0)</script>", "elsewhere:\nhttp://127.0.0.1:9/x"),
        ("<link rel=stylesheet href=http://127.0.0.1:9/y>", "elsewhere:\nhttp://127.0.0.1:9/y"),
        ("<script>new WebSocket('ws://127.0.0.1:9/z')</script>", "elsewhere:\nws://127.0.0.1:9/z"),
        ("<iframe srcdoc='<img src=http://127.0.0.1:9/v>'></iframe>", "elsewhere:\nhttp://127.0.0.1:9/v"),
    ],
)
def test_the_watch_sees_what_no_page_may_do(browser: Browser, tmp_path: Path, markup: str, told: str) -> None:
    file = tmp_path / "bad.html"
    file.write_text(f"<!doctype html><html lang=en><title>x</title>{markup}")
    with visit(browser) as one:
        one.open(file)
        with pytest.raises(AssertionError, match=re.escape(told)):
            one.check()


def test_axe_sees_barriers(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text(
        "<!doctype html><html><title>x</title><p style='color:#999;background:#aaa'>pale</p><img src='data:,'>"
    )
    with visit(browser) as one:
        rules = {text.split(":")[0] for text in barriers(one.open(file))}
    assert rules == {"serious html-has-lang", "serious color-contrast", "critical image-alt"}


# the night


def test_the_summary_names_a_dead_board_and_a_new_failure(nights: Nights) -> None:
    text = (nights.second / "summary.md").read_text()
    assert "1 passed, 4 failed" in text
    (dead,) = (line for line in text.splitlines() if line.startswith("- **dead board** (infrastructure) dark "))
    assert "QEMU did not start" in dead
    failures = [line for line in text.splitlines() if line.startswith("- **new failure** (image) ")]
    assert any(f"::test_words[qemu-reference] (passed on {nights.first.name}): Assert" in line for line in failures)
    assert len(text.splitlines()) <= 40


def test_a_night_keeps_its_report_and_transcripts(nights: Nights) -> None:
    assert (nights.first / "report.html").stat().st_size > 100_000
    assert list(nights.first.glob("morning-qemu-reference/try-1/transcripts/*/*.raw"))


# the report


def test_a_report_whose_data_are_read_late_is_whole(look: Open, nights: Nights, tmp_path: Path) -> None:
    """On a busy host the report's program runs long before the browser has read the data behind it."""
    program, begin, rest = nights.report.read_text("utf-8").partition(DATA)
    assert begin
    late = tmp_path / "late.html"
    late.write_text(program, "utf-8")
    page = look(late)
    page.wait_for_timeout(1000)
    for script in re.findall(r"<script[^>]*>(.*?)</script>", begin + rest, re.DOTALL):
        page.add_script_tag(content=script)
    expect(page.get_by_test_id("tree-leaf")).to_have_count(5)


def test_the_report_leads_from_a_category_to_the_test(look: Open, nights: Nights) -> None:
    page = look(nights.report)
    page.get_by_test_id("nav-tab-categories").click()
    sections = page.get_by_test_id("tree-section")
    expect(sections).to_have_count(4)
    for title in ("Runner: silent, no verdict that can be trusted", "Regressed"):
        section = sections.filter(has_text=title)
        section.hover()  # shows the button that unfolds it
        section.get_by_role("button").last.click()
    page.get_by_text("AssertionError: hello.wasm: silent").click()
    page.get_by_test_id("tree-leaf-title").click()
    expect(page.get_by_test_id("test-result-info-title")).to_contain_text("test_silence")
    expect(page.get_by_test_id("test-result-error-message")).to_contain_text("silent (no sealed verdict on the line)")


def test_a_failed_test_is_found_with_its_console_and_how_to_repeat_it(look: Open, nights: Nights) -> None:
    page = look(nights.report)
    found(page, "test_words")
    expect(page.get_by_test_id("test-result-error-message")).to_contain_text("hello, moon")
    frame = shown(page, "console")
    expect(frame.get_by_role("cell", name="hello, sel4", exact=True)).to_be_visible()
    failed = frame.locator("#fail")
    expect(failed).to_contain_text("fail")  # in words, not by a colour alone
    expect(failed).to_contain_text("hello, moon")
    expect(opened(page, "repeat this test")).to_contain_text(
        "pytest 'talk/test_hello.py::test_words[qemu-reference]' --board qemu-reference"
    )


def test_a_bound_that_was_not_kept_has_its_figures_and_its_picture(look: Open, nights: Nights) -> None:
    page = look(nights.report)
    found(page, "test_response")
    figures = shown(page, "figures")
    expect(figures.get_by_role("row").filter(has_text="100 us")).to_contain_text("fail")
    picture = opened(page, "histogram: response time of hello.wasm").locator("img")
    expect(picture).to_be_visible()
    assert picture.evaluate("one => one.decode().then(() => one.naturalWidth)") > 300


def test_the_console_page_is_searched_with_the_keyboard(look: Open, nights: Nights, tmp_path: Path) -> None:
    page = look(nights.report)
    found(page, "test_words")
    alone = look(saved(page, "console", tmp_path))
    expect(alone.locator("#fail")).to_be_in_viewport()
    alone.keyboard.press("/")
    alone.keyboard.type("hello")
    told, first = alone.locator("#matches"), alone.locator("tr.now")
    count = alone.locator("tr.hit").count()
    assert count > 1
    expect(told).to_have_text(f"1 of {count}")
    before = first.inner_text()
    alone.keyboard.press("Enter")
    expect(told).to_have_text(f"2 of {count}")
    assert first.inner_text() != before
    alone.keyboard.press("Escape")
    expect(alone.locator("tr.hit")).to_have_count(0)


def test_the_console_is_played(look: Open, nights: Nights, tmp_path: Path) -> None:
    page = look(nights.report)
    found(page, "test_words")
    alone = look(saved(page, "console, played", tmp_path))
    expect(alone.locator("#player > *")).to_be_focused()
    alone.keyboard.press("Space")
    expect(alone.locator("#player")).to_contain_text("hello, sel4")


# the overview


def test_the_overview_names_what_became_worse_and_nothing_else(look: Open, nights: Nights) -> None:
    page = look(nights.overview)
    expect(page.get_by_role("heading", level=1)).to_contain_text("worse than the night before: 4 things")
    findings = page.locator("ol.findings > li")
    expect(findings).to_have_count(4)
    for subject in ("test_words", "test_response", "test_silence", "dark"):
        expect(findings.filter(has_text=subject)).to_have_count(1)
    row = page.get_by_role("region", name="Boards and suites").get_by_role("row").filter(has_text="qemu-reference")
    expect(row).to_contain_text("3 failed")


def test_the_overview_leads_to_what_is_there(look: Open, nights: Nights) -> None:
    page = look(nights.overview)
    links = page.locator("a[href]").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    files = {link.partition("#")[0].partition("?")[0] for link in links} - {""}
    assert {"report.html", "trends/index.html"} <= files
    gone = [file for file in files if not (nights.second / file).exists()]
    assert not gone
    page.get_by_role("link", name="Allure report", exact=True).click()
    expect(page.get_by_test_id("tree-leaf")).to_have_count(5)


def test_a_finding_leads_to_its_test_in_the_report(look: Open, nights: Nights) -> None:
    page = look(nights.overview)
    finding = page.locator("ol.findings > li", has_text="test_silence")
    finding.get_by_role("link", name="in the report").click()
    expect(page.get_by_test_id("test-result-info-title")).to_contain_text("test_silence")
    assert page.evaluate("window.scrollY") == 0


def test_a_finding_leads_to_its_console(look: Open, nights: Nights) -> None:
    page = look(nights.overview)
    page.locator("ol.findings > li", has_text="test_words").get_by_role("link", name="console", exact=True).click()
    expect(page.locator("#fail")).to_be_in_viewport()
    expect(page.locator("#fail")).to_contain_text("hello, moon")


def test_a_bound_that_was_tightened_is_named(look: Open, nights: Nights) -> None:
    finding = look(nights.overview).locator("ol.findings > li", has_text="test_response")
    for fact in (
        "run: morning-qemu-reference",
        "clock: ",
        "times the limit",
        "failure origin: test",
        "bound 10 s → 100 us",
    ):
        expect(finding).to_contain_text(fact)


def test_the_overview_is_walked_with_the_keyboard(look: Open, nights: Nights) -> None:
    page = look(nights.overview)
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        here = page.locator(":focus")
        if not here.count():
            break
        assert float(here.evaluate("one => parseFloat(getComputedStyle(one).outlineWidth)")) >= 2, "no focus is seen"
        inside = here.evaluate("one => (one.closest('li[data-stop], [role=region], nav') || one).outerHTML")
        reached.append(inside)
    assert "Skip to the content" in reached[0]
    assert any("finding-" in one for one in reached)
    assert any('aria-label="Boards and suites' in one for one in reached)

    page.keyboard.press("/")
    expect(page.get_by_label("Filter")).to_be_focused()
    page.keyboard.type("silence")
    findings = page.locator("ol.findings > li:visible")
    expect(findings).to_have_count(1)
    page.keyboard.press("Escape")
    expect(findings).to_have_count(4)
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(findings.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(findings.nth(0)).to_be_focused()


def test_the_overview_prints(look: Open, nights: Nights) -> None:
    page = look(nights.overview)
    expect(page.locator("#tools")).to_be_visible()
    page.emulate_media(media="print")
    expect(page.locator("#tools")).to_be_hidden()
    expect(page.locator("ol.findings > li")).to_have_count(4)
    assert page.pdf(format="A4").startswith(b"%PDF-")


def test_all_is_there_without_scripts(look: Open, nights: Nights) -> None:
    for file in nights.pages():
        page = look(file, scripts=False)
        expect(page.locator("#tools")).to_be_hidden()
        expect(page.locator("main")).not_to_be_empty()
    expect(look(nights.overview, scripts=False).locator("ol.findings > li:visible")).to_have_count(4)


# trends and comparison


def test_a_trend_has_its_picture_and_its_table(look: Open, nights: Nights) -> None:
    page = look(nights.second / "trends" / "index.html")
    page.get_by_role("link", name="response time").first.click()
    section = page.locator("section.series").first
    picture = section.locator("svg").first
    expect(picture.locator("title").first).not_to_be_empty()
    table = section.locator("details").first
    expect(table.get_by_role("row")).to_have_count(0)
    table.locator("summary").click()
    for night in (nights.first, nights.second):
        expect(table.get_by_role("rowheader", name=night.name, exact=True)).to_be_visible()


def test_a_comparison_has_its_pictures_and_tables(look: Open, nights: Nights) -> None:
    page = look(nights.comparison)
    sections = page.locator("section.series")
    expect(sections.filter(has_text="response time of hello.wasm")).to_have_count(1)
    for section in sections.all():
        single = "n = 1 and 1" in section.inner_text()  # the table has it
        expect(section.locator("svg")).to_have_count(0 if single else 1)
        assert section.get_by_role("row").count() > 1
    page.get_by_role("link", name="response time of hello.wasm").click()
    expect(sections.filter(has_text="response time of hello.wasm")).to_be_in_viewport()


# light and dark, for all


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_page_keeps_anybody_from_reading_it(look: Open, nights: Nights, scheme: Scheme) -> None:
    for file in nights.pages():
        page = look(file, scheme)
        for one in page.locator("details").all():
            one.evaluate("one => { one.open = true }")
        assert not barriers(page), file.name


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_no_part_of_a_tests_page_keeps_anybody_from_reading_it(
    look: Open, nights: Nights, tmp_path: Path, scheme: Scheme
) -> None:
    for test, names in PARTS.items():
        page = look(nights.report, scheme)
        found(page, test)
        assert page.locator("html").get_attribute("data-theme") == scheme
        for name in names:
            # as the report shows it, which changes it; in a page of its own, as within it axe has no scripts to run in
            within = tmp_path / f"within {name}.html"
            within.write_text(shown(page, name).content(), "utf-8")
            assert not barriers(look(within, scheme)), f"{name}, within the report"
            assert not barriers(look(saved(page, name, tmp_path), scheme)), f"{name}, by itself"


def test_what_keeps_people_from_reading_allures_own_pages_is_known(look: Open, nights: Nights) -> None:
    """They are not ours to mend; docs/reports.md tells of it."""
    page = look(nights.report)
    page.get_by_test_id("tree-leaf").first.wait_for()
    barred = barriers(page)
    found(page, "test_words")
    rules = {one.partition(":")[0].split()[1] for one in (*barred, *barriers(page))}
    assert rules <= {"button-name", "color-contrast", "label-content-name-mismatch"}
