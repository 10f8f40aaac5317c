"""What is on a test's page: its console, a cast of it, figures, the command that repeats it; and that no console breaks it."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import matplotlib.figure  # noqa: F401
import numpy as np
import pytest
import scipy.special  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from support import UNUSED_BOARD, stub_board

import hil.board.board
import hil.labgrid
import hil.measure.measure
import hil.report.evidence
import hil.wasm
from hil.compare.baseline import Baselines
from hil.console import Transcript
from hil.console.recording import Recording, span
from hil.image import manifest
from hil.measure import Clock, Series, max, ms, p99, us
from hil.measure.decision import decide
from hil.report import console, player, repeat
from hil.report.console import Mark, Patterns, Span
from hil.report.console_page import FOLDED, console_page, grouped
from hil.report.figures import COLUMNS, MeasuredSeries, figures_page
from hil.report.margins import margin
from hil.report.templates import asset, digest

pytest_plugins = ["pytester"]
REFERENCE = manifest.find("reference")
PATTERNS = Patterns.of(REFERENCE)
MS = 1_000_000


def recorded(directory: Path, *events: tuple[str, bytes], name: str = "line") -> Transcript:
    """A transcript in which something comes (`<`) or is sent (`>`) each millisecond."""
    directory.mkdir(exist_ok=True)
    raw = directory / f"{name}.raw"
    raw.write_bytes(b"".join(data for kind, data in events if kind == "<"))
    lines = [f"{MS}\t@\t1700000000.000"]
    for number, (kind, data) in enumerate(events, 2):
        lines.append(f"{number * MS}\t{kind}\t{len(data) if kind == '<' else json.dumps(data.decode('latin-1'))}")
    raw.with_suffix(".tsv").write_text("\n".join(lines) + "\n")
    transcript = Transcript(raw)
    transcript.refresh()
    return transcript


def whole(transcript: Transcript, *marks: Mark, start: int = 0, power_on_ns: int | None = None) -> Span:
    return Span(transcript, start, transcript.size, MS, power_on_ns, marks)


class Page(HTMLParser):
    """Elements of a page by name, with their attributes and text; lines as rows of cells."""

    VOID = ("meta", "input")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._in_row = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self._in_row = True
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag in ("script", "style"):
            self.texts.setdefault(tag, []).append("")
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._open.append("")
        self._in_row = self._in_row and tag != "tr"

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] in ("script", "style"):
            self.texts[self._open[-1]][-1] += data
        elif self._in_row and self.rows[-1]:
            self.rows[-1][-1] += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


# transcripts


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("<<>"), st.binary(min_size=1, max_size=9)), max_size=30), st.data())
def test_a_part_of_a_transcript_is_what_came_and_was_sent_in_it(tmp_path_factory, events, data) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path_factory.mktemp("t"), *events)
    start = data.draw(st.integers(0, transcript.size))
    end = data.draw(st.integers(start, transcript.size))
    found = list(span(transcript, start, end))
    assert b"".join(one.data for one in found if one.kind == "<") == transcript.read(start, end)
    every = [one for one in Recording(transcript.path).events() if one.kind in "<>"]
    before = [place for place, one in enumerate(every) if one.kind == "<" and one.start + len(one.data) <= start]
    after = [place for place, one in enumerate(every) if one.kind == "<" and one.start >= end]
    part = every[before[-1] + 1 if before else 0 : after[0] if after else None]
    if start < end:
        assert [(one.kind, one.time_ns) for one in found] == [(one.kind, one.time_ns) for one in part]
        assert [one.data for one in found if one.kind == ">"] == [one.data for one in part if one.kind == ">"]
    transcript.close()


def test_a_long_past_is_not_read(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, *[("<", b"x\n")] * 50_000, (">", b"late\n"), ("<", b"last\n"))
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr("os.pread", lambda fd, size, at: read.append(size) or pread(fd, size, at))
    found = list(span(transcript, transcript.size - 5, transcript.size))
    assert [(one.kind, one.data) for one in found] == [(">", b"late\n"), ("<", b"last\n")]
    assert sum(read) < 100_000


# the console


def test_lines_say_whose_they_are(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(
        tmp_path,
        ("<", b"# "),
        (">", b"_h 1 4 'true'\n"),
        ("<", b"@n.1<\nout[   12.345678] eth0: up\r\n"),
        ("<", b"[   13.000000] alone\r\n"),
        ("<", b"[   13.000000] as the shell writes it\n"),
        ("<", b"[2026-11-24 14:49:38.782] [info] executing wasm file\r\nhello\r\n"),
        ("<", b"[2026-11-24 14:49:38.787] [info] execution success, exit code:0\r\n"),
        ("<", b"hil-seal v=1 nonce=ab verdict=exited\n"),
        ("<", b"\x1b[31mred\x1b[0m\n[    1.000000] Kernel panic - not syncing: no init\r\n"),
        ("<", b"no end"),
    )
    found = console.rows(whole(transcript), PATTERNS)
    assert [(row.number, row.kind, row.text) for row in found] == [
        (None, "typed", "_h 1 4 'true'"),
        (1, "", "# @n.1<"),
        (2, "", "out[   12.345678] eth0: up"),
        (3, "other", "[   13.000000] alone"),
        (4, "", "[   13.000000] as the shell writes it"),
        (5, "runner", "[2026-11-24 14:49:38.782] [info] executing wasm file"),
        (6, "", "hello"),
        (7, "verdict", "[2026-11-24 14:49:38.787] [info] execution success, exit code:0"),
        (8, "verdict", "hil-seal v=1 nonce=ab verdict=exited"),
        (9, "", "red"),
        (10, "fatal", "[    1.000000] Kernel panic - not syncing: no init"),
        (11, "", "no end"),
    ]
    assert found[2].foreign == 3
    assert [row.time_ns // MS for row in found[:4]] == [3, 2, 4, 5]
    page = console_page(whole(transcript), REFERENCE)
    assert page is not None
    assert "out<b>[   12.345678] eth0: up</b>" in page
    rows = Page(page).rows
    assert rows[0] == ["line", "seconds", "", "text"]
    assert rows[4][2] == "other", "not by colour alone"
    assert "other: " in page
    assert "stage: " not in page, "absent kinds are not explained"


def test_a_part_keeps_the_numbers_of_the_whole(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", b"one\ntwo\n"), ("<", b"three\nfour\n"))
    assert [row.number for row in console.rows(whole(transcript, start=8), PATTERNS)] == [3, 4]


def test_stages_have_names_and_seconds_since_power_on(tmp_path) -> None:  # type: ignore[no-untyped-def]
    boot = (Path(__file__).parents[1] / "recordings" / "reference-smoke.raw").read_bytes()
    transcript = recorded(tmp_path, ("<", boot[:6000]), ("<", boot[6000:]))
    marks = list(console.stages_of(boot, 0, REFERENCE.stages))
    assert [mark.text for mark in marks] == [f"stage {stage.name}" for stage in REFERENCE.stages]
    page = console_page(whole(transcript, *marks, power_on_ns=0), REFERENCE)
    assert page is not None
    rows = Page(page).rows
    assert rows[0][:3] == ["line", "seconds", "since power-on"]
    staged = [row for row in rows if row[3] == "stage"]
    assert all("\N{LEFTWARDS ARROW} stage " in row[-1] for row in staged)
    assert staged[0][1:3] == ["0.002", "0.003"]
    half = list(console.stages_of(boot[:3000], 0, REFERENCE.stages))
    assert 0 < len(half) < len(marks), "of a boot that failed those that it reached"


def test_virtual_time_is_beside_the_host_s(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", b"one\ntwo\n"))
    transcript.path.with_suffix(".virtual.tsv").write_text("1500000\t0\n2500000\t4\n35")
    rows = Page(console_page(whole(transcript), REFERENCE) or "").rows
    assert [row[2] for row in rows] == ["virtual time", "0.001500", "0.002500"]


def test_the_failing_place_is_marked_and_said_why(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", b"one\ntwo\nthree\n"))
    for offset, line in ((0, "one"), (3, "one"), (8, "two"), (14, "three"), (99, "three")):
        page = console_page(whole(transcript, Mark(offset, "fail", "why <b>")), REFERENCE, failed=True) or ""
        (row,) = (row for row in Page(page).rows if row[2] == "fail")
        assert row[-1].startswith(line), offset
        assert "why <b>" in row[-1]
        assert page.count('id="fail"') == 1
        assert 'class="log end"' in page
    assert 'class="log end"' not in (console_page(whole(transcript), REFERENCE) or "")


def test_a_silent_test_has_a_page_only_if_it_failed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", b"before\n"))
    part = whole(transcript, Mark(7, "fail", "silence"), start=7)
    assert console_page(part, REFERENCE) is None
    page = console_page(part, REFERENCE, failed=True) or ""
    assert "at line 2: " in page
    assert 'id="fail"' in page
    assert "silence" in page


def test_a_long_console_is_cut_and_says_so(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(console, "CONSOLE_LINES", 10)
    transcript = recorded(tmp_path, ("<", b"".join(b"line %d\n" % number for number in range(1, 51))))
    page = console_page(whole(transcript, Mark(9, "fail", "early")), REFERENCE, failed=True) or ""
    assert len(Page(page).rows) == 11
    assert "lines 41 to 50" in page
    assert "line 1 " in page
    (failed,) = re.findall('<p id="fail"[^>]*>([^<]*)', page)
    assert "line 2" in failed
    assert "early" in failed
    monkeypatch.setattr(console, "CONSOLE_BYTES", 16)
    page = console_page(whole(transcript), REFERENCE) or ""
    assert [row[0] for row in Page(page).rows[1:]] == ["49", "50"]


ENCODED = [b"A1b+" * 19 + b"\r\n", b"Zz/9" * 19 + b"\r\n", b"abcd" * 19 + b"\r\n", b"QQ==\r\n"]


def test_transfers_are_folded(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(
        tmp_path,
        (">", b"base64 -d >f <<'.'\n" + b"\n".join([b"x" * 1000] * 3) + b"\nQUJD\n."),
        ("<", b"before\r\n" + b"".join(ENCODED) + b"after\r\nabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz\r\n"),
    )
    groups = list(grouped(console.rows(whole(transcript), PATTERNS)))
    assert [(len(group.rows), bool(group.title)) for group in groups] == [
        (1, False),
        (5, True),
        (1, False),
        (4, True),
        (2, False),
    ]
    assert ["sent" in groups[1].title, "received" in groups[3].title] == [True, True]
    page = console_page(whole(transcript), REFERENCE) or ""
    is_closed(page, asset("console.js"))
    assert page.count('class="folded"') == 2


def test_a_line_with_a_note_is_never_folded(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", b"".join(ENCODED)))
    failed = console.marked(console.rows(whole(transcript), PATTERNS), [Mark(2 * len(ENCODED[0]), "fail", "why")])
    (group,) = grouped(failed)
    assert (len(group.rows), group.title) == (4, "")
    assert FOLDED == 3


HOSTILE = (
    b"<script>alert(1)</script>\n</table></div></body><img src=x onerror=alert(1)>\n"
    b"\" onmouseover=alert(1) '\n<!-- \n]]>\n&lt;b&gt;\n<style>*{display:none}</style>\n\x00\x1b]0;t\x07\xff\xfe\x80\n"
    b"{title} {0} %s\n<svg onload=alert(1)>\n</script><script>alert(2)</script>\n\xe2\x80\xae\xf0\x9f\x92\xa9\n"
)


def is_closed(page: str, *scripts: str) -> None:
    """No markup but ours, no script but ours, nothing from elsewhere; and the policy holds a browser to that."""
    found = Page(page)
    allowed = {
        *[
            "html",
            "head",
            "meta",
            "title",
            "style",
            "body",
            "p",
            "a",
            "div",
            "input",
            "button",
            "label",
            "span",
            "table",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
            "b",
            "i",
            "h2",
            "pre",
        ],
        "script",
    }
    assert {tag for tag, _ in found.elements} <= allowed
    assert found.texts.get("script", []) == list(scripts)
    assert len(found.texts["style"]) == 1
    assert "<" not in found.texts["style"][0], "Allure drops a style with markup in it"
    names = {name for _, attributes in found.elements for name in attributes}
    assert not {name for name in names if name.startswith("on") or name in ("src", "style")}
    assert all((one.get("href") or "#").startswith("#") for one in found.named("a"))
    policy = next(one["content"] for one in found.named("meta") if one.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-inline' " not in policy.partition("script-src")[2]


def test_a_hostile_console_stays_text(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", HOSTILE), (">", b"</td><script>typed()</script>\n"), ("<", HOSTILE))
    mark = Mark(transcript.size, "fail", "</i><script>why()</script>")
    page = console_page(whole(transcript, mark), REFERENCE, failed=True) or ""
    is_closed(page, asset("console.js"))
    assert digest(asset("console.js")) in page
    texts = [row[-1] for row in Page(page).rows]
    assert "<script>alert(1)</script>" in texts
    assert "</td><script>typed()</script>" in texts
    assert r"\x00\x1b]0;t\x07\xff\xfe\x80" in texts
    assert "{title} {0} %s" in texts


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("<>"), st.binary(min_size=1, max_size=40)), max_size=8))
def test_no_bytes_break_the_page(tmp_path_factory, events) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path_factory.mktemp("t"), *events)
    page = console_page(whole(transcript, Mark(3, "fail", "x")), REFERENCE, failed=True) or ""
    is_closed(page, asset("console.js"))
    page.encode("utf-8")
    transcript.close()


@pytest.mark.parametrize("data", [b"x" * (1 << 20), b"[ " * (1 << 19) + b"\r\n", b"\r" * (1 << 20), b"\n" * (1 << 20)])
def test_a_flood_is_quick_and_small(tmp_path, data) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(tmp_path, ("<", data))
    began = time.process_time()
    page = console_page(whole(transcript), REFERENCE) or ""
    assert time.process_time() - began < 5
    assert len(page) < 300_000
    assert player.cast(whole(transcript), "flood") is not None


def test_a_usual_page_is_small(tmp_path) -> None:  # type: ignore[no-untyped-def]
    """5,000 of them go into one file."""
    smoke = Path(__file__).parents[1] / "recordings" / "reference-smoke.raw"
    data = smoke.read_bytes()
    start = len(data) - 5000
    transcript = recorded(tmp_path, ("<", data))
    part = whole(transcript, start=start)
    page = console_page(part, REFERENCE) or ""
    assert len(page) + len(player.cast(part, "x") or "") < 40_000
    assert len(asset("page.css")) + len(asset("console.css")) + len(asset("console.js")) < 6000


# the cast


def test_the_cast_is_of_the_test_alone(tmp_path) -> None:  # type: ignore[no-untyped-def]
    transcript = recorded(
        tmp_path, ("<", b"before\n"), (">", b"typed\n"), ("<", b"during\n"), ("<", b"\xe2\x82\xacend")
    )
    text = player.cast(whole(transcript, start=7), "name") or ""
    header, *events = map(json.loads, text.splitlines())
    assert (header["version"], header["title"], header["idle_time_limit"]) == (2, "name", 2.0)
    assert abs(header["timestamp"] - time.time()) < time.monotonic() + 10
    assert events == [[0, "i", "typed\n"], [0.001, "o", "during\r\n\N{EURO SIGN}end"]]
    assert player.cast(whole(transcript, start=transcript.size), "none") is None


def test_a_player_is_closed_and_plays_what_it_is_given(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(player, "PLAYER", tmp_path)
    player.player.cache_clear()
    assert player.player_page("{}", "x") is None, "a run does without"
    (tmp_path / "asciinema-player.min.js").write_text("var AsciinemaPlayer = {};")
    (tmp_path / "asciinema-player.css").write_text("div.ap{color:red}")
    player.player.cache_clear()
    transcript = recorded(tmp_path / "t", ("<", HOSTILE))
    cast = player.cast(whole(transcript), "</title><script>") or ""
    page = player.player_page(cast, "</title><script>") or ""
    player.player.cache_clear()
    scripts = Page(page).texts["script"]
    is_closed(page, *scripts)
    assert json.loads(scripts[0]) == cast
    assert len(scripts) == 3
    assert scripts[2] == asset("player.js")
    assert digest("var AsciinemaPlayer = {};") in page
    assert "'wasm-unsafe-eval'" in page


# figures


def series(values: Sequence[float], *, exact: bool = False, floor: float | None = 1e-6, **told: str) -> Series:
    clock = Clock("virtual time" if exact else "guest counter", 16e-9, floor=0.0 if exact else floor, exact=exact)
    return Series(
        "response time", "hello.wasm <b>", np.array(values), clock, provenance={"board": "b", "test": "t", **told}
    )


@pytest.mark.parametrize(
    ("value", "limit", "told"),
    [
        (62, 100, "38 %"),
        (112, 100, "12 %"),
        (100, 100, "0 %"),
        (0, 0, "nothing"),
        (1, 0, "over"),
        (432, 2, "216 times"),
        (4, 2, "2 times"),
    ],
)
def test_a_margin_is_the_share_left_or_the_excess(value, limit, told) -> None:  # type: ignore[no-untyped-def]
    assert margin(value, limit).startswith(told)


def test_the_figures_are_a_table_with_limits_bounds_and_margins() -> None:
    one = series([1e-3] * 500 + [1.5e-3])
    checks = tuple(decide(bound, one) for bound in (p99 <= 2 * ms, max <= 1 * ms, p99 <= 3 * us))
    page = figures_page([MeasuredSeries(series([5.0])), MeasuredSeries(one, checks)])
    is_closed(page)
    rows = Page(page).rows
    assert rows[0] == list(COLUMNS)
    assert rows[1][:6] == ["p99", "1 ms", "1 ms .. 1 ms", "at most 2 ms", "50 % left", "pass"]
    assert (rows[2][0], rows[2][1], rows[2][5]) == ("max", "1.5 ms", "fail")
    assert rows[2][4].startswith("50 %")
    assert rows[3][5] == "inconclusive"
    assert rows[3][6]
    assert [row[0] for row in rows[4:6]] == ["min", "p50"], "figures without a bound"
    for fact in ("n = 501", "guest counter", "16 ns", "noise floor 1 us", "95 %"):
        assert fact in page
    assert (rows[7][0], rows[7][1], rows[7][3]) == ("min", "5 s", "")
    assert rows[8][:3] == ["p50", "5 s", "? .. ?"], "one sample has no limits"
    assert page.index("n = 501") < page.index("n = 1;"), "what was judged comes first"


def test_an_exact_clock_has_no_limits() -> None:
    page = figures_page([MeasuredSeries(series([1e-3, 2e-3], exact=True))])
    assert {row[2] for row in Page(page).rows[1:]} == {"exact"}
    assert "noise floor none" in page


def test_the_baseline_is_told_in_words_and_drawn(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    attached: list[tuple[str, str]] = []
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.append((name, body)))
    random = np.random.default_rng(1)
    old, new = series(1e-3 + 1e-5 * random.random(300)), series(2e-3 + 1e-5 * random.random(200))
    baselines = Baselines(tmp_path)
    baselines.record([old])
    checks = (decide(p99 <= 9 * ms, new),)
    hil.report.evidence.attach_figures([(new, checks), (new, ())], tmp_path / "results.jsonl", baselines)
    names = [name.partition(":")[0] for name, _ in attached]
    assert names == ["figures", "histogram", "timeline", "percentiles", "samples", "samples"]
    told = attached[0][1]
    assert '<span class="bad">different</span>' in told
    assert "1 ms (+99" in told or "1 ms (+100" in told
    assert all("baseline, n = 300" in body for name, body in attached[1:3] for _ in name)
    assert attached[4][1].startswith("sample,s\n1,0.002")


def test_without_a_baseline_or_with_a_broken_one_the_figures_stand(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    attached: dict[str, str] = {}
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.setdefault(name.partition(":")[0], body))
    one, baselines = series([1e-3] * 9), Baselines(tmp_path)
    hil.report.evidence.attach_figures([(one, ())], tmp_path, baselines)
    assert "no baseline" in attached["figures"]
    assert set(attached) == {"figures", "samples"}, "no pictures of what nobody judged"
    (path,) = baselines.record([one])
    path.write_text("{}")
    attached.clear()
    hil.report.evidence.attach_figures([(one, ())], tmp_path, baselines)
    assert f"baseline: {path}:1: " in attached["figures"]
    assert "p99" in attached["figures"]


def test_many_samples_are_left_to_the_results_file(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    attached: dict[str, str] = {}
    monkeypatch.setattr("allure.attach", lambda body, name, *_: attached.setdefault(name.partition(":")[0], body))
    monkeypatch.setattr(hil.report.evidence, "SAMPLES", 3)
    hil.report.evidence.attach_figures([(series([1.0] * 4), ())], tmp_path / "r.jsonl", Baselines(tmp_path))
    assert attached["samples"].startswith("4 samples")
    assert f"{tmp_path}/r.jsonl" in attached["samples"]


# the command


def test_the_command_is_for_a_shell_and_names_what_must_be_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    modules = (
        repeat.Deployed("a.wasm", "ab" * 32, str(tmp_path / "a b.wasm"), ("-x", "$HOME")),
        repeat.Deployed("made", "cd" * 32, ""),
    )
    ran = repeat.Ran(
        "t.py::test[it's $x]", ("--board", "b"), tmp_path, "b", "img", "ef" * 32, 3, modules, {"QEMU": "9"}
    )
    text = str(ran)
    assert text.splitlines()[0] == f"# in {tmp_path}"
    assert shlex.split(text.splitlines()[1]) == ["pytest", "t.py::test[it's $x]", "--board", "b"]
    assert f"image      img sha256 {'ef' * 32}" in text
    assert f"module     made sha256 {'cd' * 32} (made by the test)" in text
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("hil ")]
    assert commands == [
        ["hil", "image", "info", "img"],
        ["hil", "run", "--board", "b", "--image", "img", "--seed", "3", "--", "a b.wasm", "-x", "$HOME"],
    ]
    assert "framework" in text


def test_a_commit_is_that_of_the_directory(tmp_path) -> None:  # type: ignore[no-untyped-def]
    assert repeat.commit(tmp_path) == "" or repeat.commit(tmp_path) == repeat.commit(tmp_path.parent)
    assert repeat.commit(tmp_path / "nowhere") == ""


# all of it, of tests that run


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run pytest within this process with Allure on the stub, and give what is attached to each test."""
    # labgrid's own plugin can be loaded once a process only
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr("hil.plugin.session.Session._check_health", lambda session, board: None)
    stub_board(pytester.path)

    def act(*options: str) -> tuple[pytest.RunResult, dict[str, dict[str, str]]]:
        results = pytester.path / "results"
        for path in results.glob("*"):
            path.unlink()
        plugins = ("hil.plugin", "allure_pytest.plugin", "no:cacheprovider")
        loaded = [word for plugin in plugins for word in ("-p", plugin)]
        result = pytester.runpytest_inprocess(*loaded, "--alluredir", "results", *options)
        found: dict[str, dict[str, str]] = {}
        for path in results.glob("*-result.json"):
            told = json.loads(path.read_text())
            test = told["fullName"].rpartition("#")[2]
            attached = found.setdefault(test, {})
            for one in told.get("attachments", []):
                attached[one["name"]] = (results / one["source"]).read_text()
        return result, found

    return act


TESTS = """
import pytest
def test_passes(board, console):
    console.write(b"ab\\n")
    console.wait_for(b"# ", timeout=10)
@pytest.mark.parametrize("text", ["it's", "a b"])
def test_fails(board, console, text):
    console.write(b"ab\\n")
    console.wait_for(b"# ", timeout=10)
    assert not text, "<script>"
def test_boots(board):
    board.boot()
    assert False
def test_without(request): pass
"""


def test_each_test_has_what_a_reviewer_needs_first_things_first(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=TESTS)
    result, found = run("--board", "stub.yaml", "--no-snapshots")
    result.assert_outcomes(passed=2, failed=3)
    assert list(found["test_passes"]) == ["repeat this test", "console", "console.cast"]
    assert found["test_without"] == {}
    failing = found["test_fails"]
    assert [name for name in failing if name != "console, played"] == ["repeat this test", "console", "console.cast"]
    (row,) = (row for row in Page(failing["console"]).rows if row[2] == "fail")
    assert "AssertionError: <script>" in row[-1]
    is_closed(failing["console"], asset("console.js"))
    boots = found["test_boots"]
    assert "console 2" in boots
    staged = [row for row in Page(boots["console 2"]).rows if row[3:4] in (["stage"], ["fail"])]
    assert "stage start, " in "".join(row[-1] for row in staged)
    assert 'class="typed"' in boots["console 2"], "the login"
    assert sum(map(len, found["test_passes"].values())) < 40_000


def test_the_attached_command_repeats_the_test(run, pytester, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=TESTS)
    _, found = run(
        "--board", "./stub.yaml", "--no-snapshots", "--fault-seed", "7", "--repeat", "2", "-k", "fails or passes"
    )
    for test, outcome in (("test_passes", "passed"), ("test_fails", "failed")):
        lines = found[test]["repeat this test"].splitlines()
        assert lines[0] == f"# in {pytester.path}"
        word, *arguments = shlex.split(lines[1])
        assert word == "pytest"
        assert arguments[1:] == ["--board", "stub.yaml", "--no-snapshots", "--fault-seed", "7"]
        result, again = run(*arguments)
        result.assert_outcomes(**{outcome: 1})
        assert list(again) == [test]
        assert again[test]["repeat this test"].splitlines()[1] == lines[1], "and so on"


def test_a_boot_that_fails_shows_its_console_and_how_to_try_again(run, pytester) -> None:  # type: ignore[no-untyped-def]
    text = (pytester.path / "stub.toml").read_text()
    text = text.replace('name = "shell"\nmarker = "# "\nlimit = 20', 'name = "shell"\nmarker = "never"\nlimit = 0.5')
    (pytester.path / "stub.toml").write_text(text)
    pytester.makepyfile(test_it="def test_x(board): pass")
    result, found = run("--board", "stub.yaml", "--no-snapshots")
    result.assert_outcomes(errors=1)
    attached = found["test_x"]
    assert list(attached)[:2] == ["repeat this test", "console"]
    assert "pytest 'test_it.py::test_x[stub]' --board stub.yaml --no-snapshots" in attached["repeat this test"]
    rows = Page(attached["console"]).rows
    assert "stage start" in next(row for row in rows if row[-2] == "stage")[-1]
    assert "stage shell" in next(row for row in rows if row[-2] == "fail")[-1]


def test_what_a_dead_board_showed_is_attached_once(run, pytester) -> None:  # type: ignore[no-untyped-def]
    text = (
        (pytester.path / "stub.toml")
        .read_text()
        .replace('marker = "stub starts"\nlimit = 20', 'marker = "x"\nlimit = 0.3')
    )
    (pytester.path / "stub.toml").write_text(text)
    pytester.makepyfile(test_it="".join(f"def test_{number}(board): pass\n" for number in range(4)))
    _, found = run("--board", "stub.yaml", "--no-snapshots")
    assert sum("repeat this test" in attached for attached in found.values()) == 4
    assert sum("console" in attached for attached in found.values()) == 2, "of the two boots; then it is dead"


def test_a_page_that_cannot_be_made_does_not_end_the_run(run, pytester, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def broken(*_: object, **__: object) -> None:
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr("hil.report.evidence.attach_console", broken)
    pytester.makepyfile(test_it=TESTS)
    result, found = run("--board", "stub.yaml", "--no-snapshots", "-k", "passes or fails")
    result.assert_outcomes(passed=1, failed=2, warnings=result.parseoutcomes().get("warnings"))
    result.stdout.fnmatch_lines(["*test_passes*OSError: *the disk is gone*"])
    assert list(found["test_passes"]) == ["repeat this test"]


def test_a_board_that_is_not_there_is_told_with_the_command(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it="def test_x(board): pass")
    (pytester.path / "nowhere.yaml").write_text(UNUSED_BOARD)
    _, found = run("--board", "nowhere.yaml")
    assert list(found["test_x"]) == ["repeat this test"]
    assert "--board nowhere.yaml" in found["test_x"]["repeat this test"]


SEEDS = """
from hil.plugin.page import repeat_options as options
from hil.plugin.selection import BoardSelection
def test_x(request):
    config = request.config
    assert list(options(config, BoardSelection("b", 3, 5))) == ["--board", "b", "--clock", "virtual", "--seed", "3"]
    assert list(options(config, BoardSelection("place:box-1"))) == ["--board", "place:box-1"]
"""


def test_a_seed_and_a_place_are_named(run, pytester) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=SEEDS)
    result, _ = run("--board", "stub.yaml")
    result.assert_outcomes(passed=1)


MEASURES = """
import pytest
from hil.measure import Clock, Series, p50, ms
from hil.plugin.record import record_of
from hil.plugin.session import SESSION
@pytest.fixture
def measured(request, board):
    measure = request.config.stash[SESSION].measure(board)
    record_of(request.node).measure = measure
    return measure
def test_kept(measured):
    measured.derived(Series("a", "b", [1e-3] * 20, Clock("guest counter", 1e-9, floor=0.0)))
def test_judged(measured):
    measured.check(Series("a", "b", [1e-3] * 20, Clock("guest counter", 1e-9, floor=0.0)), p50 <= 0.5 * ms)
"""


def test_figures_are_on_the_page_of_the_test_that_took_them(run, pytester, tmp_path) -> None:  # type: ignore[no-untyped-def]
    pytester.makepyfile(test_it=MEASURES)
    result, found = run("--board", "stub.yaml", "--no-snapshots", "--baselines", str(tmp_path))
    result.assert_outcomes(passed=1, failed=1)
    assert [name.partition(":")[0] for name in found["test_kept"]] == ["repeat this test", "figures", "samples"]
    judged = [name.partition(":")[0] for name in found["test_judged"] if name != "console, played"]
    assert judged == ["repeat this test", "console", "figures", "histogram", "timeline", "percentiles", "samples"]
    assert "2 times the limit" in found["test_judged"]["figures"]
    arguments = shlex.split(found["test_judged"]["repeat this test"].splitlines()[1])
    given = arguments[arguments.index("--baselines") + 1]
    assert (pytester.path.parent / given).samefile(tmp_path)
