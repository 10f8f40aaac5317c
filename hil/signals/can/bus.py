"""The fixture `can`: sends and observes frames of the partition's CAN bus, with the time stamps of the bus itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hil.errors import ConfigurationError, InfrastructureError, RunnerError
from hil.measure.clock import Clock
from hil.measure.series import Series
from hil.measure.units import Amount, amount
from hil.signals.can.frame import BENCH, BUS, PARTITION, CanEvent, CanFrame, frame_of
from hil.signals.can.port import CanPort, announce, withdraw
from hil.signals.can.timeline import can_timeline
from hil.signals.edges import AXIS, Edges
from hil.signals.trace.timeline import Timeline

if TYPE_CHECKING:
    import can

    from hil.signals.can.isotp import IsoTp
    from hil.signals.can.restbus import Restbus

ANSWER_NS = 10_000_000  # for the answer to the last frame, before a module is stopped


class CyclicFrame:
    """A frame that its node sends at a fixed period, until `stop`; a context that stops it at its end."""

    def __init__(self, port: CanPort, frame: CanFrame, node: str, period_ns: int, at_ns: int | None) -> None:
        self.frame, self.node = frame, node
        self._port = port
        port.cycle(frame, node, period_ns, at_ns)

    def update(self, data: bytes) -> None:
        """Replace the data from the next time on."""
        old = self.frame
        self.frame = frame_of(old.id, data, extended=old.extended)
        self._port.change(self.frame, self.node)

    def stop(self) -> None:
        """Send the frame no longer."""
        self._port.cycle(self.frame, self.node, 0)

    def __enter__(self) -> CyclicFrame:
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()


class CanBus:
    """The CAN bus of the partition. Times are those of the bus; see `now`.

    In virtual time nothing happens between two calls: time passes in `advance`, `wait` and whatever waits for the
    console. The bench has as many nodes as the test names; each sends its frames in the order of their ids. `facts`
    returns the provenance of series. All methods raise `ConfigurationError` for what a frame or the bus cannot be.
    """

    def __init__(self, port: CanPort, facts: Callable[[], Mapping[str, str]] = dict) -> None:
        self.port = port
        self.begin_ns = port.now_ns()
        self._facts = facts
        self._after_ns = self.begin_ns  # `wait` returns frames from here on
        self._last_ns = 0  # of a frame that was sent
        self._next = len(port.frames())
        announce(port)

    @property
    def now(self) -> Amount:
        """The present time of the bus: in virtual time since power-on."""
        return Amount(self.port.now_ns() / 1e9, "s")

    @property
    def clock(self) -> Clock:
        return self.port.clock

    @property
    def bitrate(self) -> int:
        """The present bitrate in bit/s."""
        return self.port.bitrate

    def advance(self, duration: Amount) -> None:
        """Let time pass."""
        self.port.run_until(self.port.now_ns() + _ns(duration, "the duration"))

    def send(
        self,
        id: int,
        data: bytes = b"",
        *,
        extended: bool | None = None,
        remote: bool = False,
        length: int | None = None,
        node: str = BENCH,
        at: Amount | None = None,
    ) -> None:
        """Send a frame of the bench's node `node`, now or at the time `at`: queue it for the next arbitration.

        `extended` is by default whether the id needs 29 bits. `length` is that of a remote frame.
        """
        frame = frame_of(id, data, extended=extended, remote=remote, length=length)
        self._check_node(node)
        at_ns = None if at is None else _ns(at, "the time of a frame")
        begin = self.port.now_ns() if at_ns is None else at_ns
        self.port.send([frame], node, at_ns)
        self._after_ns = max(self._after_ns, begin)
        self._last_ns = max(self._last_ns, begin)

    def cyclic(
        self,
        id: int,
        data: bytes = b"",
        *,
        period: Amount,
        extended: bool | None = None,
        node: str = BENCH,
        at: Amount | None = None,
    ) -> CyclicFrame:
        """Send a frame each `period`, from now or from the time `at` on, without work of the host for each frame.

        A node has one cyclic frame of an id. A frame that is due again before the bus was free for it is replaced.
        """
        self._check_node(node)
        period_ns = _ns(period, "the period")
        if period_ns <= 0:
            raise ConfigurationError(f"the period {period} of a cyclic frame is not above 0")
        at_ns = None if at is None else _ns(at, "the time of a frame")
        return CyclicFrame(self.port, frame_of(id, data, extended=extended), node, period_ns, at_ns)

    def frames(self, *ids: int, sender: str | None = None, since: Amount | None = None) -> list[CanFrame]:
        """Return the frames on the bus, in order: since the begin of the test, or that ended at `since` or later.

        With `ids` only those, with `sender` only those of one node, such as "partition".
        """
        begin = self.begin_ns if since is None else _ns(since, "the begin")
        return [f for f in self.port.frames() if f.end_ns >= begin and _matches(f, ids, sender)]

    def wait(self, *ids: int, sender: str | None = None, timeout: Amount) -> CanFrame:
        """Return the next frame, with one of `ids` if given; let time pass until its end.

        Each call returns a later frame than the one before, and none from before the last `send`. Raises
        `RunnerError` if there is none within `timeout`.
        """
        limit = self.port.now_ns() + _ns(timeout, "the timeout")
        while True:
            frames = self.port.frames()
            self._next = min(self._next, len(frames))  # fewer after another boot
            while self._next < len(frames):
                frame = frames[self._next]
                self._next += 1
                if frame.end_ns > self._after_ns and _matches(frame, ids, sender):
                    return frame
            if not self.port.wait(limit) and len(self.port.frames()) == self._next:
                break
        wanted = " or ".join(f"{id:#x}" for id in ids) or "any id"
        lost = sum(event.kind == "lost" for event in self.events)
        raise RunnerError(
            f"no CAN frame with {wanted} from {sender or 'any node'} came in {timeout}"
            + (f"; {lost} frames found a full queue" if lost else ""),
            hint="Check that the module runs, may use CAN0, and has had its stimulus; can.frames() lists all frames.",
        )

    @property
    def events(self) -> list[CanEvent]:
        """Everything but frames that has happened on the bus since the begin of the test."""
        return [event for event in self.port.events() if event.at_ns >= self.begin_ns]

    def latency(self, request: int, answer: int) -> Series:
        """Return the times from the end of each frame `request` to the start of the first frame `answer` after it.

        An answer after the next request counts for that one. The provenance has the count of unanswered requests.
        """
        requests = self._pulses(request, [frame.end_ns for frame in self.frames(request)])
        answers = self._pulses(answer, [frame.begin_ns for frame in self.frames(answer)])
        return requests.latency_to(answers)

    def load(self, since: Amount | None = None) -> Amount:
        """Return the share of the time since the begin of the test, or since `since`, in which the bus was busy.

        The three bits between two frames count as busy, frames that were destroyed do not.
        """
        begin = self.begin_ns if since is None else _ns(since, "the begin")
        passed = self.port.now_ns() - begin
        if passed <= 0 or not self.bitrate:
            raise ConfigurationError("the load of the bus is unknown: no time has passed, or the bitrate is unknown")
        gap = 3e9 / self.bitrate
        busy = sum(f.end_ns - max(f.begin_ns, begin) + gap for f in self.frames(since=since))
        return Amount(min(1.0, busy / passed), "1")

    def destroy(self, count: int = 1, *, node: str = BUS, bit: int = 0) -> None:
        """Destroy the next `count` frames of `node`, by default of any node, with an error frame; they are repeated.

        The error begins at `bit` of the frame, 1 to 255, or near its end. After 32 errors in a row a node is off.
        """
        self.port.destroy(count, node, bit)

    def bus_off(self, node: str = PARTITION, *, recovers: bool = True) -> None:
        """Put `node` off the bus as after 32 errors: for 128 times 11 bits, or with `recovers=False` until `bus_on`."""
        self.port.set_off(node, True, recovers=recovers)

    def bus_on(self, node: str = PARTITION) -> None:
        """Put `node` back on the bus."""
        self.port.set_off(node, False)

    @contextmanager
    def open_wires(self, node: str = PARTITION) -> Iterator[None]:
        """Disconnect `node`, or with "bus" all nodes, in this context; its frames wait until the end of it."""
        self.port.set_open(node, True)
        try:
            yield
        finally:
            self.port.set_open(node, False)

    def set_bitrate(self, bitrate: int) -> None:
        """Set the bitrate of the bus, in bit/s, from the next frame on."""
        self.port.set_bitrate(bitrate)

    def bus(self, node: str = BENCH, **options: Any) -> can.BusABC:
        """Return a Bus of python-can that is the bench's node `node`. Raises `MissingExtraError` without python-can."""
        from hil.signals.can.interface import HilBus

        self._check_node(node)
        return HilBus(self.port.channel, node=node, **options)

    def restbus(self, database: str | Path, *, dut: str | Sequence[str] = ()) -> Restbus:
        """Send the cyclic frames of all nodes of a database (DBC, ARXML, KCD, SYM) but those of the `dut`.

        Raises `MissingExtraError` without cantools.
        """
        from hil.signals.can.restbus import Restbus

        return Restbus(self.port, database, dut=(dut,) if isinstance(dut, str) else dut)

    def isotp(self, *, txid: int, rxid: int, extended: bool = False, node: str = BENCH, **parameters: Any) -> IsoTp:
        """Return a transport layer of ISO-TP: `txid` and `rxid` are the ids of frames from and to the bench's `node`.

        `parameters` are those of can-isotp. Raises `MissingExtraError` without can-isotp.
        """
        from hil.signals.can.isotp import IsoTp

        self._check_node(node)
        return IsoTp(self.port, txid=txid, rxid=rxid, extended=extended, node=node, **parameters)

    def let_pass(self) -> None:
        """Let all frames pass that were sent at a given time, and 10 ms for the answer to the last one."""
        if self._last_ns:
            self.port.run_until(self._last_ns + ANSWER_NS)

    def timeline(self) -> Timeline:
        """Return the frames and faults since the begin of the test, for its trace."""
        return can_timeline(self.port, self.begin_ns)

    def close(self, *, quiet: bool = True) -> None:
        """Leave the bus, and with `quiet` end what the test has begun on it."""
        withdraw(self.port)
        with suppress(InfrastructureError):  # the machine may have ended
            if quiet:
                self.port.clear()
        self.port.close()

    def _pulses(self, id: int, times: Sequence[int]) -> Edges:
        """Return short pulses at `times`, so that frames make series as edges do."""
        begin = min([self.begin_ns, *times]) - 1
        ticks = np.array([begin, *(tick for time in times for tick in (time, time + 1))], dtype=np.int64)
        levels = np.array([0, *(1, 0) * len(times)], dtype=np.uint8)
        end = max(self.port.now_ns(), int(ticks[-1]))
        facts = {**self._facts(), AXIS: self.clock.name}
        return Edges(f"CAN {id:#x}", ticks, levels, end, 1e9, self.clock, facts)

    def _check_node(self, node: str) -> None:
        if node in (PARTITION, BUS):
            raise ConfigurationError(
                f"the bench cannot send as {node!r}", hint="Leave out node=, or name a node of the bench."
            )


def _matches(frame: CanFrame, ids: Sequence[int], sender: str | None) -> bool:
    return (not ids or frame.id in ids) and sender in (None, frame.sender)


def _ns(time: Amount, what: str) -> int:
    seconds = amount(time, "s", what)
    if seconds < 0:
        raise ConfigurationError(f"{what} is negative: {time}")
    return round(seconds * 1e9)
