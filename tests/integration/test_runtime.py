"""What a module may use on the reference image, as docs/runtime.md says, and how it is refused what it may not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil import ms
from hil.board.board import Board
from hil.errors import ConfigurationError
from hil.guest import Guest
from hil.wasm import Module, Runner
from hil.wasm.verdict import Failed, exited

MODULES = Path(__file__).resolve().parents[1] / "modules"
WORKS = (
    "wasi",
    "multi-value",
    "non-trapping-conversions",
    "sign-extension",
    "bulk-memory",
    "reference-types",
    "simd",
    "tail-call",
    "tail-call-indirect",
    "extended-const",
    "function-references",
    "gc-struct",
    "gc-array-cast",
    "multi-memory",
    "threads",
    "threads-wait",
    "relaxed-simd",
    "exceptions",
    "exceptions-throw-ref",
    "exceptions-legacy",
    "native.aot",
)
REFUSED = {
    "memory64": "the module needs the proposal Memory64",
    "table64": "the module needs the proposal Memory64",
    "custom-page": "the module needs the proposal Custom Page Sizes",
    "stack-switching": "the module needs the proposal Stack Switching",
    "wide-arithmetic": "the module needs the proposal Wide Arithmetic",
    "memory-too-large": "too much memory: the module needs 2500 MiB, the runner gives ",
    "memories-too-large": "too much memory: the module needs 3751 MiB, the runner gives ",
}


def module(name: str) -> Module:
    return Module.load(MODULES / f"{name}.wasm")


@pytest.mark.board
def test_each_proposal_that_the_docs_name_works(runner):
    assert {name: runner.run(module(name)).verdict for name in WORKS} == dict.fromkeys(WORKS, exited(42))


@pytest.mark.board
def test_a_refused_module_s_reason_names_what_it_needs(runner, sample):
    for name, reason in REFUSED.items():
        verdict = runner.run(module(name)).verdict
        assert isinstance(verdict, Failed), f"{name}: {verdict}"
        assert reason in verdict.reason, name
    assert runner.run(sample("hello.wasm")).good


@pytest.mark.board
def test_what_the_agent_refuses_is_reported_with_its_words(runner, sample):
    many = runner.run(sample("args.wasm"), *["x"] * 257).verdict
    assert isinstance(many, Failed)
    assert "too many arguments: the runner takes 256" in many.reason
    with pytest.raises(ConfigurationError, match=str(64 << 20)):
        runner.run(Module.raw("large.wasm", bytes((64 << 20) + 1)))


def drawn(board: Board) -> list[bytes]:
    """What a module draws on two boards restored from one snapshot, twice each."""
    guest = Guest(board)
    draws = []
    for _ in range(2):
        assert board.fresh().restored is not None
        run = Runner(guest).run(module("random"))
        assert run.verdict == exited(0)
        draws += [run.output[:16], run.output[16:]]
        draws.append(guest.run("head -c 16 /dev/urandom | md5sum").output)
    return draws


@pytest.mark.destructive  # the line has another guest
@pytest.mark.board
def test_restored_boards_draw_different_random_numbers_in_real_time(board):
    assert board.virtual is None
    assert len(set(drawn(board))) == 6


@pytest.mark.destructive
@pytest.mark.timing  # in virtual time
@pytest.mark.board
def test_restored_boards_draw_the_same_random_numbers_in_virtual_time(board):
    assert board.virtual is not None
    draws = drawn(board)
    assert draws[:3] == draws[3:]
    assert draws[0] != draws[1]


@pytest.mark.timing
@pytest.mark.emulator
def test_short_lines_cost_what_their_bytes_cost_and_a_line_before_a_wait_is_not_late(runner, sample, measure):
    def seconds(argument: str) -> float:
        run = runner.run(sample("big.wasm"), argument)
        return run.seal.run_ticks / run.seal.hz

    lines = (seconds("800") - seconds("300")) / 500 / 64
    assert lines < 1.1 * seconds("line") / 4201, "seconds a byte; 1.24 where each line is put out by itself"
    assert measure.ticks(runner, sample("ticker.wasm"), 1 * ms, count=50).samples.max() < 50e-6
