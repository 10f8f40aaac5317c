"""The CAN bus of the fixture `can`, on a real QEMU: frames, restbus, python-can's interface, ISO-TP and UDS."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import can as python_can
import pytest
from can_machine import machine, port_of
from labgrid import Environment
from support import stub_board

from hil import ms, s, us
from hil.board.board import Board
from hil.errors import ConfigurationError, InfrastructureError, RunnerError
from hil.host.extras import MissingExtraError
from hil.qemu.process import Qemu
from hil.signals.can.bench import BenchCan
from hil.signals.can.boards import can_port
from hil.signals.can.bus import CanBus

DBC = """VERSION ""
NS_ :
BS_:
BU_: ECU Engine Dash
BO_ 256 EngineData: 8 Engine
 SG_ Speed : 0|16@1+ (0.1,0) [0|300] "km/h" ECU
 SG_ Gear : 16|4@1+ (1,0) [0|8] "" ECU
BO_ 512 DashData: 2 Dash
 SG_ Warn : 0|1@1+ (1,0) [0|1] "" ECU
BO_ 768 EcuData: 2 ECU
 SG_ Torque : 0|16@1- (1,0) [-1000|1000] "Nm" Engine
BO_ 1024 Once: 1 Dash
 SG_ Code : 0|8@1+ (1,0) [0|255] "" ECU
BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 256 10;
BA_ "GenMsgCycleTime" BO_ 512 100;
BA_ "GenMsgCycleTime" BO_ 768 20;
"""


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    with machine(tmp_path) as made:
        yield made


@pytest.fixture
def can(qemu: Qemu) -> Iterator[CanBus]:
    made = CanBus(port_of(qemu))
    yield made
    made.close()


def test_frames_take_their_time_and_arbitrate(can: CanBus) -> None:
    can.send(0x200, b"\1\2")
    can.send(0x100, b"12345678", node="other")
    first, second = can.wait(timeout=1 * ms), can.wait(timeout=1 * ms)
    assert (first.id, first.data, first.sender, first.received) == (0x100, b"12345678", "other", False)
    assert (second.id, second.begin_ns, second.end_ns) == (0x200, 228_000, 356_000)
    assert str(second) == "200 [01 02] from bench at 228 us"
    assert abs(can.now.value - 356e-6) < 1e-8
    with pytest.raises(RunnerError, match=r"0x100 or 0x200 from any node came in 1 ms"):
        can.wait(0x100, 0x200, timeout=1 * ms)


def test_a_frame_at_a_time_and_a_cyclic_one(can: CanBus) -> None:
    can.send(0x1ABCDEF, b"", at=3 * ms)
    with can.cyclic(0x10, b"\1", period=1 * ms, node="clock") as cyclic:
        can.advance(2500 * us)
        cyclic.update(b"\2")
        can.advance(2 * ms)
    can.advance(5 * ms)
    assert [frame.begin_ns for frame in can.frames(0x10)] == [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000]
    assert [frame.data for frame in can.frames(sender="clock")] == [b"\1"] * 3 + [b"\2"] * 2
    (late,) = can.frames(0x1ABCDEF)
    assert late.extended
    assert late.begin_ns == can.frames(0x10)[3].end_ns + 6000
    with pytest.raises(ConfigurationError, match="1 ms: the bus is at"):
        can.send(0x10, at=1 * ms)


def test_latency_and_load_are_figures(can: CanBus) -> None:
    with can.cyclic(0x10, period=1 * ms), can.cyclic(0x20, period=1 * ms, at=200 * us):
        can.advance(10 * ms)
    latency = can.latency(0x10, 0x20)
    assert len(latency.samples) == 10
    assert latency.clock.name == "virtual time"
    first = can.frames(0x10)[0]
    assert latency.samples.max() == pytest.approx(200e-6 - first.end_ns / 1e9)
    busy = sum(frame.end_ns - frame.begin_ns + 6000 for frame in can.frames())
    assert can.load().value == pytest.approx(busy / 10e6, abs=1e-3)


def test_faults_are_seen_as_events(can: CanBus) -> None:
    can.destroy(2, bit=30)
    can.send(0x100)
    can.wait(0x100, timeout=1 * ms)
    can.bus_off("partition")
    with can.open_wires("bus"):
        can.send(0x200)
        can.advance(10 * ms)
    can.wait(0x200, timeout=1 * ms)
    can.set_bitrate(125_000)
    can.send(0x300)
    slow = can.wait(0x300, timeout=1 * ms)
    assert [event.kind for event in can.events] == ["error", "error", "off", "open", "on", "closed", "bitrate"]
    assert can.events[3].at_ns == can.events[2].at_ns
    assert can.events[4].at_ns - can.events[2].at_ns == 128 * 11 * 2000
    timeline = can.timeline()
    assert [frame.kind for frame in timeline.frames] == ["error", "error", "data", "data", "data"]
    off, open_ = timeline.faults
    assert (off.name, off.end_ns - off.begin_ns) == ("CAN: partition is off the bus", 128 * 11 * 2000)
    assert open_.name == "CAN: bus is disconnected"
    first = can.frames(0x100)[0]
    assert 3.9 < (slow.end_ns - slow.begin_ns) / (first.end_ns - first.begin_ns) < 4.3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"id": 0x800, "extended": False}, "0x800 is out of range for 11 bits"),
        ({"id": -1}, "out of range"),
        ({"id": 1 << 29}, "out of range for 29 bits"),
        ({"id": 1, "data": bytes(9)}, "has 9 bytes"),
        ({"id": 1, "data": b"1", "remote": True}, "is remote"),
        ({"id": 1, "data": [256]}, "is not the data"),
        ({"id": 1, "node": "partition"}, "cannot send as 'partition'"),
        ({"id": 1, "at": -1 * ms}, "is negative"),
    ],
)
def test_a_frame_that_cannot_be_is_refused(can: CanBus, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        can.send(**arguments)  # type: ignore[arg-type]


def test_a_snapshot_keeps_the_bus(can: CanBus, qemu: Qemu, tmp_path: Path) -> None:
    assert qemu.wires is not None
    can.cyclic(0x10, b"\1", period=1 * ms)
    can.send(0x50, b"\5", at=7 * ms)
    for number in range(20):
        can.send(0x100 + number, bytes(8))
    can.advance(2100 * us)
    saved = qemu.wires.save()
    before = len(can.frames())
    can.advance(10 * ms)
    after = [(f.id, f.begin_ns, f.end_ns) for f in can.frames()[before:]]
    assert any(identifier == 0x50 for identifier, *_ in after)
    (tmp_path / "again").mkdir()
    with machine(tmp_path / "again") as restored:
        assert restored.wires is not None
        restored.wires.run_until(round(2.1e6))
        restored.wires.restore(saved)
        again = CanBus(port_of(restored))
        again.advance(10 * ms)
        assert [(f.id, f.begin_ns, f.end_ns) for f in again.frames()] == after


def test_frames_of_a_machine_that_has_ended_stay_readable(can: CanBus, qemu: Qemu) -> None:
    can.send(0x100)
    can.wait(0x100, timeout=1 * ms)
    os.kill(qemu.pid, signal.SIGKILL)
    with pytest.raises(InfrastructureError, match="SIGKILL"):
        can.advance(1 * s)
    assert [frame.id for frame in can.frames()] == [0x100]
    can.close()


def test_a_bus_that_is_not_there_is_named(tmp_path: Path) -> None:
    with machine(tmp_path, bus="/objects/other") as qemu, pytest.raises(ConfigurationError, match="has no such bus"):
        port_of(qemu)


def test_in_real_time_the_model_has_the_same_times(tmp_path: Path) -> None:
    with machine(tmp_path, real=True) as qemu:
        can = CanBus(port_of(qemu))
        assert not can.port.exact
        with can.cyclic(0x10, period=1 * ms), can.cyclic(0x20, period=1 * ms):
            can.advance(20 * ms)
        frames = can.frames(0x10)
        assert {b.begin_ns - a.begin_ns for a, b in pairwise(frames)} == {1_000_000}
        can.send(0x123, b"x")
        assert can.wait(0x123, timeout=1 * s).data == b"x"


# python-can


def test_python_can_sends_and_receives_in_virtual_time(can: CanBus) -> None:
    with can.bus("tool") as bus, can.bus("peer") as peer:
        bus.send(python_can.Message(arbitration_id=0x123, data=b"\1\2", is_extended_id=False))
        bus.send(python_can.Message(arbitration_id=0x18DAF110, data=b"\3", is_extended_id=True))
        bus.send(python_can.Message(arbitration_id=0x5, is_remote_frame=True, dlc=4, is_extended_id=False))
        got = [peer.recv(1.0) for _ in range(3)]
        assert [(m.arbitration_id, m.is_extended_id, bytes(m.data), m.dlc) for m in got if m] == [
            (0x5, False, b"", 4),
            (0x123, False, b"\1\2", 2),
            (0x18DAF110, True, b"\3", 1),
        ]
        assert got[0] is not None
        assert got[0].timestamp == can.frames(0x5)[0].end_ns / 1e9
        assert bus.recv(0) is None, "its own frames are not received"
        before = can.now.value
        assert bus.recv(0.05) is None
        assert can.now.value - before == pytest.approx(0.05)


def test_python_can_finds_the_open_board_by_its_interface(can: CanBus) -> None:
    with python_can.Bus(interface="hil", channel="can0", can_filters=[{"can_id": 0x100, "can_mask": 0x700}]) as bus:
        for identifier in (0x200, 0x123, 0x300):
            can.send(identifier, node="other")
        message = bus.recv(0.1)
        assert message is not None
        assert message.arbitration_id == 0x123
        assert bus.recv(0.01) is None
    with pytest.raises(
        python_can.CanInitializationError, match="no open board has a CAN channel 'can7'; open are: can0"
    ):
        python_can.Bus(interface="hil", channel="can7")


def test_periodic_messages_of_python_can_need_no_host(can: CanBus) -> None:
    message = python_can.Message(arbitration_id=0x50, data=b"\1", is_extended_id=False)
    with can.bus() as bus:
        task = bus.send_periodic(message, 0.01)
        can.advance(25 * ms)
        assert isinstance(task, python_can.ModifiableCyclicTaskABC)
        message.data = bytearray(b"\2")
        task.modify_data(message)
        can.advance(20 * ms)
        with pytest.raises(NotImplementedError, match="limited duration"):
            bus.send_periodic(message, 0.01, duration=1.0)
    can.advance(50 * ms)
    assert [frame.data for frame in can.frames(0x50)] == [b"\1"] * 3 + [b"\2"] * 2
    assert [frame.begin_ns % 10_000_000 for frame in can.frames(0x50)] == [0] * 5


def test_a_listener_in_another_thread_sees_all_frames_and_cannot_send(can: CanBus) -> None:
    seen: list[python_can.Message] = []
    errors: list[str] = []
    with can.bus("tool") as bus:
        notifier = python_can.Notifier(bus, [seen.append], timeout=0.05)
        for number in range(5):
            can.send(0x100 + number, node="other")
        can.advance(2 * ms)

        def send() -> None:
            try:
                bus.send(python_can.Message(arbitration_id=1))
            except python_can.CanOperationError as error:
                errors.append(str(error))

        thread = threading.Thread(target=send)
        thread.start()
        thread.join()
        deadline = time.monotonic() + 5
        while len(seen) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        notifier.stop(1)
    assert [message.arbitration_id for message in seen] == [0x100 + number for number in range(5)]
    assert "another thread" in errors[0]


# restbus


@pytest.fixture
def dbc(tmp_path: Path) -> Path:
    path = tmp_path / "vehicle.dbc"
    path.write_text(DBC)
    return path


def test_a_restbus_sends_what_the_others_send(can: CanBus, dbc: Path) -> None:
    with can.restbus(dbc, dut="ECU") as restbus:
        can.advance(25 * ms)
        restbus["EngineData"]["Speed"] = 50
        can.advance(80 * ms)
        restbus.send("Once", Code=7)
        can.advance(1 * ms)
    can.advance(100 * ms)
    assert len(can.frames(0x100)) == 11
    assert len(can.frames(0x200)) == 2
    assert not can.frames(0x300)
    assert can.frames(0x400)[0].data == b"\7"
    speeds = [restbus.decode(frame)["Speed"] for frame in can.frames(0x100, sender="Engine")]
    assert speeds == [0] * 3 + [50] * 8


def test_a_restbus_names_what_is_wrong(can: CanBus, dbc: Path) -> None:
    restbus = can.restbus(dbc, dut="ECU")
    with pytest.raises(ConfigurationError, match="no message 'EngineDta'") as raised:
        restbus["EngineDta"]
    assert "EngineData" in str(raised.value.hint)
    with pytest.raises(ConfigurationError, match="no signal 'Sped'"):
        restbus["EngineData"]["Sped"] = 1
    with pytest.raises(ConfigurationError, match=r"cannot carry .*'Speed': 9000"):
        restbus["EngineData"]["Speed"] = 9000
    assert restbus["EngineData"]["Speed"] == 0
    with pytest.raises(ConfigurationError, match="no node 'ECX'"):
        can.restbus(dbc, dut="ECX")
    with pytest.raises(ConfigurationError, match="is not a CAN database"):
        can.restbus(dbc.with_name("none.dbc"))


# ISO-TP and UDS: both ends are of the bench


def test_isotp_carries_long_data_in_virtual_time(can: CanBus) -> None:
    tester = can.isotp(txid=0x7E0, rxid=0x7E8, node="tester", stmin=5, blocksize=4)
    ecu = can.isotp(txid=0x7E8, rxid=0x7E0, node="ecu", stmin=5, blocksize=4)
    data = bytes(range(100))
    tester.layer.send(bytearray(data))
    limit = can.port.now_ns() + 10**9
    while not ecu.layer.available() and can.port.now_ns() < limit:
        tester._step(limit, "no")
        ecu._step(limit, "no")
    assert ecu.recv(timeout=1 * ms) == data
    consecutive = [f for f in can.frames(0x7E0) if f.data[0] >> 4 == 2]
    gaps = [b.begin_ns - a.end_ns for a, b in pairwise(consecutive)]
    assert len(consecutive) == 14
    assert min(gaps) > 4_500_000, "the separation time is of the bus"
    with pytest.raises(RunnerError, match="no data came in 20 ms"):
        tester.recv(timeout=20 * ms)
    with pytest.raises(RunnerError, match=r"ISO-TP: .*[Ff]low ?[Cc]ontrol"):
        tester.send(data, timeout=5 * s)  # nobody answers the first frame


def test_udsoncan_works_over_it(can: CanBus) -> None:
    from udsoncan.client import Client
    from udsoncan.exceptions import TimeoutException

    tester = can.isotp(txid=0x7E0, rxid=0x7E8, node="tester")
    can.send(0x7E8, bytes.fromhex("06 50 03 00 32 01 F4"), at=2 * ms, node="ecu")
    with Client(tester.uds(), request_timeout=1.0) as client:
        response = client.change_session(3)
        assert response is not None
        assert response.positive
        before = can.now.value
        with pytest.raises(TimeoutException):
            client.tester_present()
        assert can.now.value - before == pytest.approx(0.05, abs=0.001)  # P2 of the answer before
    assert [frame.data[:3].hex() for frame in can.frames(0x7E0)] == ["021003", "023e00"]


# a bench


def test_a_bench_uses_an_interface_of_the_host() -> None:
    can = CanBus(BenchCan("virtual", "hil-test"))
    with python_can.Bus(interface="virtual", channel="hil-test") as dut:
        can.send(0x123, b"\1")
        message = dut.recv(1.0)
        assert message is not None
        assert message.arbitration_id == 0x123
        dut.send(python_can.Message(arbitration_id=0x124, data=b"\2", is_extended_id=False))
        answer = can.wait(0x124, timeout=1 * s)
        assert (answer.data, answer.sender) == (b"\2", "partition")
        assert [frame.sender for frame in can.frames()] == ["bench", "partition"]
        assert 0 < can.latency(0x123, 0x124).samples.max() < 1
        with can.cyclic(0x50, b"\1", period=5 * ms):
            can.advance(50 * ms)
        count = len(can.frames(0x50))
        assert 5 <= count <= 12
        can.advance(20 * ms)
        assert len(can.frames(0x50)) == count
        assert "host time" in can.clock.remark
        with pytest.raises(RunnerError, match="no CAN frame"):
            can.wait(0x99, timeout=5 * ms)
        with pytest.raises(ConfigurationError, match="an error frame needs an emulated board"):
            can.destroy()
        with pytest.raises(ConfigurationError, match="at a given time"):
            can.send(0x1, at=can.now + 1 * s)
    can.close()


def bench_board(directory: Path, resources: str) -> Any:
    path = directory / "board.yaml"
    path.write_text(f"imports: [hil.labgrid]\ntargets:\n  main:\n    resources:\n{resources}")
    return SimpleNamespace(name="bench", emulated=False, target=Environment(str(path)).get_target("main"))


def test_the_file_of_a_board_names_its_interface(tmp_path: Path) -> None:
    interface = "      - HilCanInterface: {interface: virtual, channel: %s, bitrate: 250000}\n"
    port = can_port(bench_board(tmp_path, interface % "hil-a"))
    assert (port.channel, port.bitrate, port.exact) == ("hil-a", 250_000, False)
    port.close()
    with pytest.raises(ConfigurationError, match="bench has several CAN interfaces"):
        can_port(bench_board(tmp_path, interface % "hil-a" + interface % "hil-b"))
    with pytest.raises(ConfigurationError, match="bench has no CAN interface") as raised:
        can_port(bench_board(tmp_path, "      RawSerialPort: {port: /dev/null}\n"))
    assert "HilCanInterface: {interface: socketcan" in str(raised.value.hint)


def test_an_image_without_a_bus_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with Board(str(stub_board(tmp_path)), snapshots=False, transcripts=tmp_path) as board:
        with pytest.raises(ConfigurationError, match="has no CAN bus: it is off"):
            can_port(board)
        board.boot()
        with pytest.raises(ConfigurationError, match=r"has no CAN bus: the manifest of image .* has no table \[can\]"):
            can_port(board)


def test_a_missing_interface_is_named() -> None:
    with pytest.raises(InfrastructureError, match=r"can99 \(socketcan\) cannot be opened"):
        BenchCan("socketcan", "can99")


def test_without_the_extra_frames_work_and_the_rest_names_it(can: CanBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    can.send(0x100)
    assert can.wait(timeout=1 * ms).id == 0x100
    with pytest.raises(MissingExtraError, match="cantools is not installed") as raised:
        can.restbus("vehicle.dbc")
    assert raised.value.hint == "pip install 'wasm-hil[can]'"
    with pytest.raises(MissingExtraError, match="python-can"):
        BenchCan("virtual", "x")
    with pytest.raises(MissingExtraError, match="can-isotp"):
        can.isotp(txid=1, rxid=2)
