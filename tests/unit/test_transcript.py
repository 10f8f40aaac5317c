"""A recorded console reads the same however its bytes came in."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import processor_time
from support import Wire

from hil.console import Transcript, transcript
from hil.console.lines import folded, printable, texts
from hil.console.listing import rows
from hil.console.recording import Recording
from hil.console.transcript import default_directory
from hil.errors import ConfigurationError, InfrastructureError

chunkings = st.lists(
    st.one_of(st.binary(min_size=1, max_size=30), st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\r\n", b"abc\r\n"])),
    max_size=25,
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transcripts")


def record(made: Transcript, *chunks: bytes, start_ns: int = 1000) -> None:
    """What the pump does, with a stamp that counts up by 10 ns."""
    with made.path.open("ab") as raw, made.index_path.open("ab") as index:
        for number, chunk in enumerate(chunks):
            raw.write(chunk)
            index.write(b"%d\t<\t%d\n" % (start_ns + 10 * number, len(chunk)))
    made.refresh()


@given(chunkings)
def test_any_chunking_gives_the_same_lines_and_each_byte_its_chunk_s_time(directory: Path, chunks: list[bytes]) -> None:
    data = b"".join(chunks)
    made = Transcript.create(directory, "any")
    record(made, *chunks)
    assert made.size == len(data)
    assert made.read(0, len(data)) == data
    stamps = [1000 + 10 * number for number, chunk in enumerate(chunks) for _ in chunk]
    assert [made.time_at(offset) for offset in range(len(data))] == stamps
    lines = list(made.lines())
    texts = re.split(rb"\r*\n", data)
    assert [line.text for line in lines] == [printable(text) for text in (texts if texts[-1] else texts[:-1])]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert all(line.time_ns == stamps[line.offset] for line in lines)
    assert all(made.line_number(line.offset) == line.number for line in lines)
    made.close()


@given(chunkings, st.data())
def test_an_index_read_in_pieces_is_the_same_index(directory: Path, chunks: list[bytes], data: st.DataObject) -> None:
    whole = Transcript.create(directory, "whole")
    record(whole, *chunks)
    index = whole.index_path.read_bytes()
    cut = data.draw(st.integers(0, len(index)))
    growing = Transcript.create(directory, "growing")
    growing.path.write_bytes(whole.path.read_bytes())
    for piece in (index[:cut], index[cut:]):
        with growing.index_path.open("ab") as file:
            file.write(piece)
        growing.refresh()
    assert growing.size == whole.size
    assert [growing.time_at(at) for at in range(growing.size)] == [whole.time_at(at) for at in range(whole.size)]
    for made in (whole, growing):
        made.close()


def test_what_came_just_before_something_was_sent_is_not_lost(tmp_path: Path) -> None:
    made = Transcript.create(tmp_path, "both")
    with made.path.open("ab") as raw, made.index_path.open("ab") as index:
        raw.write(b"came\n")
        index.write(b"1000\t<\t5\n")
    made.sent(b"typed\n")
    made.refresh()
    record(made, b"more\n", start_ns=2000)
    assert made.size == 10


@given(st.binary(max_size=200))
def test_printable_hides_every_control_character(data: bytes) -> None:
    text = printable(data)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
    text.encode()


def test_printable_keeps_what_a_reader_reads() -> None:
    assert printable("größer\tals".encode()) == "größer\tals"
    assert printable(b"\x1b[31mred\x00\xff") == "\\x1b[31mred\\x00\\xff"


def test_lines_across_the_reader_s_blocks(tmp_path: Path) -> None:
    made = Transcript.create(tmp_path, "big")
    block = 1 << 20
    record(made, b"x" * (block - 1) + b"\r", b"\nsecond\r\n" + b"y" * (2 * block) + b"\nlast")
    assert [(line.number, line.offset, len(line.text)) for line in made.lines()] == [
        (1, 0, block - 1),
        (2, block + 1, 6),
        (3, block + 9, 2 * block),
        (4, 3 * block + 10, 4),
    ]
    assert [line.text for line in made.lines(block + 1, block + 7, first=2)] == ["second"]


def test_a_flood_of_carriage_returns_is_read_in_no_time(tmp_path: Path) -> None:
    made = Transcript.create(tmp_path, "cr")
    record(made, b"\r" * (1 << 20) + b"x\r\r\n")
    with processor_time() as spent:
        assert [line.text[-5:] for line in made.lines()] == ["\\r\\rx"]
        assert len(made.tail()) == 1
    assert spent() < 20


def test_tail_gives_the_last_lines_that_say_something(tmp_path: Path) -> None:
    made = Transcript.create(tmp_path, "tail")
    record(made, b"one\r\n\r\n  \r\ntwo\r\n" + b"w" * 300 + b"\r\n# ")
    assert made.tail(2) == ("w" * 200, "# ")
    assert made.tail() == ("one", "two", "w" * 200, "# ")
    assert made.tail(start=10) == ("two", "w" * 200, "# ")


def test_times_of_old_bytes_are_found_when_memory_has_let_go_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transcript, "STAMPS_IN_MEMORY", 4)
    made = Transcript.create(tmp_path, "long")
    for number in range(50):
        record(made, b"ab", start_ns=number)
        assert len(made._ends) <= 8, "memory is bounded"
        made.sent(b"typed\tin between\n")
    made.refresh()
    assert [made.time_at(2 * number + 1) for number in range(50)] == list(range(50))


@pytest.mark.parametrize("offset", [-1, 3, 99])
def test_no_time_outside_the_transcript(tmp_path: Path, offset: int) -> None:
    made = Transcript.create(tmp_path, "short")
    record(made, b"abc")
    with pytest.raises(IndexError, match="3 bytes"):
        made.time_at(offset)


@given(st.binary(max_size=100))
def test_sent_bytes_are_recorded_and_do_not_count_as_received(directory: Path, data: bytes) -> None:
    made = Transcript.create(directory, "sent")
    record(made, b"abc")
    made.sent(data)
    made.refresh()
    assert made.size == 3
    stamp, kind, value = made.index_path.read_text().splitlines()[-1].split("\t", 2)
    assert int(stamp) > 0
    assert (kind, json.loads(value).encode("latin-1")) == (">", data)
    made.close()


def test_the_end_is_recorded_with_its_reason(tmp_path: Path) -> None:
    made = Transcript.create(tmp_path, "end")
    assert made.closed is None
    with made.index_path.open("a") as index:
        index.write("5\t!\tConnection reset by peer\n")
    assert made.refresh()
    assert made.closed == "Connection reset by peer"
    assert not made.refresh()


def test_names_do_not_collide(tmp_path: Path) -> None:
    assert len({Transcript.create(tmp_path / "new", "board").path for _ in range(20)}) == 20
    assert all(path.name.startswith("board-") for path in (tmp_path / "new").iterdir())


def test_a_directory_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match=r"(?s)/file\b.*HIL_TRANSCRIPTS") as caught:
        Transcript.create(tmp_path / "file", "board")
    assert "File exists" in str(caught.value) or "Not a directory" in str(caught.value)


def test_half_a_pair_is_a_clear_error_and_leaks_nothing(tmp_path: Path) -> None:
    (tmp_path / "alone.raw").touch()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConfigurationError, match=r"alone\.raw: No such file"):
        Transcript(tmp_path / "alone.raw")
    assert os.listdir("/proc/self/fd") == before


def test_transcripts_go_where_the_user_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", "/somewhere")
    assert default_directory() == Path("/somewhere")
    monkeypatch.delenv("HIL_TRANSCRIPTS")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert default_directory() == Path("/state/hil/transcripts")
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    assert default_directory() == Path.home() / ".local/state/hil/transcripts"


def test_the_last_lines_have_files_on_one_line() -> None:
    data = ["A1b+" * 19, "Zz/9" * 19, "abcd" * 19, "QQ=="]
    assert folded(["$ x", *data, "$ y"]) == ["$ x", "(4 lines of a file as base64)", "$ y"]
    assert folded([*data[:3], "> ."]) == ["(4 lines of a file as base64)"]
    assert folded(data[:2]) == data[:2], "too few to hide"
    assert folded(["abcd", "efgh", "ijkl"]) == ["abcd", "efgh", "ijkl"], "words"
    assert folded([]) == []
    noise = texts(random.Random(1).randbytes(3000))
    assert folded(["$ x", *noise, "@end@"]) == ["$ x", f"({len(noise)} lines of a file as it is)", "@end@"]
    said = ["error: board lost power", "FAILED", "again"]
    assert folded([*noise, *said, *noise])[1:-1] == said, "text between two files"
    colours = ["\\x1b[1;32mOK\\x1b[0m"] * 5
    assert folded(colours) == colours


def test_bytes_of_a_file_are_recorded_and_listed_on_one_line(wire: Wire) -> None:
    data = random.Random(1).randbytes(4000) + b"\x85\n"
    wire.console.write(data)
    wire.console.write(b"\x03\nls\n")
    recording = Recording(wire.console.transcript.path)
    assert [event.data for event in recording.sent()] == [data, b"\x03\nls\n"]
    index = wire.console.transcript.index_path.read_text()
    assert len(index.encode()) < 2.5 * len(data)
    assert len(index.splitlines()) == 3
    shown = [row.text for row in rows(wire.console.transcript.path, sent=True)]
    assert shown == [f"({len(data)} bytes of a file as they are)", "\\x03", "ls"]
