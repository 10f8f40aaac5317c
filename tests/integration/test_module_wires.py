"""CAN and the analogue channels of a module, on the reference image in virtual time: errors, policy, restored values."""

from __future__ import annotations

from pathlib import Path

import pytest

from hil import ms
from hil.qemu.plant import OUTPUTS
from hil.wasm import Module
from hil.wasm.verdict import Failed, exited

pytestmark = [pytest.mark.board, pytest.mark.timing]

MODULES = Path(__file__).resolve().parents[1] / "modules"
BAD_POINTERS = ("wires-bad-name", "wires-bad-frame", "wires-bad-place")


def module(name: str) -> Module:
    return Module.load(MODULES / f"{name}.wasm")


def refusals(run):
    return [line.partition("] [error] ")[2] for line in run.diagnostics if "pin-not-allowed" in line]


def test_each_error_is_the_documented_one(runner, board, monkeypatch):
    monkeypatch.setattr("hil.wasm.pins.known_names", lambda manifest: [])  # CAN1 and AI8 are for the runner to refuse
    run = runner.run(module("wires"), pins=["CAN0", "CAN1", "AI0", "AO7", "AI8"])
    assert run.verdict == exited(42), str(run)
    assert refusals(run) == ["pin-not-allowed CAN", "pin-not-allowed AO0"]
    assert board.qemu.plant.read(OUTPUTS + 7) == 0, "an output of a module that has ended"


def test_a_bad_pointer_is_a_trap(runner):
    ends = [runner.run(module(name), pins=["CAN0"]).verdict for name in BAD_POINTERS]
    reason = "host function: a pointer is outside the memory or not aligned"
    assert [end.reason for end in ends if isinstance(end, Failed)] == [reason] * len(BAD_POINTERS)


def test_a_module_gets_the_bus_only_if_it_is_given(runner, sample):
    run = runner.run(sample("can-echo.wasm"), "0", pins=["AI0"])
    assert run.verdict == exited(69), str(run)
    assert run.lines == ["CAN0: not-allowed"]
    assert refusals(run) == ["pin-not-allowed CAN0"]


def test_frames_are_answered(can, runner, sample):
    with runner.start(sample("can-echo.wasm"), "20") as running:
        for number in range(20):
            can.send(0x100, bytes([number, 1, 2]))
            can.advance(2 * ms)
        run = running.wait()
    assert run.lines == ["ready", "answered 20 frames, lost 0"]
    assert [frame.data for frame in can.frames(0x101)] == [bytes([number, 1, 2]) for number in range(20)]


def test_a_controller_acts_on_its_channel(pins, runner, sample, board):
    plant = board.qemu.plant
    assert (plant.read(0), plant.read(OUTPUTS)) == (0, 0), "as in the snapshot, whatever other tests wrote"
    plant.write(0, 30000)
    acted = []
    with runner.start(sample("pi.wasm"), "1000", "200"):
        for _ in range(2):
            pins.advance(50 * ms)
            acted.append(plant.read(OUTPUTS))
    assert 4 * 2768 < acted[0] < acted[1] < 4 * 2768 + 8 * 2768 * 0.15
    assert plant.read(OUTPUTS) == 0
    assert len(pins["BEAT"].rising) >= 25
