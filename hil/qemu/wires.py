"""The wires of an emulated machine: commands to its pins, and the log of everything that happens on them.

`hil/qemu/preload/wires.c` is the machine's end. In lock step commands are carried out at the present pause, and time
passes only in `run_until` and `wait`. In real time they are carried out as soon as possible.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hil.console.lockstep import COMMAND_BYTES, MESSAGE, PAUSE, REPORT, WIRES, HostTooSlow, Lockstep
from hil.errors import Evidence, InfrastructureError

Signals = NDArray[np.void]
SIGNAL = np.dtype(
    [("ns", "<u8"), ("kind", "u1"), ("line", "u1"), ("value", "u1"), ("length", "u1"), ("id", "<u4"), ("data", "u1", 8)]
)
SAVED = 0x80  # with another kind: a record of a saved state, not an event
LINES = 8
RELEASED, INVERTED = 2, 3  # values of a `Kind.FAULT` beside 0 and 1
LEVEL = 2  # bit of the value of a `Kind.STATE`
AFTER = 1 << 63  # with the time of a command: counted from its arrival
EDGE_REPORT, FIRST_TIMER = 1, 16  # reasons of a report in real time
ANSWER_LIMIT = 10.0  # seconds for a machine in real time to answer


class Kind(IntEnum):
    """The kind of a command or record; see `enum signal_kind` in `preload/wires.h`."""

    LEVEL = 1
    FAULT = 2
    STATE = 3
    ARM = 4
    REPORT = 5
    SAVE = 6
    CLEAR = 7
    CAN_FRAME = 16
    CAN_CONTENT = 17
    CAN_PERIOD = 18
    CAN_ERROR = 19
    CAN_OFF = 20
    CAN_OPEN = 21
    CAN_BITRATE = 22
    CAN_STATE = 23
    CAN_LOST = 24
    CAN_REFUSED = 25
    CAN_CLEAR = 26


FIRST_OF_CAN = Kind.CAN_FRAME
CAN_EVENT = 1 << LINES  # a record of the CAN bus, in the mask of `Wires.wait`
NO_STIMULI = (Kind.ARM, Kind.REPORT, Kind.SAVE)  # what leaves the state of the machine as it is


@dataclass(frozen=True)
class WiresConfig:
    """The settings of the wires of one machine.

    `library` is the preload library, `log` the file of the log, `controller` the pins' controller as QEMU names its
    type; empty for a machine without pins. `can` is the path of the CAN bus and its bitrate in bit/s; empty for none.
    """

    library: Path
    log: Path
    controller: str
    can: str = ""


def signals(count: int = 1, **fields: object) -> Signals:
    """Return `count` commands with the given fields."""
    made = np.zeros(count, SIGNAL)
    for name, value in fields.items():
        made[name] = value
    return made


class WiresEnded(InfrastructureError):
    """The machine of the wires has ended."""


class Wires:
    """The host's end of the wires of a machine.

    `lockstep` is its console's connection in virtual time, `control` the connection of a machine in real time. `gone`
    returns why the machine has ended. All methods raise `InfrastructureError` if it has ended or does not answer.
    """

    def __init__(
        self, log: Path, lockstep: Lockstep | None, control: socket.socket | None, gone: Callable[[], str]
    ) -> None:
        self.path = log
        self.lockstep = lockstep
        self.stimuli = 0  # calls that changed the machine's state
        self.evidence: Callable[[], Evidence] = Evidence  # the console, once the machine has one
        self._control = control
        self._gone = gone
        self._read = 0
        self._records = np.zeros(1024, SIGNAL)  # with room for more
        self._count = 0
        self._levels = dict.fromkeys(range(LINES), 0)
        self._first_levels = dict(self._levels)
        self._timer = FIRST_TIMER

    @property
    def exact(self) -> bool:
        """Whether the wires are in lock step with virtual time."""
        return self.lockstep is not None

    def now_ns(self) -> int:
        """Return the virtual time: of the present pause, or of a moment ago in real time."""
        if self.lockstep is not None:
            with self._converted():
                return self.lockstep.now_ns
        self._send(REPORT)
        while True:
            reason, virtual_ns = self._await_report(ANSWER_LIMIT)
            if reason == 0:
                return virtual_ns

    def command(self, commands: Signals) -> None:
        """Pass commands, all stimuli or none, to the machine: at the present pause, or at once in real time."""
        stimulus = int(commands["kind"][0]) not in NO_STIMULI
        self.stimuli += stimulus
        if self.lockstep is not None:
            with self._converted():
                self.lockstep.command(commands.tobytes(), stimulus=stimulus)
        else:
            self._send(MESSAGE.pack(len(commands), WIRES) + commands.tobytes())

    def note(self, stimulus: bytes) -> None:
        """Note a stimulus that does not pass through the wires, such as a value in the plant's memory."""
        self.stimuli += 1
        if self.lockstep is not None:
            with self._converted():
                self.lockstep.note(stimulus)

    def run_until(self, at_ns: int) -> None:
        """Let time pass until `at_ns`."""
        while self._pass_time(at_ns):
            pass

    def wait(self, lines: int, until_ns: int, since: int | None = None) -> int:
        """Let time pass until the next edge of a line in the mask `lines`, until `until_ns` at most.

        Returns the number of records up to the edge; 0 if none came. With `CAN_EVENT` in the mask a record of the CAN
        bus counts too. `since` is a number of records that are older than the edge, by default all so far.
        """
        seen = len(self.records(settled=lines != CAN_EVENT)) if since is None else since  # no frame is complete at once
        found, more = 0, True
        self.command(signals(kind=Kind.ARM, id=lines))
        try:
            while True:
                if since is None:
                    more = self._pass_time(until_ns)
                since = None  # the edges so far are seen by now
                records = self.records(settled=False)
                new = records[seen:]
                edge = (new["kind"] == Kind.LEVEL) & (lines >> new["line"].astype(np.int64) & 1 == 1)
                places = np.flatnonzero(edge | (new["kind"] >= FIRST_OF_CAN) & (lines & CAN_EVENT > 0))
                if len(places):
                    found = seen + int(places[0]) + 1
                seen = len(records)
                if found or not more:
                    return found
        finally:
            if not (found and self.exact):  # else it is disarmed
                self.command(signals(kind=Kind.ARM, id=0))

    def records(self, *, settled: bool = True) -> Signals:
        """Return what has happened on the wires since power-on, oldest first; also after the machine has ended.

        Without `settled` what the latest commands have done at once may be missing, which saves an exchange.
        """
        if settled:
            with suppress(WiresEnded):
                self._settle()
        self._refresh()
        return self._records[: self._count]

    def level(self, line: int) -> int:
        """Return the present level of `line`, as the other end sees it."""
        self._settle()
        self._refresh()
        return self._levels[line]

    def first_level(self, line: int) -> int:
        """Return the level of `line` at power-on, or of a restored machine in its snapshot."""
        return self._first_levels[line]

    def save(self) -> bytes:
        """Return the state of the wires for `restore`: of a paused machine, or in real time of a stopped one."""
        self._settle()
        before = self._read
        self.command(signals(kind=Kind.SAVE))
        self._settle()
        with self.path.open("rb") as file:
            file.seek(before)
            records = np.frombuffer(file.read(), SIGNAL)
        records = records[records["kind"] & SAVED != 0].copy()
        records["kind"] &= ~np.uint8(SAVED)
        return bytes(records.tobytes())

    def trace(self) -> str:
        """Return everything that has happened on the wires so far, a line each, for the determinism check."""
        values = (record.tolist() for record in self.records())
        return "".join(f"{' '.join(map(str, fields))} {bytes(data).hex()}\n" for *fields, data in values)

    def restore(self, saved: bytes) -> None:
        """Restore the state `saved` in a machine that has not continued yet."""
        commands = np.frombuffer(saved, SIGNAL)
        self._note_levels(commands[commands["kind"] == Kind.STATE], LEVEL)
        self._first_levels = dict(self._levels)
        if self.lockstep is not None:
            self.lockstep.resume(saved)
        elif len(commands):
            self.command(commands)
            self.now_ns()  # they are carried out

    def close(self) -> None:
        """Close the connection of a machine in real time."""
        if self._control is not None:
            self._control.close()

    def _pass_time(self, until_ns: int) -> bool:
        """Let time pass until `until_ns`, or an earlier report; return whether `until_ns` is still ahead."""
        if self.lockstep is not None:
            with self._converted():
                if self.lockstep.now_ns < until_ns:
                    self.lockstep.advance(until_ns)
                return self.lockstep.now_ns < until_ns
        now = self.now_ns()
        if now >= until_ns:
            return False
        self._timer += 1
        self.command(signals(ns=until_ns, kind=Kind.REPORT, id=self._timer))
        while True:
            reason, now = self._await_report(ANSWER_LIMIT + 2 * (until_ns - now) / 1e9)
            if reason in (EDGE_REPORT, self._timer):
                return now < until_ns

    def _settle(self) -> None:
        """Wait until all commands are carried out."""
        if self.lockstep is not None:
            with self._converted():
                self.lockstep.settle()
        else:
            self.now_ns()

    def _refresh(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) // COMMAND_BYTES * COMMAND_BYTES
        if not whole:
            return
        self._read += whole
        new = np.frombuffer(data[:whole], SIGNAL)
        new = new[new["kind"] & SAVED == 0]
        end = self._count + len(new)
        if end > len(self._records):
            self._records = np.concatenate([self._records[: self._count], np.zeros(2 * end, SIGNAL)])
        self._records[self._count : end] = new
        self._count = end
        self._note_levels(new[new["kind"] == Kind.LEVEL], 1)

    def _note_levels(self, records: Signals, mask: int) -> None:
        for line in range(LINES):
            values = records["value"][records["line"] == line]
            if len(values):
                self._levels[line] = int(values[-1] & mask != 0)

    def _send(self, data: bytes) -> None:
        assert self._control is not None
        self._control.settimeout(ANSWER_LIMIT)
        try:
            self._control.sendall(data)
        except TimeoutError:
            raise self._silent(ANSWER_LIMIT) from None
        except OSError as error:
            raise self._ended() from error

    def _await_report(self, seconds: float) -> tuple[int, int]:
        """Return reason and virtual time of the next report of a machine in real time."""
        assert self._control is not None
        deadline, data = time.monotonic() + seconds, b""
        while len(data) < PAUSE.size:
            self._control.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                piece = self._control.recv(PAUSE.size - len(data))
            except TimeoutError:
                raise self._silent(seconds) from None
            except OSError:
                piece = b""
            if not piece:
                raise self._ended()
            data += piece
        reason, virtual_ns, _ = PAUSE.unpack(data)
        return reason, virtual_ns

    @contextmanager
    def _converted(self) -> Iterator[None]:
        """Convert the end and the delay of a machine in lock step into `InfrastructureError`."""
        assert self.lockstep is not None
        try:
            yield
        except HostTooSlow as error:
            hint = "Check whether the host is overloaded or QEMU is stopped. The board is given up."
            raise InfrastructureError(str(error), hint=hint, evidence=self.evidence()) from None
        if self.lockstep.ended:
            raise self._ended()

    def _ended(self) -> WiresEnded:
        reason = self._gone() or "the machine has closed them"
        return WiresEnded(f"the wires have ended: {reason}", evidence=self.evidence())

    def _silent(self, seconds: float) -> InfrastructureError:
        return InfrastructureError(
            f"the machine's wires did not answer in {seconds:.0f} s of host time",
            hint="Check whether the host is overloaded or QEMU is stopped.",
            evidence=self.evidence(),
        )
