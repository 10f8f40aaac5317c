"""The CAN bus of a bench: an interface of the host, by python-can, whose time stamps are in host time."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import extras
from hil.measure.clock import Clock
from hil.signals.can.frame import BENCH, PARTITION, CanEvent, CanFrame

PYTHON_CAN = "python-can"  # the name of the clock
RESOLUTION = 1e-6  # seconds, of SocketCAN's stamps
KERNEL_STAMPS = ("socketcan",)  # interfaces whose stamps are taken in the kernel


class BenchCan:
    """The port of a bus of the host; see `hil.signals.can.port.CanPort`.

    Frames of all other nodes count as of the partition. Times are of the host's clock, since the port was opened.
    Faults, and frames at a given time, need an emulated board. Raises `MissingExtraError` without python-can,
    `InfrastructureError` if the interface cannot be opened.
    """

    def __init__(
        self, interface: str, channel: str, *, bitrate: int | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        extras.require("can", "the CAN bus of a bench")
        import can

        self.channel = channel
        self._interface = interface
        self._bitrate = bitrate or 0
        self._origin_ns = time.time_ns()
        self._frames: list[CanFrame] = []
        self._events: list[CanEvent] = []
        self._tasks: dict[tuple[str, tuple[int, bool, bool]], can.CyclicSendTaskABC] = {}
        given = {"receive_own_messages": True, **({"bitrate": bitrate} if bitrate else {}), **(options or {})}
        try:
            self._bus = can.Bus(interface=interface, channel=channel, **given)
        except (can.CanError, OSError, NotImplementedError, ValueError, TypeError) as error:
            raise InfrastructureError(
                f"the CAN interface {channel} ({interface}) cannot be opened: {error}",
                hint=f"Check `ip -details link show {channel}`, and HilCanInterface in the board's file.",
            ) from error

    @property
    def clock(self) -> Clock:
        where = "by the host's kernel" if self._interface in KERNEL_STAMPS else "by the host's driver or in Python"
        remark = f"stamps of {self._interface}, taken {where} at the end of a frame: host time, not the bus's own"
        return Clock(PYTHON_CAN, RESOLUTION, remark)

    @property
    def exact(self) -> bool:
        return False

    @property
    def bitrate(self) -> int:
        return self._bitrate

    def now_ns(self) -> int:
        return time.time_ns() - self._origin_ns

    def run_until(self, at_ns: int) -> None:
        while (left := at_ns - self.now_ns()) > 0:
            self._receive(left / 1e9)

    def wait(self, until_ns: int) -> bool:
        return self._receive(max(0, until_ns - self.now_ns()) / 1e9)

    def frames(self) -> Sequence[CanFrame]:
        while self._receive(0):
            pass
        return self._frames

    def seen(self) -> Sequence[CanFrame]:
        return self._frames

    def events(self) -> Sequence[CanEvent]:
        self.frames()
        return self._events

    def send(self, frames: Sequence[CanFrame], node: str, at_ns: int | None = None) -> None:
        if at_ns is not None:
            self._refuse("a frame at a given time")
        for frame in frames:
            self._try("send", lambda frame=frame: self._bus.send(_message(frame), timeout=1.0))

    def cycle(self, frame: CanFrame, node: str, period_ns: int, at_ns: int | None = None) -> None:
        if at_ns is not None:
            self._refuse("a cyclic frame from a given time on")
        task = self._tasks.pop((node, frame.key), None)
        if task is not None:
            task.stop()
        if period_ns:
            send = self._bus.send_periodic
            self._tasks[node, frame.key] = self._try("send", lambda: send(_message(frame), period_ns / 1e9))

    def change(self, frame: CanFrame, node: str) -> None:
        task: Any = self._tasks.get((node, frame.key))
        if task is not None:
            task.modify_data(_message(frame))

    def destroy(self, count: int, node: str, bit: int = 0) -> None:
        self._refuse("an error frame")

    def set_off(self, node: str, off: bool, *, recovers: bool = True) -> None:
        self._refuse("a node off the bus")

    def set_open(self, node: str, open: bool) -> None:
        self._refuse("a disconnected node")

    def set_bitrate(self, bitrate: int) -> None:
        self._refuse("another bitrate")

    def clear(self) -> None:
        for task in self._tasks.values():
            task.stop()
        self._tasks.clear()

    def close(self) -> None:
        self.clear()
        self._bus.shutdown()

    def _receive(self, seconds: float) -> bool:
        message = self._try("receive", lambda: self._bus.recv(seconds))
        if message is None:
            return False
        at = round(message.timestamp * 1e9) - self._origin_ns
        if message.is_error_frame:
            self._events.append(CanEvent(at, "error", PARTITION))
        elif not message.is_fd:
            sender = PARTITION if message.is_rx else BENCH
            data = b"" if message.is_remote_frame else bytes(message.data)
            remote, extended = message.is_remote_frame, message.is_extended_id
            self._frames.append(CanFrame(message.arbitration_id, data, extended, remote, message.dlc, sender, at, at))
        return True

    def _try(self, what: str, call: Any) -> Any:
        import can

        try:
            return call()
        except (can.CanError, OSError) as error:
            raise InfrastructureError(
                f"the CAN interface {self.channel} cannot {what}: {error}",
                hint="Check that the interface is up, that another node acknowledges, and its bitrate.",
            ) from error

    def _refuse(self, what: str) -> NoReturn:
        raise ConfigurationError(
            f"{what} needs an emulated board: {self.channel} is an interface of the host",
            hint="Choose a qemu-* board with --board, or skip this test on a bench.",
        )


def _message(frame: CanFrame) -> Any:
    import can

    return can.Message(
        arbitration_id=frame.id,
        is_extended_id=frame.extended,
        is_remote_frame=frame.remote,
        dlc=frame.length,
        data=frame.data,
    )
