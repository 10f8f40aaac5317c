"""The CAN bus model of the preload library, without QEMU: bits of a frame, arbitration, faults, snapshots."""

from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hil.qemu.lockstep import COMPILER, SOURCES
from hil.qemu.wires import SIGNAL, Kind, Signals, signals

HERE = Path(__file__).parent
MODEL = [str(source) for source in SOURCES if source.name in ("canbus.c", "cancommands.c", "canbits.c")]
EXTENDED, REMOTE, PARTITION, ANY, UNHEARD = 1 << 31, 1 << 30, 255, 254, 0x80
BIT = 2000  # ns at 500 kbit/s


class Model:
    """One bus at 500 kbit/s, loaded from a copy of the library so that each has its own state."""

    def __init__(self, library: Path, copy: Path) -> None:
        copy.write_bytes(library.read_bytes())
        self.c = ctypes.CDLL(str(copy))
        self.c.stub_records.restype = ctypes.POINTER(ctypes.c_char)
        self.c.stub_run_until.argtypes = [ctypes.c_int64, ctypes.c_int64]
        self.c.stub_begin(500_000)

    def command(self, kind: Kind, **fields: Any) -> None:
        self.c.can_command(signals(kind=kind, **fields).tobytes())

    def send(self, identifier: int, data: bytes = b"", node: int = 0, length: int | None = None) -> None:
        self.command(
            Kind.CAN_FRAME,
            line=node,
            id=identifier,
            length=len(data) if length is None else length,
            data=np.frombuffer(data.ljust(8, b"\0"), np.uint8),
        )

    def take(self, identifier: int, data: bytes = b"") -> None:
        self.c.can_take(ctypes.c_uint32(identifier), len(data), data.ljust(8, b"\0"))

    def run(self, until: int, late: int = 0) -> None:
        self.c.stub_run_until(until, late)

    def records(self) -> Signals:
        count = self.c.stub_recorded()
        return np.frombuffer(ctypes.string_at(self.c.stub_records(), count * SIGNAL.itemsize), SIGNAL)

    def bits(self, identifier: int, data: bytes = b"", length: int | None = None) -> int:
        size = len(data) if length is None else length
        return int(self.c.can_frame_bits(ctypes.c_uint32(identifier), size, data.ljust(8, b"\0")))

    def seen(self) -> list[tuple[int, int]]:
        """Return end and id of each complete frame."""
        records = self.records()
        return [(int(r["ns"]), int(r["id"])) for r in records if r["kind"] == Kind.CAN_FRAME]


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("can") / "model.so"
    folder = SOURCES[0].parent
    options = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", f"-I{folder}", "-o", str(made)]
    subprocess.run([COMPILER, *options, str(HERE / "canbus_stub.c"), *MODEL], check=True, timeout=60)
    return made


@pytest.fixture
def make(library: Path, tmp_path: Path) -> Callable[[], Model]:
    names = iter(range(100))
    return lambda: Model(library, tmp_path / f"{next(names)}.so")


@pytest.fixture
def bus(make: Callable[[], Model]) -> Model:
    return make()


def reference_bits(identifier: int, data: bytes, length: int) -> int:
    """Count the bits by way of text, after ISO 11898-1: the frame, its CRC by long division, then the stuff bits."""
    remote = identifier & REMOTE != 0
    if identifier & EXTENDED:
        text = f"0{identifier >> 18 & 0x7FF:011b}11{identifier & 0x3FFFF:018b}{remote:b}00"
    else:
        text = f"0{identifier & 0x7FF:011b}{remote:b}00"
    text += f"{length:04b}" + ("" if remote else "".join(f"{byte:08b}" for byte in data))
    rest = int(text + "0" * 15, 2)
    for place in range(len(text) - 1, -1, -1):
        if rest >> place + 15 & 1:
            rest ^= 0xC599 << place
    sent = ""
    for bit in text + f"{rest:015b}":
        sent += bit
        if sent.endswith(bit * 5):
            sent += "10"[int(bit)]
    return len(sent) + 10


# as canbusload of can-utils counts them (CFL_EXACT, which adds 3 bits of interframe space)
KNOWN = [
    (0, "", 50),
    (0, "0000000000000000", 124),
    (0x7FF, "ffffffffffffffff", 123),
    (0x123, "", 45),
    (0x555, "5555555555555555", 109),
    (0x123, "1122334455667788", 109),
    (0x100, "3c3c3c3c3c3c3c3c", 127),
    (0x18DAF110 | EXTENDED, "023e000000000000", 141),
    (0x1FFFFFFF | EXTENDED, "0000000000000000", 148),
]


@pytest.mark.parametrize(("identifier", "data", "bits"), KNOWN)
def test_a_frame_has_its_published_length(bus: Model, identifier: int, data: str, bits: int) -> None:
    assert bus.bits(identifier, bytes.fromhex(data)) == bits


def test_a_remote_frame_has_no_data_but_its_length_code(bus: Model) -> None:
    assert bus.bits(0x123 | REMOTE, b"", 8) == reference_bits(0x123 | REMOTE, b"", 8) < 60


def test_any_frame_has_the_length_of_the_reference(bus: Model) -> None:
    chance = random.Random(1)
    for _ in range(3000):
        flags = chance.choice([0, EXTENDED]) | chance.choice([0, 0, 0, REMOTE])
        identifier = chance.choice([0, 0x7FF, 0x78, chance.randrange(1 << 29)]) & (0x1FFFFFFF if flags >> 31 else 0x7FF)
        length = chance.randrange(9)
        data = bytes(chance.choice([0, 255, 0xF8, 0x3E, chance.randrange(256)]) for _ in range(length))
        bits = bus.bits(identifier | flags, data)
        assert bits == reference_bits(identifier | flags, data, length)
        stuffed = (54 if flags >> 31 else 34) + (0 if flags & REMOTE else 8 * length)
        assert stuffed + 10 <= bits <= stuffed + 10 + (stuffed - 1) // 4  # bounds of Davis et al. 2007


def test_the_lowest_id_wins_and_frames_follow_after_three_bits(bus: Model) -> None:
    bus.send(0x300, b"\1")
    bus.send(0x100, b"\2", node=1)
    bus.take(0x200, b"\3")
    bus.run(10**7)
    ends, at = [], 0
    for identifier, data in ((0x100, b"\2"), (0x200, b"\3"), (0x300, b"\1")):
        at += bus.bits(identifier, data) * BIT
        ends.append((at, identifier))
        at += 3 * BIT
    assert bus.seen() == ends


def test_a_frame_on_the_bus_is_not_interrupted(bus: Model) -> None:
    bus.send(0x700, bytes(8))
    bus.run(10 * BIT)
    bus.send(0x001)
    bus.run(10**7)
    assert [identifier for _, identifier in bus.seen()] == [0x700, 0x001]


@pytest.mark.parametrize(
    ("winner", "loser"),
    [
        (0x123, 0x123 | REMOTE),  # data before remote
        (0x123, 0x123 << 18 | EXTENDED),  # base before extended format
        (0x123 | REMOTE, 0x123 << 18 | EXTENDED),
        (0x122 << 18 | 0x3FFFF | EXTENDED, 0x123),  # the base id counts first
        (0x123 << 18 | 5 | EXTENDED, 0x123 << 18 | 6 | EXTENDED),
        (0x123 << 18 | 5 | EXTENDED, 0x123 << 18 | 5 | EXTENDED | REMOTE),
    ],
)
def test_formats_arbitrate_bit_by_bit(bus: Model, winner: int, loser: int) -> None:
    bus.send(loser)
    bus.send(winner, node=1)
    bus.run(10**7)
    assert [identifier for _, identifier in bus.seen()] == [winner, loser]


def test_the_partition_sends_in_order_and_a_bench_node_by_id(bus: Model) -> None:
    for identifier in (0x300, 0x10):
        bus.take(identifier)
    for identifier in (0x400, 0x20):
        bus.send(identifier)
    bus.run(10**7)
    assert [identifier for _, identifier in bus.seen()] == [0x20, 0x300, 0x10, 0x400]


def test_the_partition_has_a_limited_queue(bus: Model) -> None:
    for _ in range(1026):
        bus.take(0x100)
    kinds = bus.records()["kind"]
    assert np.count_nonzero(kinds == Kind.CAN_LOST) == 2
    bus.run(10**9)
    assert len(bus.seen()) == 1024


def test_a_frame_that_nobody_receives_is_marked(bus: Model) -> None:
    bus.send(0x100, b"\1")
    ctypes.c_bool.in_dll(bus.c, "stub_listens").value = False
    bus.run(10**6)
    assert bus.records()[-1]["length"] == 1 | UNHEARD


def cyclic(bus: Model, identifier: int, data: bytes, period: int) -> None:
    content = np.frombuffer(data.ljust(8, b"\0"), np.uint8)
    bus.command(Kind.CAN_CONTENT, id=identifier, length=len(data), data=content)
    bus.command(Kind.CAN_PERIOD, id=identifier, data=np.frombuffer(period.to_bytes(8, "little"), np.uint8))


def test_cyclic_frames_have_no_drift_and_new_data_apply_from_the_next(bus: Model) -> None:
    cyclic(bus, 0x100, b"\1", 10**6)
    bus.run(5_500_000)
    bus.command(Kind.CAN_CONTENT, id=0x100, length=1, data=[2, 0, 0, 0, 0, 0, 0, 0])
    bus.run(7_500_000)
    bus.command(Kind.CAN_PERIOD, id=0x100)
    bus.run(20_000_000)
    records = bus.records()
    begins = records["ns"] - records["value"].astype(np.uint64) * np.uint64(BIT)
    assert begins.tolist() == [number * 10**6 for number in range(8)]
    assert records["data"][:, 0].tolist() == [1] * 6 + [2] * 2


def test_an_overloaded_bus_keeps_one_of_each_cyclic_frame(bus: Model) -> None:
    cyclic(bus, 0x100, bytes(8), 100_000)
    cyclic(bus, 0x200, bytes(8), 100_000)
    bus.run(10**8)
    assert {identifier for _, identifier in bus.seen()} == {0x100}  # it takes 248 us
    assert not np.any(bus.records()["kind"] == Kind.CAN_LOST)


def test_a_destroyed_frame_is_repeated(bus: Model) -> None:
    bus.command(Kind.CAN_ERROR, line=ANY, id=1, value=20)
    bus.send(0x100, b"\1")
    bus.run(10**6)
    records, bits = bus.records(), bus.bits(0x100, b"\1")
    assert records["kind"].tolist() == [Kind.CAN_ERROR, Kind.CAN_FRAME]
    assert records["ns"].tolist() == [34 * BIT, (34 + 3 + bits) * BIT]


def test_a_node_with_32_errors_is_off_for_128_times_11_bits(bus: Model) -> None:
    bus.command(Kind.CAN_ERROR, line=0, id=32, value=20)
    bus.send(0x100)
    bus.send(0x200, node=1)
    bus.run(10**8)
    records = bus.records()
    off, on = records[records["kind"] == Kind.CAN_OFF]
    assert off["value"] == 1
    assert on["value"] == 0
    assert int(on["ns"]) - int(off["ns"]) == 128 * 11 * BIT
    errors = records[records["kind"] == Kind.CAN_ERROR]["ns"].astype(int)
    assert len(errors) == 32
    # passive from the 16th on: 8 bits of suspension, in which the other node sends its frame
    assert [identifier for _, identifier in bus.seen()] == [0x200, 0x100]
    assert set(np.diff(errors[:15])) == {37 * BIT}
    assert set(np.diff(errors[16:])) == {45 * BIT}


def test_a_node_off_the_bus_neither_sends_nor_receives(bus: Model) -> None:
    bus.command(Kind.CAN_OFF, line=PARTITION, value=2)
    bus.take(0x100)
    bus.send(0x200)
    bus.run(10**9)
    assert bus.seen() == [(bus.bits(0x200) * BIT, 0x200)]
    assert bus.records()[-1]["length"] & UNHEARD
    bus.command(Kind.CAN_OFF, line=PARTITION, value=0)
    bus.run(2 * 10**9)
    assert bus.seen()[-1] == (10**9 + bus.bits(0x100) * BIT, 0x100)


def test_an_open_bus_passes_nothing_until_it_is_closed(bus: Model) -> None:
    bus.command(Kind.CAN_OPEN, line=ANY, value=1)
    bus.send(0x100)
    bus.run(10**8)
    assert not bus.seen()
    bus.command(Kind.CAN_OPEN, line=ANY, value=0)
    bus.run(2 * 10**8)
    assert bus.seen() == [(10**8 + bus.bits(0x100) * BIT, 0x100)]


def test_another_bitrate_applies_from_the_next_frame(bus: Model) -> None:
    bus.send(0x100)
    bus.run(BIT)
    bus.command(Kind.CAN_BITRATE, id=125_000)
    bus.send(0x200)
    bus.run(10**7)
    first, second = bus.seen()
    assert first[0] == bus.bits(0x100) * BIT
    assert second[0] == first[0] + (3 + bus.bits(0x200)) * 4 * BIT


def test_late_timers_change_no_time_of_the_model(make: Callable[[], Model]) -> None:
    seen = []
    for late in (0, 130_000, 3_300_000):
        bus = make()
        cyclic(bus, 0x100, b"\1", 10**6)
        cyclic(bus, 0x080, bytes(8), 10**6)
        for _ in range(20):
            bus.send(0x300, bytes(8))
        bus.run(10**7, late)
        seen.append(bus.seen()[:20])
    assert seen[0] == seen[1]


def test_a_late_timer_starts_no_frame_before_an_earlier_event(bus: Model) -> None:
    between = (bus.bits(0x300) + 1) * BIT  # in the interframe space
    for _ in range(2):
        bus.send(0x300)
    bus.command(Kind.CAN_CONTENT, id=0x80)
    period = np.frombuffer((10**9).to_bytes(8, "little"), np.uint8)
    bus.command(Kind.CAN_PERIOD, id=0x80, ns=between, data=period)
    bus.run(10**7, late=10**6)
    assert [identifier for _, identifier in bus.seen()] == [0x300, 0x80, 0x300]


def busy(bus: Model) -> None:
    cyclic(bus, 0x80, b"\1\2", 700_000)
    bus.command(Kind.CAN_ERROR, line=ANY, id=5)
    bus.command(Kind.CAN_OFF, line=3, value=1)
    bus.send(0x90, b"\7", node=3)
    for number in range(6):
        bus.send(0x100 + number, bytes(number))
        bus.take(0x200 - number, bytes(number))


@pytest.mark.parametrize("at", [1, 100_000, 333_333, 1_000_001, 2_900_000, None])
def test_a_restored_bus_continues_as_the_saved_one(make: Callable[[], Model], at: int | None) -> None:
    bus, restored = make(), make()
    busy(bus)
    if at is None:  # in the interframe space
        bus.run(600_000)
        at = int(bus.records()[-1]["ns"]) + BIT
        bus = make()
        busy(bus)
    bus.run(at)
    before = len(bus.records())
    bus.c.stub_save()
    saved = bus.records()[before:].copy()
    bus.run(10**7)
    restored.run(at)
    for command in saved:
        if command["ns"]:  # the wires carry it out at its time
            restored.run(int(command["ns"]))
        restored.c.can_command(command.tobytes())
    restored.run(10**7)
    after = bus.records()[before + len(saved) :]
    assert len(after) > 10
    assert restored.records().tobytes() == after.tobytes()


def test_clearing_ends_all_that_the_bench_does(bus: Model) -> None:
    busy(bus)
    bus.command(Kind.CAN_OPEN, line=PARTITION, value=1)
    bus.run(BIT)
    bus.command(Kind.CAN_CLEAR)
    bus.run(10**8)
    assert [identifier for _, identifier in bus.seen()] == [0x80] + [0x200 - number for number in range(6)]
    assert np.count_nonzero(bus.records()["kind"] == Kind.CAN_ERROR) == 1, "that of the frame on the bus"


@pytest.fixture
def port(tmp_path: Path) -> ctypes.CDLL:
    made, folder = tmp_path / "port.so", SOURCES[0].parent
    options = ["-shared", "-fPIC", "-O1", f"-I{folder}", "-o", str(made)]
    subprocess.run([COMPILER, *options, str(HERE / "canport_stub.c"), str(folder / "canport.c")], check=True)
    return ctypes.CDLL(str(made))


def refusal(port: ctypes.CDLL) -> tuple[int, int]:
    record = np.frombuffer(ctypes.string_at(ctypes.addressof(ctypes.c_char.in_dll(port, "stub_record")), 24), SIGNAL)
    return int(record["kind"][0]), int(record["value"][0])


def test_the_port_joins_a_bus_of_the_known_layout(port: ctypes.CDLL) -> None:
    port.stub_connect(0, b"/objects/canbus0 250000")
    assert ctypes.c_uint.in_dll(port, "stub_begun").value == 250_000
    port.stub_send(0x123)
    assert ctypes.c_uint.in_dll(port, "stub_taken").value == 0x123


@pytest.mark.parametrize("layout", [1, 2, 3])
def test_the_port_stays_away_from_a_bus_of_another_layout(port: ctypes.CDLL, layout: int) -> None:
    port.stub_connect(layout, b"/objects/canbus0 250000")
    assert refusal(port) == (Kind.CAN_REFUSED, 2)
    assert ctypes.c_uint.in_dll(port, "stub_begun").value == 0


def test_the_port_reports_a_missing_bus(port: ctypes.CDLL) -> None:
    port.stub_connect(0, b"/objects/other 250000")
    assert refusal(port) == (Kind.CAN_REFUSED, 1)
