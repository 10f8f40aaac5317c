"""Virtual time on the reference image: figures to the bit, a canary that notices, a change that is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from limits import HANG

from hil.board.board import Board
from hil.cli import main
from hil.measure import results

ROOT = Path(__file__).parents[2]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--clock", "virtual"]
SUITE = """
import os, pytest
from pathlib import Path
from hil import ms
from hil.wasm import Module

@pytest.mark.board
def test_own(runner, guest, measure):
    measure.parts(runner, Module.load(Path(os.environ["MODULE"])), "10", repeats=3)
    measure.releases(guest, 2 * ms, count=20, partition=True)
"""


def leb(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at


def wide(value: int) -> bytes:
    """LEB128 in five bytes, whatever the value, as linkers write it."""
    return bytes(value >> shift & 0x7F | (0x80 if shift < 28 else 0) for shift in (0, 7, 14, 21, 28))


def with_one_nop_more(data: bytes) -> bytes:
    """The module with a `nop` as the first instruction of the function that it exports as `_start`."""
    imports = start = 0
    at, made = 8, data[:8]
    while at < len(data):
        number, (size, begin) = data[at], leb(data, at + 1)
        body = data[begin : begin + size]
        if number == 2:  # the samples import functions only
            imports = leb(body, 0)[0]
        elif number == 7:
            start = leb(body, body.index(b"\x06_start\x00") + 8)[0] - imports
        elif number == 10:
            count, place = leb(body, 0)
            functions = []
            for _ in range(count):
                length, place = leb(body, place)
                functions.append(body[place : place + length])
                place += length
            code = functions[start]
            groups, place = leb(code, 0)
            for _ in range(groups):
                place = leb(code, place)[1] + 1
            functions[start] = code[:place] + b"\x01" + code[place:]
            body = wide(count) + b"".join(wide(len(one)) + one for one in functions)
        made += bytes([number]) + wide(len(body)) + body
        at = begin + size
    return made


def hil(*words: str) -> Result:
    return CliRunner().invoke(main, words)


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    return subprocess.run(command, cwd=ROOT, env=env, timeout=HANG, capture_output=True, text=True)


@pytest.fixture
def measured(tmp_path: Path):
    """Measure a module in virtual time and return the results file."""
    (tmp_path / "test_own.py").write_text(SUITE)

    def act(name: str, module: Path, *options: str) -> Path:
        made = tmp_path / f"{name}.jsonl"
        command = [*PYTEST, str(tmp_path / "test_own.py"), "--rootdir", str(tmp_path), "--hil-results", str(made)]
        done = run([*command, "--board", "qemu-reference", *options], MODULE=str(module))
        assert done.returncode == 0, done.stdout
        return made

    return act


def test_figures_repeat_to_the_bit_and_one_instruction_more_is_named(measured, tmp_path):
    sample = ROOT / "wasm_samples" / "nbody-c.wasm"
    first, second = measured("first", sample), measured("second", sample)
    assert {series.provenance["exactness"] for series in results.read(first) if not series.clock.exact} == set()
    same = {hil("results", "digest", str(path)).stdout.split()[0] for path in (first, second)}
    assert len(same) == 1
    baselines = ["--baselines", str(tmp_path / "baselines")]
    assert hil("baseline", "record", str(first), *baselines).exit_code == 0
    kept = hil("baseline", "compare", str(second), *baselines)
    assert kept.exit_code == 0, kept.output

    changed = tmp_path / "changed" / "nbody-c.wasm"
    changed.parent.mkdir()
    changed.write_bytes(with_one_nop_more(sample.read_bytes()))
    third = measured("third", changed)
    found = hil("baseline", "compare", str(third), *baselines)
    assert found.exit_code == 1, found.output
    assert "different: execution time of nbody-c.wasm 10, virtual time" in found.stdout
    assert re.search(r"module nbody-c\.wasm: sha256 [0-9a-f]{12} -> [0-9a-f]{12}", found.stdout)
    assert re.search(r"repetition 1\b", found.stdout), found.stdout


@pytest.mark.slow
def test_a_sweep_of_seeds_is_pooled_and_each_seed_is_a_run_of_its_own(measured):
    sample = ROOT / "wasm_samples" / "nbody-c.wasm"
    command_results = measured("sweep", sample, "--hil-seeds", "2", "-n", "0")
    series = [one for one in results.read(command_results) if one.quantity == "execution time"]
    assert [one.provenance["seed"] for one in series] == ["1", "2"]
    assert list(series[0].samples) != list(series[1].samples)
    assert {one.provenance["test"].rpartition("::")[2] for one in series} == {"test_own[qemu-reference]"}


@pytest.mark.slow  # two boots; tests/unit/test_exact.py finds the same in a small machine
def test_the_host_s_clock_in_the_machine_is_found_by_the_canary(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path))
    path = tmp_path / "host-clock.yaml"
    path.write_text(
        f"imports: [hil.labgrid]\nimages: {{main: {ROOT}/images/reference.toml}}\ntargets:\n  main:\n    drivers:\n"
        "      HilQemuDriver: {arguments: [-rtc, 'base=utc,clock=host']}\n      HilStrategy: {}\n"
    )
    with Board(str(path), seed=1) as board:
        board.boot()
        assert not board.virtual.exact
        assert re.search(r"this boot differs .*line \d+ was '\d+.*(setting system clock|rtc)", str(board.virtual))
