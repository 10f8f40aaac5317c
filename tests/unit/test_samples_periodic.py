"""The periodic samples' output as the framework reads it."""

from __future__ import annotations

import re
import zlib

import pytest
from executions import execution

from hil.errors import ConfigurationError, HilError, RunnerError
from hil.wasm import Execution
from hil.wasm.periodic import TICK, releases
from hil.wasm.samples import SAMPLES_DIR
from hil.wasm.verdict import Verdict, exited, failed

HEADER = b"periodic 1000 us, 3 releases from 5000000 ns\n"
LATE = b"+150\n-16\n+2000000\n"


def sealed(body: bytes, count: int = 3) -> bytes:
    return body + b"end %d %08X\n" % (count, zlib.crc32(body))


GOOD = sealed(HEADER + LATE)


def run(output: bytes, verdict: Verdict | None = None, intact: bool | None = None) -> Execution:
    return execution(verdict, output, intact, name="periodic.wasm", arguments=("1000", "3"))


def test_releases_are_instants_of_the_monotonic_clock() -> None:
    assert releases(run(GOOD)) == (5_000_150, 5_999_984, 9_000_000)


def test_the_documented_example_is_one() -> None:
    example = re.search(r"```text\n(periodic .*?)```", (SAMPLES_DIR / "README.md").read_text(), re.DOTALL)
    assert example
    assert len(releases(run(example[1].encode()))) == 3


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (b"", "line 1 is '', not `periodic"),
        (b"hello, sel4\n", "line 1 is 'hello, sel4'"),
        (GOOD[:30], "line 1 is 'periodic 1000 us, 3 releases f'"),
        (sealed(HEADER.replace(b"1000", b"-1") + LATE), "line 1"),
        (sealed(HEADER.replace(b" 3 ", b" 0 "), 0), "line 1"),
        (HEADER + b"+150\n-1", "2 of 3"),
        (HEADER + b"+150\n", "line 3 is ''"),
        (sealed(HEADER + b"+150\n-16\n", 2), "line 4 is 'end 2 "),
        (GOOD.replace(b"-16", b"1 6"), "line 3 is '1 6'"),
        (GOOD.replace(b"-16", b"\xff\x1b[0m-16"), r"line 3 is '\\xff\x1b[0m-16'"),
        (GOOD.replace(b"-16", b"[   1.23] usb -16"), "line 3 is '[   1.23] usb -16'"),
        (GOOD.replace(b"-16", b"-17"), "'end 3 "),
        (GOOD.replace(b"5000000", b"5000001"), "'end 3 "),
        (GOOD.replace(b"end 3", b"end 4"), "'end 4 "),
        (HEADER + LATE, "'end 3 "),
        (GOOD[:-1], "'end 3 "),
        (sealed(HEADER + LATE + b"+1\n"), "'+1 end 3 "),
        (GOOD + b"more\n", "more"),
    ],
)
@pytest.mark.parametrize(
    ("intact", "error"),
    [(None, RunnerError), (True, ConfigurationError)],
)
def test_a_damaged_report_names_the_line(output: bytes, told: str, intact: bool | None, error: type[HilError]) -> None:
    with pytest.raises(error) as caught:
        releases(run(output, intact=intact))
    assert told in caught.value.message
    assert caught.value.hint


def test_every_single_damage_is_found() -> None:
    for at in range(len(GOOD)):
        with pytest.raises(RunnerError, match=r"periodic\.wasm"):
            releases(run(GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :]))
        with pytest.raises(RunnerError, match=r"periodic\.wasm"):
            releases(run(GOOD[:at] + GOOD[at + 1 :]))


@pytest.mark.parametrize(
    ("output", "verdict", "error", "told"),
    [
        (b"clock refused: error 28\n", exited(69), RunnerError, "clock refused: error 28"),
        (b"arguments: PERIOD_US (1 to ...\n", exited(64), ConfigurationError, "arguments: PERIOD_US"),
        (GOOD, exited(70), RunnerError, "exited(70)"),
        (GOOD, failed("limit of 1000 ms exceeded"), RunnerError, "limit of 1000 ms exceeded"),
    ],
)
def test_a_run_without_a_report_says_why(output: bytes, verdict: Verdict, error: type[HilError], told: str) -> None:
    with pytest.raises(error) as caught:
        releases(run(output, verdict))
    assert told in caught.value.message


@pytest.mark.parametrize(("line", "number"), [("tick 1", "1"), ("tick 120\r", "120")])
def test_ticks(line: str, number: str) -> None:
    found = TICK.search(line)
    assert found
    assert found["number"] == number


@pytest.mark.parametrize("line", ["tick 0", "tick", "tick 1 2", "a tick 1", "tick -1", "[ 1.2] tick 1"])
def test_what_is_no_tick(line: str) -> None:
    assert not TICK.search(line)
