"""The page of a test's console, and its cast: no console breaks them."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_pages import HOSTILE, MS, PATTERNS, REFERENCE, Page, is_closed, recorded, whole

from hil.console.lines import FOLDED
from hil.console.recording import Recording, span
from hil.errors import ConfigurationError
from hil.report import console, generator, player
from hil.report.console import Mark
from hil.report.console_page import console_page, grouped
from hil.report.templates import asset, digest

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
    def not_installed() -> None:
        raise ConfigurationError("not installed")

    monkeypatch.setattr(generator, "modules", not_installed)
    player._player.cache_clear()
    assert player.player_page("{}", "x") is None, "a run does without"
    monkeypatch.setattr(generator, "modules", lambda: tmp_path)
    bundle = tmp_path / "asciinema-player" / "dist" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "asciinema-player.min.js").write_text("var AsciinemaPlayer = {};")
    (bundle / "asciinema-player.css").write_text("div.ap{color:red}")
    transcript = recorded(tmp_path / "t", ("<", HOSTILE))
    cast = player.cast(whole(transcript), "</title><script>") or ""
    page = player.player_page(cast, "</title><script>") or ""
    player._player.cache_clear()
    scripts = Page(page).texts["script"]
    is_closed(page, *scripts)
    assert json.loads(scripts[0]) == cast
    assert len(scripts) == 3
    assert scripts[2] == asset("player.js")
    assert digest("var AsciinemaPlayer = {};") in page
    assert "'wasm-unsafe-eval'" in page
