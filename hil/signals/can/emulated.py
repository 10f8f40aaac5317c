"""The CAN bus of an emulated board: the bus model in the emulator's process, by the wires."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.clock import Clock
from hil.measure.units import shown
from hil.qemu.wires import CAN_EVENT, FIRST_OF_CAN, Kind, Signals, Wires, signals
from hil.signals.can.frame import BUS, PARTITION, CanEvent, CanFrame

NOW = 0  # time of a command
EXTENDED, REMOTE = 1 << 31, 1 << 30  # of an id, as in `preload/canbus.h`
PARTITION_NODE, ANY_NODE, MOST_NODES = 255, 254, 254
NOT_RECEIVED, LENGTH = 0x80, 0x0F  # in the length of a record
ON, RECOVERS, STAYS_OFF = 0, 1, 2
LOWEST, HIGHEST = 5_000, 1_000_000  # bit/s
REFUSALS = {1: "QEMU has no such bus", 2: "QEMU's CAN bus has another layout than that of 5.2 to 10.1"}
Description = Callable[[], Clock]


class EmulatedCan:
    """The port of the bus of an emulated board; see `hil.signals.can.port.CanPort`.

    `wires` returns the wires of the running machine, `clock` describes their clock, `bitrate` is that of the image in
    bit/s. Raises `ConfigurationError` if the emulator cannot use the bus.
    """

    def __init__(self, wires: Callable[[], Wires], clock: Description, bitrate: int, channel: str = "can0") -> None:
        self.channel = channel
        self._get_wires, self._get_clock = wires, clock
        self._first_bitrate = bitrate
        self._nodes = {PARTITION: PARTITION_NODE, BUS: ANY_NODE}
        self._names = {PARTITION_NODE: PARTITION, ANY_NODE: BUS}
        self._wires: Wires | None = None
        self._begin()
        self._refresh()

    @property
    def clock(self) -> Clock:
        return self._get_clock()

    @property
    def exact(self) -> bool:
        return self._get_wires().exact

    @property
    def bitrate(self) -> int:
        self._refresh()
        return self._bitrate

    def now_ns(self) -> int:
        return self._get_wires().now_ns()

    def run_until(self, at_ns: int) -> None:
        self._get_wires().run_until(at_ns)
        self._refresh(settled=False)

    def wait(self, until_ns: int) -> bool:
        came = self._get_wires().wait(CAN_EVENT, until_ns) > 0
        self._refresh(settled=False)
        return came

    def frames(self) -> Sequence[CanFrame]:
        self._refresh(settled=False)
        return self._frames

    def seen(self) -> Sequence[CanFrame]:
        return self._frames

    def events(self) -> Sequence[CanEvent]:
        self._refresh()
        return self._events

    def send(self, frames: Sequence[CanFrame], node: str, at_ns: int | None = None) -> None:
        time = self._time(at_ns, "a frame")
        if frames:
            self._command([_command(Kind.CAN_FRAME, frame, self._node(node), time) for frame in frames])

    def cycle(self, frame: CanFrame, node: str, period_ns: int, at_ns: int | None = None) -> None:
        time, number = self._time(at_ns, "a cyclic frame"), self._node(node)
        period = _command(Kind.CAN_PERIOD, frame, number, time)
        period["data"] = np.frombuffer(period_ns.to_bytes(8, "little"), np.uint8)
        content = [_command(Kind.CAN_CONTENT, frame, number)] if period_ns else []
        self._command([*content, period])

    def change(self, frame: CanFrame, node: str) -> None:
        self._command([_command(Kind.CAN_CONTENT, frame, self._node(node))])

    def destroy(self, count: int, node: str, bit: int = 0) -> None:
        if not 0 <= count < 1 << 32 or not 0 <= bit < 256:
            raise ConfigurationError(
                f"{count} errors at bit {bit} are out of range", hint="Give a count from 0 and a bit from 0 to 255."
            )
        self._command([signals(kind=Kind.CAN_ERROR, line=self._node(node), id=count, value=bit)])

    def set_off(self, node: str, off: bool, *, recovers: bool = True) -> None:
        value = ON if not off else RECOVERS if recovers else STAYS_OFF
        self._command([signals(kind=Kind.CAN_OFF, line=self._node(node), value=value)])

    def set_open(self, node: str, open: bool) -> None:
        self._command([signals(kind=Kind.CAN_OPEN, line=self._node(node), value=int(open))])

    def set_bitrate(self, bitrate: int) -> None:
        if not LOWEST <= bitrate <= HIGHEST:
            raise ConfigurationError(f"the bitrate {bitrate} bit/s is out of range", hint="Give 5,000 to 1,000,000.")
        self._command([signals(kind=Kind.CAN_BITRATE, id=bitrate)])

    def clear(self) -> None:
        self._command([signals(kind=Kind.CAN_CLEAR), signals(kind=Kind.CAN_BITRATE, id=self._first_bitrate)])

    def close(self) -> None:
        pass

    def _begin(self) -> None:
        self._frames: list[CanFrame] = []
        self._events: list[CanEvent] = []
        self._read = 0
        self._bitrate = self._first_bitrate

    def _command(self, commands: Sequence[Signals]) -> None:
        self._get_wires().command(np.concatenate(commands))

    def _time(self, at_ns: int | None, what: str) -> int:
        if at_ns is None:
            return NOW
        if at_ns < (now := self.now_ns()):
            raise ConfigurationError(
                f"{what} cannot be sent at {shown(at_ns / 1e9)}: the bus is at {shown(now / 1e9)} already",
                hint="Give a time from can.now on, such as at=can.now + 5 * ms.",
            )
        return at_ns

    def _node(self, name: str) -> int:
        if name not in self._nodes:
            number = len(self._nodes) - 2
            if number == MOST_NODES:
                raise ConfigurationError(f"there are more than {MOST_NODES} CAN nodes, with {name!r}")
            self._nodes[name], self._names[number] = number, name
        return self._nodes[name]

    def _refresh(self, *, settled: bool = True) -> None:
        wires = self._get_wires()
        if wires is not self._wires:  # the board was booted again
            self._wires = wires
            self._begin()
        records = wires.records(settled=settled)
        new, self._read = records[self._read :], len(records)
        for record in new[new["kind"] >= FIRST_OF_CAN].tolist():
            self._note(*record)

    def _note(self, ns: int, kind: int, line: int, value: int, length: int, id: int, data: list[int]) -> None:
        node = self._names.get(line, f"node {line}")
        if kind in (Kind.CAN_FRAME, Kind.CAN_ERROR, Kind.CAN_LOST):
            remote = id & REMOTE != 0
            size = length & LENGTH
            frame = CanFrame(
                id & (EXTENDED - 1) & ~REMOTE,
                b"" if remote else bytes(data[:size]),
                id & EXTENDED != 0,
                remote,
                size,
                node,
                ns - (0 if kind == Kind.CAN_LOST else round(value * 1e9 / self._bitrate)),
                ns,
                not length & NOT_RECEIVED,
            )
            if kind == Kind.CAN_FRAME:
                self._frames.append(frame)
            else:
                self._events.append(CanEvent(ns, "error" if kind == Kind.CAN_ERROR else "lost", node, frame))
        elif kind == Kind.CAN_OFF:
            self._events.append(CanEvent(ns, "off" if value else "on", node))
        elif kind == Kind.CAN_OPEN:
            self._events.append(CanEvent(ns, "open" if value else "closed", node))
        elif kind == Kind.CAN_BITRATE:
            self._bitrate = id
            self._events.append(CanEvent(ns, "bitrate", BUS))
        elif kind == Kind.CAN_REFUSED:
            raise ConfigurationError(
                f"the CAN bus of the emulator cannot be used: {REFUSALS.get(value, value)}",
                hint="Check [can] of the image's manifest, or use another QEMU.",
            )


def _command(kind: Kind, frame: CanFrame, node: int, ns: int = NOW) -> Signals:
    flags = EXTENDED * frame.extended | REMOTE * frame.remote
    data = np.frombuffer(frame.data.ljust(8, b"\0"), np.uint8)
    return signals(ns=ns, kind=kind, line=node, id=frame.id | flags, length=frame.length, data=data)


def wires_of(get: Callable[[], Wires | None], board: str) -> Callable[[], Wires]:
    """Return a function that returns the wires, or raises `InfrastructureError` where there are none any more."""

    def wires() -> Wires:
        present = get()
        if present is None:
            raise InfrastructureError(f"board {board} has no CAN bus in this boot")
        return present

    return wires
