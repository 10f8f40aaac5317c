"""The windows, the matrix, the pages and the command of a review."""

from __future__ import annotations

import hashlib
import html.parser
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from review_windows import EXACT, NOISY, SMALL, failing, levels, measured, planted, window
from reviewed import VIRTUAL, Plan, history

from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.history.rows import Run, StoredFigure, Test
from hil.nightly.state import Night, NightState
from hil.review import rendering, trends
from hil.review.finding import FindingKind
from hil.review.matrix import Cell, matrix
from hil.review.matrix import cells as cells_of
from hil.review.overview import review
from hil.review.review_window import ReviewedNight, ReviewWindow, streak

# windows


def test_a_window_ends_with_its_night_and_is_as_long_as_asked(tmp_path: Path) -> None:
    seen = window(tmp_path, measured(nights=SMALL), night="2026-01-04", count=3)
    assert seen.names == ("2026-01-02", "2026-01-03", "2026-01-04")


def test_a_window_has_one_plan_s_nights_and_says_that_there_are_others(tmp_path: Path) -> None:
    other = measured(nights=SMALL, plan="renamed")
    other.name = lambda night: f"2026-02-{night + 1:02}"  # type: ignore[method-assign]
    seen = window(tmp_path, measured(nights=3), other)
    assert (seen.plan, len(seen.nights), seen.others) == ("renamed", SMALL, ("bench",))


def test_an_empty_history_and_an_unknown_night_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="night"):
        window(tmp_path, Plan(nights=0))
    with pytest.raises(ConfigurationError, match="did you mean '2026-01-01'"):
        window(tmp_path, measured(nights=1), night="2026-01-0")


@pytest.mark.parametrize(
    ("flags", "begin"),
    [
        ([True], 0),
        ([False, True], 1),
        ([True, True], 0),
        ([True, None, True], 0),
        ([None, None, True], 2),
        ([True, False, None, True], 3),
    ],
)
def test_where_a_streak_begins(flags: list[bool | None], begin: int) -> None:
    assert streak(flags) == begin


# the matrix


def cells(tmp_path: Path, plan: Plan) -> list[Cell]:
    return cells_of(matrix(window(tmp_path, plan)))


def test_a_cell_tells_counts_change_margin_and_its_last_nights(tmp_path: Path) -> None:
    plan = measured(measured=EXACT, bound=0.0130, nights=3, test=failing("smoke", [2]))
    realtime, smoke = cells(tmp_path, plan)
    assert (realtime.text, realtime.changed, realtime.margin_text) == ("1 passed", "", "3.72 % left")
    assert realtime.near
    assert realtime.worst == "max of response time, hello.wasm: 12.52 ms of 13 ms"
    assert (smoke.text, smoke.changed, smoke.state) == ("1 failed", "1 worse", "failed")
    assert smoke.strip_text == "last 3 nights: 2 passed, 1 failed; last failed on 2026-01-03"
    assert smoke.margin is None
    assert not smoke.near


def test_a_bound_of_nothing_is_used_up_or_broken() -> None:
    run = Run("r", "n", "job", "p", "one", 0.0, 1.0, 0, "done", {})
    for value, margin in ((0.0, 0.0), (1.0, -math.inf)):
        figure = StoredFigure(
            *("r", "a.py::t", "one", "misses", "x", "1", "virtual time", "", "misses(1 ms)"),
            *(True, None, "i", "", "m", "", 10, value, None, None, 0.0, "pass", "realtime"),
        )
        names = {"run": "r", "test": "a.py::t", "nodeid": "a.py::t", "suite": "realtime", "board": "one"}
        test = Test(**names, clock="virtual", outcome="passed")
        (cell,) = cells_of(matrix(ReviewWindow("p", (ReviewedNight("n", (run,), (test,), (), (figure,)),))))
        assert cell.margin == margin
        assert cell.near
        assert cell.margin_text


# pages


class Reader(html.parser.HTMLParser):
    """What is wrong with a page, of what can be seen without a browser."""

    VOID = {"meta", "link", "input", "br"}

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.headings: list[int] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(text)
        self.close()
        if self.open:
            self.wrong.append(f"left open: {self.open}")
        self.wrong += [f"id twice: {one}" for one in set(self.ids) if self.ids.count(one) > 1]
        self.wrong += [
            f"heading {now} after {last}"
            for last, now in zip(self.headings, self.headings[1:], strict=False)
            if now > last + 1
        ]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.look(tag, attrs)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.look(tag, attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def look(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self.ids += [told["id"] or ""] if "id" in told else []
        self.links += [told["href"] or ""] if tag == "a" else []
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        if tag == "th" and "scope" not in told:
            self.wrong.append("a th without scope")
        asked = told.get("src") or (told.get("href") if tag == "link" else None)
        if asked and asked != "data:,":
            self.wrong.append(f"{tag} asks for {asked}")
        if any(name.startswith("on") for name in told):
            self.wrong.append(f"{tag} has a handler")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> closes another one")


def test_pages_are_whole_and_their_links_lead_somewhere(tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "report.html").write_text("")
    made = review(window(tmp_path / "history", planted(30)), tmp_path / "night")
    files = sorted((tmp_path / "night").rglob("*.html"))
    assert [str(one.relative_to(tmp_path / "night")) for one in files] == [
        "overview.html",
        "report.html",
        "trends/index.html",
        "trends/response-time.html",
    ]
    read = {path.resolve(): Reader(path.read_text()) for path in files if path.name != "report.html"}
    assert {str(path): one.wrong for path, one in read.items() if one.wrong} == {}
    for path, one in read.items():
        assert '<html lang="en">' in path.read_text()
        for link in one.links:
            name, _, part = link.partition("#")
            target = (path.parent / name.partition("?")[0]).resolve() if name else path
            assert target.exists(), link
            assert not part or part in read[target].ids, link
    text = made.overview.read_text()
    assert "as the night before: 4 things known" in text
    assert text.count("<li tabindex") == 4
    assert "http" not in re.sub(r"http://www.w3.org/\S+", "", text)


NASTY = ['<script>alert("x")</script>', "a/../../b c", "&amp; 'quoted\"", "\N{SNOWMAN}", "x" * 300, "x" * 299 + "y"]


def test_names_of_any_kind_make_safe_pages(tmp_path: Path) -> None:
    plan = Plan(
        boards=NASTY,
        suites=("<b>", "sm ok/e"),
        tests=1,
        measured=[(name, name, VIRTUAL) for name in [*NASTY, "index"]],
        nights=3,
        test=failing("::", [2], cause="<img src=x onerror=alert(1)>"),
    )
    made = review(window(tmp_path, plan), tmp_path / "night")
    files = sorted((tmp_path / "night").rglob("*.html"))
    assert len(files) == 1 + 1 + len(NASTY) + 1
    assert all(one.is_relative_to(tmp_path / "night") for one in files)
    assert {str(path): one.wrong for path in files if (one := Reader(path.read_text())).wrong} == {}
    assert "<img" not in made.overview.read_text()


def test_names_of_files_are_safe_and_differ() -> None:
    assert rendering.name_of("response time") == "response-time"
    given = ["response time", "response-time", "Response time", "response  time", "", "..", "/", *NASTY]
    names = [rendering.name_of(one) for one in given]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}", name) for name in names)
    assert rendering.name_of("a b") != rendering.name_of("a", "b")
    assert trends.file_of("index") != "index.html"


@pytest.mark.parametrize("state", ["killed", "done"])
def test_a_night_without_any_test_has_pages(tmp_path: Path, state: str) -> None:
    plan = Plan(nights=1, run=lambda night, run: replace(run, state=state, status=None, ended=None))
    bare = [replace(one, tests=(), boots=(), records=()) for one in plan.make()]
    plan.make = lambda: bare  # type: ignore[method-assign]
    made = review(window(tmp_path, plan), tmp_path / "night")
    assert {one.kind for one in made.findings} == {FindingKind.KILLED if state == "killed" else FindingKind.BROKEN}
    assert "No test has a result" in made.overview.read_text()
    assert "Nothing was measured" in (tmp_path / "night" / "trends" / "index.html").read_text()


def test_a_single_night_says_from_when_on_changes_can_be_told(tmp_path: Path) -> None:
    review(window(tmp_path, measured(nights=1)), tmp_path / "night")
    text = (tmp_path / "night" / "trends" / "response-time.html").read_text()
    assert "1 night;" in text
    assert "6 nights" in text
    assert "<svg" not in text


def test_transcripts_in_the_night_s_directory_are_linked_and_no_others(tmp_path: Path) -> None:
    directory = tmp_path / "night"
    raw = directory / "run one" / "one.raw"
    raw.parent.mkdir(parents=True)
    raw.write_text("")

    def test(night: int, one: Test) -> Test:
        place = str(raw) if "test_0" in one.test else "/etc/passwd" if "test_1" in one.test else ""
        return replace(one, outcome="failed", fault="image", cause=one.test, transcript=place and f"{place}:310")

    text = review(window(tmp_path, Plan(boards=("one",), nights=1, test=test)), directory).overview.read_text()
    assert "transcript run one/one.raw, line 310" in text
    assert ".raw" not in "".join(Reader(text).links), "no download"
    assert "passwd" not in text


def test_a_failure_leads_to_its_console_and_its_result(tmp_path: Path) -> None:
    plan = Plan(boards=("one",), nights=1, test=failing("test_smoke.py::test_0", [0]))
    made = [replace(one, tests=[replace(test, nodeid=test.test) for test in one.tests]) for one in plan.make()]
    plan.make = lambda: made  # type: ignore[method-assign]
    directory = tmp_path / "night"
    allure = directory / "job-one" / "try-1" / "allure"
    allure.mkdir(parents=True)
    (directory / "report.html").write_text("")
    for number, page in enumerate(("<p>", '<p id="fail">')):
        (allure / f"{number}-attachment.html").write_text(page)
    attachments = [
        {"name": name, "source": f"{number}-attachment.html", "type": "text/html"}
        for number, name in enumerate(("console", "console 2"))
    ]
    (allure / "link-attachment.html").symlink_to(allure / "1-attachment.html")
    attachments.insert(0, {"name": "console", "source": "link-attachment.html", "type": "text/html"})
    failed = next(test for test in made[0].tests if test.outcome == "failed")
    result = {
        "uuid": "u",
        "start": 1,
        "labels": [{"name": "_node", "value": failed.nodeid}],
        "attachments": attachments,
    }
    (allure / "u-result.json").write_text(json.dumps(result))
    (allure / "broken-result.json").write_text("{")
    links = Reader(review(window(tmp_path, plan), directory).overview.read_text()).links
    assert links.count("job-one/try-1/allure/1-attachment.html#fail") == 2
    assert f"report.html#{hashlib.md5(b'u').hexdigest()}" in links


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="file"):
        review(window(tmp_path, measured(nights=1)), tmp_path / "file" / "night")


# the command


def test_the_command_tells_the_findings_and_where_the_pages_are(tmp_path: Path) -> None:
    with history(tmp_path, measured(nights=3, test=failing("test_smoke.py", [2]))):
        pass
    (tmp_path / "2026-01-03").mkdir()
    arguments = ["review", "--history", str(tmp_path / "history.sqlite")]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    assert "night 2026-01-03: worse than the night before: 1 thing" in done.output
    assert "- new failure, new: job-one: suites/smoke/test_smoke.py::test_0[one]" in done.output
    assert (tmp_path / "2026-01-03" / "overview.html").exists()
    told = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).output)
    assert [one["kind"] for one in told["findings"]] == ["new failure"]
    assert told["before"] == "2026-01-02"
    # a night whose directory is gone does not come back as an empty one
    old = CliRunner().invoke(main, [*arguments, "2026-01-02"])
    assert old.exit_code == 0
    assert (tmp_path / "review" / "2026-01-02" / "overview.html").exists()
    assert not (tmp_path / "2026-01-02").exists()


@pytest.mark.parametrize(
    ("options", "plan_percent", "count"),
    [([], None, 1), ([], 90.0, 0), (["--min-effect", "90"], None, 0), (["--min-effect", "5"], 90.0, 1)],
)
def test_the_least_effect_is_that_of_the_option_or_else_of_the_plan(
    tmp_path: Path, options: list[str], plan_percent: float | None, count: int
) -> None:
    plan = measured(measured=NOISY, level=levels((0, 1), (2, 1.5)), nights=3)
    with history(tmp_path, plan):
        pass
    if plan_percent is not None:
        night = Night(tmp_path / plan.name(2), NightState(plan=plan.plan, began=0.0, min_effect=plan_percent))
        night.path.mkdir()
        night.save()
    arguments = ["review", "--history", str(tmp_path / "history.sqlite"), "--json", *options]
    done = CliRunner().invoke(main, arguments)
    assert [finding["kind"] for finding in json.loads(done.output)["findings"]] == ["shift"] * count


def test_the_command_s_errors(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["review", "--history", str(tmp_path / "none.sqlite")])
    assert done.exit_code == 2
