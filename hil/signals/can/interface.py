"""The interface `hil` of python-can: `can.Bus(interface="hil", channel="can0")` is a node of the open board's bus.

Timeouts, periods and time stamps are seconds of the bus, which under QEMU in lock step is virtual time: `recv` lets it
pass. So whatever uses python-can works unchanged as long as it works in the thread of the test. In another thread, such
as that of `can.Notifier`, a Bus only listens: `recv` there returns frames as the test lets time pass.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from hil.errors import ConfigurationError, HilError
from hil.host import extras
from hil.signals.can.frame import BENCH, CanFrame, frame_of
from hil.signals.can.port import CanPort, open_port

extras.require("can", "the python-can interface")

import can  # noqa: E402
from can.broadcastmanager import (  # noqa: E402
    CyclicSendTaskABC,
    LimitedDurationCyclicSendTaskABC,
    ModifiableCyclicTaskABC,
    RestartableCyclicTaskABC,
)

POLL = 0.01  # seconds of the host, of a listener in another thread
FOREVER_NS = 3600 * 10**9  # without a timeout; longer than any test


class HilBus(can.BusABC):
    """A node of the bench on the bus of the open board, see the fixture `can`.

    `node` is its name: frames of other nodes are received, its own ones with `receive_own_messages`. `send` queues a
    frame and returns at once, since time passes only in `recv` and in the fixtures. Raises `CanInitializationError`
    without an open board.
    """

    def __init__(
        self,
        channel: Any = "can0",
        can_filters: Any = None,
        *,
        node: str = BENCH,
        receive_own_messages: bool = False,
        **options: Any,
    ) -> None:
        try:
            self._port: CanPort = open_port(str(channel))
        except ConfigurationError as error:
            raise can.CanInitializationError(f"{error.message}; {error.hint}") from None
        self.node = node
        self.channel_info = f"{channel} of the board under test, as node {node}"
        self._channel = channel
        self._own = receive_own_messages
        self._next = len(self._port.frames())
        self._thread = threading.get_ident()
        super().__init__(channel, can_filters, **options)

    def recv(self, timeout: float | None = None) -> can.Message | None:
        """Return the next frame; let the time of the bus pass, `timeout` seconds at most. 0 lets no time pass."""
        if threading.get_ident() != self._thread:
            return self._listen(timeout)
        limit = self._port.now_ns() + (FOREVER_NS if timeout is None else round(timeout * 1e9))
        while True:
            message = self._unread(self._port.frames())
            if message is not None:
                return message
            if not self._port.wait(limit) and len(self._port.frames()) == self._next:
                return None

    def send(self, msg: can.Message, timeout: float | None = None) -> None:
        self._refuse_thread("send")
        try:
            self._port.send([_frame(msg)], self.node)
        except HilError as error:
            raise can.CanOperationError(error.message) from error

    def _send_periodic_internal(
        self,
        msgs: Sequence[can.Message] | can.Message,
        period: float,
        duration: float | None = None,
        autostart: bool = True,
        modifier_callback: Callable[[can.Message], None] | None = None,
    ) -> CyclicSendTaskABC:
        self._refuse_thread("send_periodic")
        if modifier_callback is not None:
            raise NotImplementedError("a modifier_callback cannot be called in the emulator; use task.modify_data")
        if duration is not None:
            raise NotImplementedError("a periodic frame of limited duration is not supported; call task.stop()")
        messages = [msgs] if isinstance(msgs, can.Message) else list(msgs)
        if len(messages) != 1:
            raise NotImplementedError("several messages in turn are not supported; send each one periodically")
        return HilTask(self._port, self.node, messages[0], period, autostart)

    def _apply_filters(self, filters: Any) -> None:
        pass  # `recv` applies them

    def flush_tx_buffer(self) -> None:
        """Forget waiting frames, of all nodes of the bench; ends cyclic frames and faults too."""
        self._port.clear()

    def _unread(self, frames: Sequence[CanFrame]) -> can.Message | None:
        self._next = min(self._next, len(frames))  # fewer after another boot
        while self._next < len(frames):
            frame = frames[self._next]
            self._next += 1
            if frame.sender == self.node and not self._own:
                continue
            message = message_of(frame, self._channel, self.node)
            if self._matches_filters(message):
                return message
        return None

    def _listen(self, timeout: float | None) -> can.Message | None:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            message = self._unread(self._port.seen())
            if message is not None or (end is not None and time.monotonic() >= end) or self._is_shutdown:
                return message
            time.sleep(POLL)

    def _refuse_thread(self, what: str) -> None:
        if threading.get_ident() != self._thread:
            raise can.CanOperationError(
                f"{what} was called in another thread than that of the test: the time of the frame would be arbitrary. "
                "Call it in the test's thread; for ISO-TP and UDS use can.isotp(...) of the fixture."
            )


class HilTask(LimitedDurationCyclicSendTaskABC, ModifiableCyclicTaskABC, RestartableCyclicTaskABC):
    """A frame that the emulator sends at each multiple of its period."""

    def __init__(self, port: CanPort, node: str, message: can.Message, period: float, autostart: bool) -> None:
        super().__init__([message], period, None)
        self._port, self._node = port, node
        if autostart:
            self.start()

    def start(self) -> None:
        self._port.cycle(_frame(self.messages[0]), self._node, self.period_ns)

    def stop(self) -> None:
        self._port.cycle(_frame(self.messages[0]), self._node, 0)

    def modify_data(self, messages: Any) -> None:
        super().modify_data(messages)
        self._port.change(_frame(self.messages[0]), self._node)


def message_of(frame: CanFrame, channel: Any, node: str) -> can.Message:
    """Return `frame` as a message of python-can, stamped with the end of the frame in seconds."""
    return can.Message(
        timestamp=frame.end_ns / 1e9,
        arbitration_id=frame.id,
        is_extended_id=frame.extended,
        is_remote_frame=frame.remote,
        dlc=frame.length,
        data=frame.data,
        channel=channel,
        is_rx=frame.sender != node,
    )


def _frame(message: can.Message) -> CanFrame:
    if message.is_fd or message.is_error_frame:
        kind = "CAN FD frames" if message.is_fd else "error frames"
        raise can.CanOperationError(f"{kind} are not supported; see can.destroy() of the fixture for errors")
    try:
        return frame_of(
            message.arbitration_id,
            bytes(message.data),
            extended=message.is_extended_id,
            remote=message.is_remote_frame,
            length=message.dlc,
        )
    except ConfigurationError as error:
        raise can.CanOperationError(error.message) from error
