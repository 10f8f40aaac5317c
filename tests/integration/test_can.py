"""The CAN bus of the partition, on the reference image in virtual time: modules, restored machines, python-can."""

from __future__ import annotations

import pytest

from hil import maximum, ms, s, us
from hil.errors import RunnerError

pytestmark = [pytest.mark.board, pytest.mark.emulator]

runs: list[list[str]] = []


@pytest.mark.destructive  # the next run has a fresh board
@pytest.mark.parametrize("run", [1, 2])
def test_a_module_answers_frames_and_repeats_to_the_bit(board, can, runner, sample, run):
    with runner.start(sample("can-echo.wasm"), "20"):
        for number in range(20):
            can.send(0x100, bytes([number]))
            answer = can.wait(0x101, timeout=1 * s)
            assert (answer.data, answer.sender) == (bytes([number]), "partition")
    assert all(frame.received for frame in can.frames(0x100))
    can.latency(0x100, 0x101).check(maximum <= 200 * us)
    assert not can.events
    if board.virtual is not None:
        runs.append([f"{frame} {frame.begin_ns} {frame.end_ns}" for frame in can.frames()])
        assert runs[0] == runs[-1]


def test_all_formats_of_frames_reach_the_module(can, runner, sample):
    with runner.start(sample("can-echo.wasm"), "4") as module:
        can.send(0x18DAF110, bytes(range(8)))
        long = can.wait(sender="partition", timeout=1 * s)
        assert (long.id, long.extended, long.data) == (0x18DAF111, True, bytes(range(8)))
        can.send(0x200, remote=True, length=5)
        remote = can.wait(sender="partition", timeout=1 * s)
        assert (remote.id, remote.remote) == (0x201, True)
        for data in (b"", b"\1\2\3"):  # the controller has not lost its place
            can.send(0x300, data)
            assert can.wait(0x301, timeout=1 * s).data == data
    assert module.execution.lines[-1] == "answered 4 frames, lost 0"


def test_faults_delay_or_silence_the_module(can, runner, sample):
    with runner.start(sample("can-echo.wasm"), "3"):
        can.destroy(2, node="partition")
        can.send(0x100)
        can.wait(0x101, timeout=1 * s)
        assert [(event.kind, event.node) for event in can.events] == [("error", "partition")] * 2
        with can.open_wires("partition"):
            can.send(0x100)
            with pytest.raises(RunnerError, match="0x101 from any node came in 20 ms"):
                can.wait(0x101, timeout=20 * ms)
            assert not can.frames(0x100)[-1].received
        can.send(0x100)
        can.wait(0x101, timeout=1 * s)
        can.bus_off("partition")
        can.send(0x100)
        assert not can.wait(0x100, timeout=1 * s).received
        can.advance(3 * ms)
        assert [event.kind for event in can.events[-2:]] == ["off", "on"]
        can.send(0x100)
        can.wait(0x101, timeout=1 * s)


def test_python_can_talks_to_the_module(can, runner, sample):
    python_can = pytest.importorskip("can")
    with runner.start(sample("can-echo.wasm"), "1"), python_can.Bus(interface="hil", channel="can0") as bus:
        bus.send(python_can.Message(arbitration_id=0x42, data=b"hi", is_extended_id=False))
        message = bus.recv(1.0)
        assert message is not None
        assert (message.arbitration_id, bytes(message.data)) == (0x43, b"hi")
        assert message.timestamp == can.frames(0x43)[0].end_ns / 1e9
