"""ISO-TP (ISO 15765-2) and UDS (ISO 14229) in the time of the bus, by the packages can-isotp and udsoncan.

Both have threads and timeouts of the host's clock, which mean nothing to a machine in lock step. `IsoTp` steps the
transport layer of can-isotp in the thread of the test and gives it the time of the bus; `IsoTp.uds` is a connection of
udsoncan over it. Everything else of both packages works unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hil.errors import RunnerError
from hil.host import extras
from hil.measure.units import Amount, amount
from hil.signals.can.frame import BENCH, frame_of
from hil.signals.can.port import CanPort

if TYPE_CHECKING:
    import isotp
    from udsoncan.connections import BaseConnection

POLL_NS = 1_000_000  # longest wait for a frame, so that the timers of the layer are looked at


class IsoTp:
    """A transport layer at the bus `port`: `rxid` and `txid` are the ids of frames to and from the bench.

    `extended` selects ids of 29 bits, `address` another addressing of can-isotp. `parameters` are those of can-isotp,
    such as `stmin=5, blocksize=8`; times in them are of the bus. Raises `MissingExtraError` without can-isotp.
    """

    def __init__(
        self,
        port: CanPort,
        *,
        txid: int,
        rxid: int,
        extended: bool = False,
        node: str = BENCH,
        address: isotp.Address | None = None,
        **parameters: Any,
    ) -> None:
        extras.require("isotp", "ISO-TP")
        import isotp

        self._port, self._node = port, node
        self._next = len(port.frames())
        self._errors: list[Exception] = []
        mode = isotp.AddressingMode.Normal_29bits if extended else isotp.AddressingMode.Normal_11bits
        self.layer = _layer(port)(
            self._receive,
            self._send,
            address or isotp.Address(mode, txid=txid, rxid=rxid),
            self._errors.append,
            parameters,
        )

    def send(self, data: bytes, *, timeout: Amount) -> None:
        """Send `data`; let time pass until the last frame is queued. Raises `RunnerError` if that takes longer."""
        limit = self._port.now_ns() + round(amount(timeout, "s", "the timeout") * 1e9)
        self.layer.send(bytearray(data))
        while self.layer.transmitting():
            self._step(limit, f"the {len(data)} bytes were not taken in {timeout}")

    def recv(self, *, timeout: Amount) -> bytes:
        """Return the next data; let time pass until it has come. Raises `RunnerError` if there is none."""
        limit = self._port.now_ns() + round(amount(timeout, "s", "the timeout") * 1e9)
        while not self.layer.available():
            self._step(limit, f"no data came in {timeout}")
        return bytes(self.layer.recv() or b"")

    def request(self, data: bytes, *, timeout: Amount) -> bytes:
        """Send `data` and return the answer."""
        self.send(data, timeout=timeout)
        return self.recv(timeout=timeout)

    def forget(self) -> None:
        """Forget data that have come, and what is being sent."""
        self.layer.reset()

    def uds(self) -> BaseConnection:
        """Return a connection for `udsoncan.client.Client`, whose timeouts are in the time of the bus.

        Raises `MissingExtraError` without udsoncan.
        """
        extras.require("udsoncan", "UDS")
        return _connection(self)

    def _step(self, limit: int, failure: str) -> None:
        self.layer.process()
        if self._errors:
            error = self._errors.pop(0)
            self._errors.clear()
            raise RunnerError(f"ISO-TP: {error}") from error
        now = self._port.now_ns()
        if self.layer.available() or (len(self._port.frames()) > self._next):
            return
        if now >= limit:
            self.layer.reset()
            raise RunnerError(f"ISO-TP: {failure}", hint="can.frames() lists the frames on the bus.")
        gap = self.layer.timer_tx_stmin
        pause = POLL_NS if gap.is_stopped() else min(gap.remaining_ns() + 1, POLL_NS)
        self._port.wait(min(limit, now + pause))

    def _receive(self, timeout: float = 0.0) -> isotp.CanMessage | None:
        import isotp

        frames = self._port.frames()
        while self._next < len(frames):
            frame = frames[self._next]
            self._next += 1
            if frame.sender != self._node and not frame.remote:
                return isotp.CanMessage(
                    arbitration_id=frame.id, data=frame.data, dlc=frame.length, extended_id=frame.extended
                )
        return None

    def _send(self, message: isotp.CanMessage) -> None:
        frame = frame_of(message.arbitration_id, bytes(message.data), extended=message.is_extended_id)
        self._port.send([frame], self._node)


def _layer(port: CanPort) -> type[isotp.TransportLayerLogic]:
    """Return the class of can-isotp's layer with timers in the time of the bus."""
    import isotp
    from isotp.tools import Timer

    class BusTimer(Timer):
        def start(self, timeout: float | None = None) -> None:
            super().start(timeout)
            self.start_time = port.now_ns()

        def elapsed_ns(self) -> int:
            return 0 if self.start_time is None else port.now_ns() - self.start_time

        def elapsed(self) -> float:
            return self.elapsed_ns() / 1e9

    class Layer(isotp.TransportLayerLogic):
        def __setattr__(self, name: str, value: Any) -> None:
            if type(value) is Timer:
                value = BusTimer(value.timeout / 1e9)
            super().__setattr__(name, value)

    return Layer


def _connection(isotp: IsoTp) -> BaseConnection:
    from udsoncan.connections import BaseConnection
    from udsoncan.exceptions import TimeoutException

    class Connection(BaseConnection):
        def __init__(self) -> None:
            super().__init__("hil")
            self._opened = False

        def open(self) -> Connection:
            self._opened = True
            return self

        def close(self) -> None:
            self._opened = False

        def is_open(self) -> bool:
            return self._opened

        def __enter__(self) -> Connection:
            return self

        def __exit__(self, *raised: object) -> None:
            self.close()

        def specific_send(self, payload: bytes, timeout: float | None = None) -> None:
            isotp.send(payload, timeout=Amount(10.0 if timeout is None else timeout, "s"))

        def specific_wait_frame(self, timeout: float | None = None) -> bytes:
            try:
                return isotp.recv(timeout=Amount(10.0 if timeout is None else timeout, "s"))
            except RunnerError as error:
                raise TimeoutException(error.message) from error  # type: ignore[no-untyped-call]

        def empty_rxqueue(self) -> None:
            isotp.forget()

        def empty_txqueue(self) -> None:
            pass

    return Connection()
