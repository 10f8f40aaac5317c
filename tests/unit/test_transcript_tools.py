"""Transcripts read from their files: shown, searched, exported, played to a terminal."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from support import QUICK

from hil.cli import main
from hil.console import Transcript, asciicast
from hil.console.lines import Line, lines
from hil.console.recording import Recording, merged
from hil.console.replay import paced

SECOND = 1_000_000_000
BEGIN = 7 * SECOND


def record(directory: Path, *events: tuple[float, str, Any], name: str = "board") -> Path:
    """A transcript of (seconds, kind, bytes or text), as pump and console write it."""
    raw, index = b"", []
    for seconds, kind, value in events:
        told = {"<": len, ">": lambda data: json.dumps(data.decode("latin-1"))}.get(kind, str)(value)
        raw += value if kind == "<" else b""
        index.append(f"{BEGIN + round(seconds * SECOND)}\t{kind}\t{told}\n")
    path = directory / f"{name}.raw"
    path.write_bytes(raw)
    path.with_suffix(".tsv").write_text("".join(index))
    return path


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    return record(
        tmp_path,
        (-0.5, "@", "1700000000.250"),
        (0, "<", b"Xen 4.17\r\n"),
        (1.25, "<", b"login: "),
        (2, ">", b"root\n"),
        (2.125, "<", b"root\r\n\x1b[6n# "),
        (3, ">", b"cat <<.\ntwo\n.\n\x03"),
        (3.5, "<", b"gr\xc3\xb6\xc3"),
        (3.625, "<", b"\x9fer\xff\n"),
        (4, "!", "eof"),
    )


def hil(*words: str | Path) -> Result:
    result = CliRunner().invoke(main, ["transcript", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


chunks = st.lists(
    st.one_of(st.binary(min_size=1, max_size=20), st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\r\n", b"ab\r\n"])),
    max_size=20,
)


@given(chunks, st.sets(st.integers(0, 20)))
def test_a_recording_has_the_lines_that_the_live_transcript_had(
    tmp_path_factory: pytest.TempPathFactory, received: list[bytes], typed: set[int]
) -> None:
    path = record(
        tmp_path_factory.mktemp("lines"),
        *itertools.chain.from_iterable(
            [(number, "<", data), *([(number + 0.5, ">", b"x\n")] if number in typed else [])]
            for number, data in enumerate(received)
        ),
    )
    live = Transcript(path)
    live.refresh()
    entries = list(lines(Recording(path).events()))
    assert [entry for entry in entries if isinstance(entry, Line)] == list(live.lines())
    stamps = [entry.time_ns for entry in entries]
    assert stamps == sorted(stamps), "what was sent stands where its time is"
    assert sum(not isinstance(entry, Line) for entry in entries) == len(typed & set(range(len(received))))
    live.close()


@given(chunks, st.sampled_from([None, 0, 15 * SECOND // 10]))
def test_merged_chunks_are_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, received: list[bytes], within_ns: int | None
) -> None:
    path = record(tmp_path_factory.mktemp("merged"), *((number, "<", data) for number, data in enumerate(received)))
    events = list(merged(Recording(path).events(), within_ns))
    assert b"".join(event.data for event in events) == b"".join(received)
    assert [event.start for event in events] == [0, *itertools.accumulate(len(event.data) for event in events)][:-1]
    expected = {None: min(1, len(received)), 0: len(received), 15 * SECOND // 10: (len(received) + 1) // 2}
    assert len(events) == expected[within_ns]


def test_show_numbers_times_and_tames_the_lines(boot: Path) -> None:
    shown = hil("show", boot)
    assert shown.exit_code == 0
    assert shown.stdout.splitlines() == [
        "     1     0.000  Xen 4.17",
        "     2     1.250  login: root",
        "     3     2.125  \\x1b[6n# grö\xdfer\\xff",
    ]


@pytest.mark.parametrize("name", ["board.raw", "board.tsv", "board"])
def test_any_of_its_names_will_do(boot: Path, name: str) -> None:
    assert "login: root" in hil("show", boot.with_name(name)).stdout


def test_what_was_sent_is_marked(boot: Path) -> None:
    shown = hil("show", boot, "--sent", "--times")
    assert shown.stdout.splitlines() == [
        "     1     0.000            Xen 4.17",
        "     2     1.250    +1.250  login: root",
        "     >     2.000    +0.750  root",
        "     3     2.125    +0.125  \\x1b[6n# grö\xdfer\\xff",
        "     >     3.000    +0.875  cat <<.",
        "     >     3.000    +0.875  two",
        "     >     3.000    +0.875  .",
        "     >     3.000    +0.875  \\x03",
    ]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--from", "2"], [2, 3]),
        (["--to", "2"], [1, 2]),
        (["--from", "2", "--to", "2"], [2]),
        (["--from", "1.2s"], [2, 3]),
        (["--to", "1.25s"], [1, 2]),
        (["--from", "1s", "--to", "2"], [2]),
        (["--from", "9"], []),
    ],
)
def test_a_part_is_shown(boot: Path, options: list[str], numbers: list[int]) -> None:
    told = json.loads(hil("show", boot, "--json", *options).stdout)
    assert [row["line"] for row in told] == numbers


def test_json_has_both_directions(boot: Path) -> None:
    told = json.loads(hil("show", boot, "--json", "--sent", "--to", "2s").stdout)
    assert told == [
        {"seconds": 0.0, "line": 1, "text": "Xen 4.17"},
        {"seconds": 1.25, "line": 2, "text": "login: root"},
        {"seconds": 2.0, "sent": "root"},
    ]


@pytest.mark.parametrize("other", [None, "0.104\tELF-loader started\n", ""])
def test_received_bytes_alone_have_lines_but_no_times(tmp_path: Path, other: str | None) -> None:
    path = tmp_path / "alone.raw"
    path.write_bytes(b"one\r\ntwo\r\n")
    if other is not None:
        path.with_suffix(".tsv").write_text(other)
    assert hil("show", path).stdout.splitlines() == ["     1         -  one", "     2         -  two"]
    assert [row["seconds"] for row in json.loads(hil("show", path, "--json").stdout)] == [None, None]
    assert hil("grep", "two", path).stdout == f"{path}:2:-:two\n"
    refused = hil("show", path, "--from", "1s")
    assert refused.exit_code == 2
    assert str(path) in refused.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show", "nothing"], "nothing"),
        (["show", "."], "."),
        (["show", "x", "--from", "now"], "'now'"),
        (["grep", "[", "x"], "'['"),
        (["grep", "x"], "FILE"),
        (["export", "nothing"], "nothing"),
        (["export", "x", "--idle-limit", "0"], "--idle-limit"),
        (["replay", "nothing"], "nothing"),
        (["replay", "x", "--speed", "-1"], "--speed"),
    ],
)
def test_bad_input_is_told_with_status_2(words: list[str], told: str) -> None:
    result = hil(*words)
    assert result.exit_code == 2
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "row", ["nonsense", "12\t<\tmany", "12\t<", "x\t<\t3", "12\t>\tnot json", '12\t>\t"\u20ac"', "12\t>\t3", "12\t@\tx"]
)
def test_a_broken_index_is_told_with_its_line(boot: Path, row: str) -> None:
    index = boot.with_suffix(".tsv")
    lines = index.read_text().splitlines()
    index.write_text("\n".join([*lines[:3], row, *lines[3:]]) + "\n")
    result = hil("show", boot)
    assert result.exit_code == 2
    assert f"{index}:4:" in result.stderr


def test_bytes_that_are_missing_are_told(boot: Path) -> None:
    boot.write_bytes(boot.read_bytes()[:12])
    result = hil("show", boot)
    assert result.exit_code == 2
    assert f"{boot} ends at byte 12" in result.stderr
    assert f"{boot.with_suffix('.tsv')}:3" in result.stderr


def test_a_transcript_can_be_read_while_it_is_written(boot: Path) -> None:
    with boot.with_suffix(".tsv").open("a") as index, boot.open("ab") as raw:
        index.write(f"{BEGIN}\t<\t1")  # the rest of the record is not there yet
        raw.write(b"tail\n")
    assert hil("show", boot).stdout.splitlines()[-1].endswith("  tail")


def test_grep_prints_file_line_seconds_text(boot: Path) -> None:
    found = hil("grep", r"^lo.*: \w", boot)
    assert (found.exit_code, found.stdout) == (0, f"{boot}:2:1.250:login: root\n")
    assert hil("grep", "LOGIN", boot).exit_code == 1
    assert hil("grep", "-i", "LOGIN", boot).exit_code == 0
    assert hil("grep", "xyz", boot, boot).stdout == ""


def test_grep_with_context_repeats_no_line_and_shows_where_some_are_missing(tmp_path: Path) -> None:
    texts = ["a", "HIT", "b", "c", "HIT", "HIT", "d", "e", "f", "g", "h", "HIT"]
    path = record(tmp_path, *((number, "<", text.encode() + b"\n") for number, text in enumerate(texts, 1)))
    shown = hil("grep", "-C", "1", "HIT", path).stdout.replace(str(path), "F").splitlines()
    assert shown == [
        *("F-1-0.000-a", "F:2:1.000:HIT", "F-3-2.000-b", "F-4-3.000-c"),
        *("F:5:4.000:HIT", "F:6:5.000:HIT", "F-7-6.000-d", "--", "F-11-10.000-h", "F:12:11.000:HIT"),
    ]


def test_grep_goes_on_after_a_file_that_cannot_be_read(boot: Path, tmp_path: Path) -> None:
    found = hil("grep", "login", tmp_path / "nothing.raw", boot)
    assert found.exit_code == 2
    assert "ConfigurationError" in found.stderr
    assert found.stdout == f"{boot}:2:1.250:login: root\n"


def cast(text: str) -> tuple[dict[str, Any], list[tuple[float, str, str]]]:
    """An asciicast read as strictly as its specification (version 2) is written."""
    assert text.endswith("\n")
    first, *rest = [json.loads(line) for line in text.splitlines()]
    assert first["version"] == 2
    for key in ("width", "height", "timestamp"):
        assert isinstance(first[key], int)
        assert first[key] > 0
    assert isinstance(first["title"], str)
    assert set(first) <= {"version", "width", "height", "timestamp", "title", "idle_time_limit"}
    before = 0.0
    events = []
    for event in rest:
        assert isinstance(event, list)
        assert len(event) == 3
        seconds, code, data = event
        assert isinstance(seconds, float | int)
        assert seconds >= before
        assert code in ("o", "i")
        assert isinstance(data, str)
        assert data
        data.encode("utf-8")  # no lone surrogates
        before = seconds
        events.append((seconds, code, data))
    return first, events


def test_an_export_is_a_valid_asciicast(boot: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.cast"
    made = hil("export", boot, "-o", out, "--title", "A boot")
    assert (made.exit_code, made.stdout.strip()) == (0, str(out))
    header, events = cast(out.read_text("utf-8"))
    assert header == {"version": 2, "width": 80, "height": 24, "timestamp": 1700000000, "title": "A boot"}
    assert events == [
        (0, "o", "Xen 4.17\r\n"),
        (1.25, "o", "login: "),
        (2, "i", "root\n"),
        (2.125, "o", "root\r\n\x1b[6n# "),
        (3, "i", "cat <<.\ntwo\n.\n\x03"),
        (3.5, "o", "grö"),
        (3.625, "o", "ßer\ufffd\r\n"),
    ]
    assert list(tmp_path.glob(".*.new")) == []


def test_pauses_are_kept_and_the_player_may_cut_them(boot: Path) -> None:
    whole, limited = hil("export", boot, "-o", "-"), hil("export", boot, "-o", "-", "--idle-limit", "0.5")
    assert "idle_time_limit" not in cast(whole.stdout)[0]
    assert cast(limited.stdout)[0]["idle_time_limit"] == 0.5
    assert cast(limited.stdout)[1] == cast(whole.stdout)[1]


@given(chunks)
def test_any_bytes_make_a_valid_cast_without_stairs(
    tmp_path_factory: pytest.TempPathFactory, received: list[bytes]
) -> None:
    path = record(tmp_path_factory.mktemp("cast"), *((number, "<", data) for number, data in enumerate(received)))
    _, events = cast("".join(line + "\n" for line in asciicast.lines(Recording(path))))
    text = "".join(data for _, _, data in events)
    assert text.replace("\r\n", "\n") == b"".join(received).decode("utf-8", "replace").replace("\r\n", "\n")
    assert "\n" not in text.replace("\r\n", "")


def test_stamps_out_of_order_do_not_go_back_in_the_cast(tmp_path: Path) -> None:
    path = record(tmp_path, (0, "<", b"a"), (1.0, ">", b"x"), (0.9, "<", b"b"))
    assert [event[0] for event in cast("\n".join(asciicast.lines(Recording(path))) + "\n")[1]] == [0, 1, 1]


def test_a_cast_that_cannot_be_written_leaves_nothing(boot: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    before = set(tmp_path.iterdir())
    for out in (tmp_path / "none" / "out.cast", tmp_path / "taken"):
        result = hil("export", boot, "-o", out)
        assert result.exit_code == 1
        assert str(out) in result.stderr
    boot.with_suffix(".tsv").write_text(boot.with_suffix(".tsv").read_text() + "rubbish\n")
    assert hil("export", boot, "-o", tmp_path / "bad.cast").exit_code == 2
    assert set(tmp_path.iterdir()) == before


def test_a_replay_is_the_received_bytes(boot: Path) -> None:
    played = hil("replay", boot, "--speed", "0")
    assert played.exit_code == 0
    assert played.stdout_bytes == boot.read_bytes()


def test_a_replay_keeps_the_pace_and_rests_in_between(tmp_path: Path) -> None:
    path = record(tmp_path, (0, "<", b"a"), (0.4, "<", b"b"), (0.8, "<", b"c"))
    begin, busy = time.monotonic(), time.process_time()
    times = [time.monotonic() - begin for _ in paced(Recording(path), 2)]
    for measured, due in zip(times, (0, 0.2, 0.4), strict=True):
        assert due - 0.001 <= measured < due + 0.15
    assert time.process_time() - busy < 0.2


def test_ctrl_c_ends_a_replay(tmp_path: Path) -> None:
    path = record(tmp_path, (0, "<", b"first"), (3600, "<", b"last"))
    code = "from hil.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "transcript", "replay", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert os.read(process.stdout.fileno(), 100) == b"first"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=QUICK) == (b"", b"")
        assert process.returncode == 130
    finally:
        process.kill()
        process.communicate()
