"""Results files: what comes back, what a killed writer leaves, the errors of a broken file."""

from __future__ import annotations

import json
import math
import random
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from limits import HANG

from hil import Clock, Series, maximum, ms, p99, percent
from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.decision import decide
from hil.measure.results import CheckResult, digest, load, read, write

CLOCK = Clock("guest counter", 16e-9, "CNTVCT_EL0", 1.2e-5)
PROVENANCE = {"board": "qemu-reference", "module": "hello.wasm " + "a" * 64}
HEADER = '{"hil-results": 1}'
LINE = json.dumps(
    {"quantity": "q", "subject": "s", "unit": "s", "clock": {"name": "c", "resolution": 1e-9}, "samples": [1.0, 2]}
)


def series(*samples: float, quantity: str = "response time", clock: Clock = CLOCK, **more: object) -> Series:
    return Series(quantity, "hello.wasm", samples, clock, provenance=PROVENANCE, **more)  # type: ignore[arg-type]


def bits(values: object) -> bytes:
    return np.asarray(values, dtype=np.float64).tobytes()


def test_a_series_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    one = series(0.1, 0.2, times=[0.0, 1 / 3], offsets=[10, 10**12], interim_analyses=3)
    two = series(0.5, unit="1", quantity="miss rate \N{GREEK SMALL LETTER SIGMA}", clock=Clock("host", 1e-9))
    write(path, one, facts={"board": "b"})
    write(path, two)
    loaded = load(path)
    assert loaded.facts == {"board": "b"}
    assert loaded.torn == ""
    for before, after in zip((one, two), loaded.series, strict=True):
        assert (after.quantity, after.subject, after.unit) == (before.quantity, before.subject, before.unit)
        assert (after.clock, after.provenance) == (before.clock, before.provenance)
        assert bits(after.samples) == bits(before.samples)
    first, second = read(path)
    assert first.times is not None
    assert bits(first.times) == bits(one.times)
    assert first.offsets == [10, 10**12]
    assert (first.interim_analyses, second.interim_analyses) == (3, 1)
    assert second.times is second.offsets is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_every_finite_number_comes_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float]
) -> None:
    path = tmp_path_factory.mktemp("r") / "r"
    write(path, series(*numbers))
    assert bits(read(path)[0].samples) == bits(numbers)


def test_a_hundred_thousand_random_bit_patterns_come_back(tmp_path: Path) -> None:
    source = random.Random(4)
    numbers = [struct.unpack("d", source.randbytes(8))[0] for _ in range(100_000)]
    numbers = [number for number in numbers if math.isfinite(number)]
    write(tmp_path / "r", series(*numbers))
    assert bits(read(tmp_path / "r")[0].samples) == bits(numbers)


def test_checks_are_kept_with_their_bounds(tmp_path: Path) -> None:
    one = series(*[0.001] * 400)
    bounds = (p99 <= 2 * ms, maximum <= 0.5 * ms)
    write(tmp_path / "r", one, [decide(bound, one) for bound in bounds])
    first, second = load(tmp_path / "r").records[0].checks
    assert (first.figure, first.limit, first.outcome) == ("p99", 2 * ms, "pass")
    assert second.outcome == "fail"
    assert "limit 500 us" in second.text
    write(tmp_path / "again", one, [first, second])
    assert load(tmp_path / "again").records[0].checks == (first, second)


def test_the_file_is_json_lines_for_anyone(tmp_path: Path) -> None:
    write(tmp_path / "r", series(0.25), [CheckResult("miss rate", 1 * percent, "pass", "text")])
    text = (tmp_path / "r").read_text()
    header, line = map(json.loads, text.splitlines())
    assert header["hil-results"] == 1
    assert header["written"].endswith("Z")
    assert line["samples"] == [0.25]
    assert line["clock"]["floor"] == 1.2e-5
    assert line["checks"][0]["limit"] == {"value": 0.01, "unit": "1"}
    assert text.endswith("\n")


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_half_line_is_reported_left_out_and_removed_by_the_next_writer(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "r"
    write(path, series(1.0))
    whole = path.read_bytes()
    write(path, series(2.0))
    path.write_bytes(path.read_bytes()[:-cut] if cut > 1 else whole + b"{")
    loaded = load(path)
    assert [one.samples[0] for one in loaded.series] == [1.0]
    assert loaded.torn.startswith(f"{path}:3: ")
    with pytest.warns(UserWarning, match=":3: "):
        assert len(read(path)) == 1
    write(path, series(3.0))
    assert [one.samples[0] for one in read(path)] == [1.0, 3.0]


def test_a_last_line_without_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text(f"{HEADER}\n\n{LINE}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read(path)) == 1
    write(path, series(3.0))
    assert len(read(path)) == 2


def test_a_half_header_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "r"
    path.write_text('{"hil-res')
    with pytest.raises(ConfigurationError, match=r"r:1: "):
        load(path)
    write(path, series(1.0))
    assert len(read(path)) == 1


def test_writers_that_are_killed_and_others_beside_them_leave_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "r"
    code = (
        "import sys; from pathlib import Path; from hil import Clock, Series; from hil.measure.results import write\n"
        "for number in range(int(sys.argv[2])): write(Path(sys.argv[1]), Series('q', sys.argv[3], [number] * 500, Clock('c', 1e-9)))\n"
        "import os; os.write(1, b'done'); os.kill(os.getpid(), 9)"
    )
    ran = [subprocess.Popen([sys.executable, "-c", code, str(path), "40", name], stdout=-1) for name in "ab"]
    assert [process.communicate(timeout=HANG)[0] for process in ran] == [b"done", b"done"]
    assert sorted((one.subject, one.samples[0]) for one in read(path)) == [(n, x) for n in "ab" for x in range(40)]
    assert path.read_text().count("hil-results") == 1


@pytest.mark.parametrize("text", ["chapter 1", '{"other": 1}\n', '{"hil": "half a line of another'])
def test_another_file_is_not_written_to(tmp_path: Path, text: str) -> None:
    path = tmp_path / "thesis.txt"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"thesis\.txt:1: "):
        write(path, series(1.0))
    assert path.read_text() == text


def test_what_cannot_be_written_is_the_test_bed_s_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "r"):
        with pytest.raises(InfrastructureError, match=str(path)):
            write(path, series(1.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ":1: "),
        ("\n", ":1: "),
        ("{}\n", ":1: hil-results: "),
        ("[1]\n", ":1: "),
        ('{"hil-results": 2}\n', ":1: version 2"),
        ('{"hil-results": "1"}\n', ":1: hil-results: "),
        (f"{HEADER}\nnonsense\n{LINE}\n", ":2: "),
        (f"{HEADER}\n{LINE}\n{LINE[:-9]}\n", ":3: "),
        (f"{HEADER}\n{LINE}\n\n{{}}\n", ":4: quantity: "),
        (f"{HEADER}\n{LINE.replace('[1.0, 2]', '[]')}\n", ":2: the series q of s"),
        (
            f"{HEADER}\n{LINE.replace('[1.0, 2]', '[1, NaN]')}\n",
            ":2: the series q of s",
        ),
        (f"{HEADER}\n{LINE.replace('[1.0, 2]', '[1e999]')}\n", ":2: the series q of s"),
        (f"{HEADER}\n{LINE.replace('2]', 'true]')}\n", ":2: samples.1: "),
        (f"{HEADER}\n{LINE.replace('2]', '[2]]')}\n", ":2: samples.1: "),
        (f"{HEADER}\n{LINE.replace('2]', chr(34) + '2' + chr(34) + ']')}\n", ":2: samples.1: "),
        (f"{HEADER}\n{LINE.replace('[1.0, 2]', '[1], ' + chr(34) + 'times' + chr(34) + ': [1, 2]')}\n", "2 times"),
        (
            f"{HEADER}\n{LINE.replace('1e-09', '0')}\n",
            ":2: the clock c",
        ),
        (f"{HEADER}\n{LINE.replace('1e-09', 'NaN')}\n", ":2: the clock c"),
        (
            f"{HEADER}\n{LINE.replace('unit' + chr(34) + ': ' + chr(34) + 's', 'unit' + chr(34) + ': ' + chr(34) + 'ms')}\n",
            ":2: unit: ",
        ),
    ],
)
def test_a_broken_file_is_reported_by_file_and_line(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "r"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:")
    assert expected in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nothing"):
        load(tmp_path / "nothing")
    (tmp_path / "r").write_bytes(HEADER.encode() + b"\n\xff\xfe\n")
    with pytest.raises(ConfigurationError, match="r:2: "):
        load(tmp_path / "r")


def test_unknown_keys_are_another_writer_s(tmp_path: Path) -> None:
    (tmp_path / "r").write_text(f'{{"hil-results": 1, "x": 1}}\n{LINE[:-1]}, "colour": "blue"}}\n')
    assert read(tmp_path / "r")[0].samples.tolist() == [1.0, 2.0]


def test_the_digest_is_of_figures_only() -> None:
    one, two = series(1.0, 2.0), series(1.0, quantity="transfer time")
    same = [
        Series("response time", "hello.wasm", [1.0, 2.0], Clock("guest counter", 1e-9), times=[0, 1], provenance={}),
    ]
    assert digest([one]) == digest(same), "places, other times and floors do not count"
    assert digest([one, two]) == digest([two, one]), "tests may run in another order"
    others = [
        series(2.0, 1.0),
        series(1.0, math.nextafter(2.0, 3.0)),
        series(1.0),
        series(1.0, 2.0, unit="1"),
        series(1.0, 2.0, quantity="response"),
        series(1.0, 2.0, clock=Clock("virtual time", 16e-9)),
    ]
    assert len({digest([each]) for each in [one, *others]} | {digest([one, one])}) == 8


def test_there_is_no_digest_of_nothing() -> None:
    with pytest.raises(ConfigurationError, match="no series"):
        digest([])
