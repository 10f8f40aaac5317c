"""The host's end of a console in lock step with a machine's virtual time.

The machine pauses its virtual time after each line end and each prompt of its output, and resumes on a message that
may carry typed bytes. Thus typed bytes arrive at a virtual instant that only the machine determines, and a run repeats
to the bit. `hil/qemu/preload/lockstep.c` is the machine's end.
"""

from __future__ import annotations

import hashlib
import math
import select
import socket
import struct
import time
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

PAUSE = struct.Struct("<QQQ")  # bytes of output, virtual ns, messages that arrived outside a pause
MESSAGE = struct.Struct("<QI")  # latest virtual time of the next pause in ns, number of bytes to type
NEVER = (1 << 63) - 1
HOLD = MESSAGE.pack(NEVER, 0xFFFFFFFF)
WIRES = 0xFFFFFFFE  # as many commands follow as the time says
REPORT = MESSAGE.pack(0, 0xFFFFFFFD)
COMMAND_BYTES = 24  # of one command to the wires
POLL_MAX = 1e6  # seconds; poll() takes no longer times
HOLD_LIMIT = 5.0  # seconds for the report of a pause to follow the output before it
# the host takes about as long as virtual time, ten times as long beside ten busy programs
HOST_LIMIT, HOST_FACTOR = 120.0, 60.0  # host seconds for a stretch, and more for each second of its virtual time


class HostTooSlow(Exception):
    """The machine did not finish a stretch of virtual time within its limit of host time."""


class Lockstep:
    """The connection `control` to a machine in lock step, and the file `stamps` of virtual stamps that it writes.

    `past` is the `history` of the snapshot of a restored machine.
    """

    def __init__(self, control: socket.socket, stamps: Path, past: str = "") -> None:
        control.setblocking(False)
        self.path = stamps
        self.paused_at: int | None = None
        self._control = control
        self._received = b""
        self._ended = False
        self._now_ns: int | None = None  # at the last pause
        self._seen = False  # output was read whose pause is not reported yet
        self._limit_ns, self._waited_ns = NEVER, 0
        self._overdue, self._given = time.monotonic() + HOST_LIMIT, HOST_LIMIT
        self._history = hashlib.sha256(past.encode())
        self._typed = self._history.copy()
        self._loose = 0
        self._loose_reported = 0
        self._expired = False
        self._commands = b""  # to the wires, for the next message
        self._offsets: list[int] = []
        self._times: list[int] = []
        self._read = 0

    def fileno(self) -> int:
        """Return a file descriptor that is readable when the machine has paused."""
        return self._control.fileno()

    @property
    def lost(self) -> str:
        """The reason why the run may not repeat to the bit; empty while it does."""
        if count := max(self._loose, self._loose_reported):
            return f"input arrived {count} times while the machine was not paused"
        return ""

    @property
    def history(self) -> str:
        """The hexadecimal digest of what was typed since power-on and when, which determines the machine's state.

        The history of a restored machine continues that of its snapshot.
        """
        return self._history.hexdigest()[:16]

    @property
    def typed(self) -> str:
        """The hexadecimal digest of what was typed, whenever that was: it identifies runs that must repeat."""
        return self._typed.hexdigest()[:16]

    @property
    def now(self) -> float:
        """The virtual time of the last pause, in seconds. Raises `HostTooSlow`.

        Waits for the first pause and, after output was read, for the pause after that output: its report may arrive
        later than the output.
        """
        if self._now_ns is None or (self._seen and not self._expired):
            self._await_pause()
        return (self._now_ns or 0) / 1e9

    def passed(self, deadline: float) -> bool:
        """Check whether the paused machine has reached `deadline`, in seconds of virtual time."""
        return (self._now_ns or 0) >= _nanoseconds(deadline)

    @property
    def ended(self) -> bool:
        """Whether the machine's end of the connection is closed."""
        return self._ended

    @property
    def now_ns(self) -> int:
        """The virtual time of the last pause in ns. Raises as `now`."""
        _ = self.now
        return self._now_ns or 0

    @property
    def patience(self) -> float:
        """The host seconds that are left for the machine to pause."""
        return min(POLL_MAX, max(0.0, self._overdue - time.monotonic()))

    def give_up(self) -> HostTooSlow:
        """Return the error for exhausted `patience`, and `expire`."""
        self.expire()
        return HostTooSlow(f"the machine did not finish a stretch of virtual time in {self._given:.0f} s of host time")

    def take(self) -> None:
        """Read the machine's messages; its end is not reported here but by the line."""
        while True:
            try:
                data = self._control.recv(4096)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._ended = True
                return
            self._received += data
            while len(self._received) >= PAUSE.size:
                self.paused_at, self._now_ns, self._loose_reported = PAUSE.unpack_from(self._received)
                self._received = self._received[PAUSE.size :]
                self._seen = False
                if self._now_ns >= self._limit_ns:  # what follows depends on the length of the wait
                    self._history.update(b"waited %d\n" % self._waited_ns)
                    self._limit_ns = NEVER

    def saw(self) -> None:
        """Note that output is about to be read, so that `now` waits for the pause after it."""
        self._seen = self.paused_at is None

    def go_on(self, deadline: float = math.inf) -> None:
        """Let virtual time run until the next pause, at `deadline` at the latest."""
        with suppress(TimeoutError):  # the wait for the pause reports it
            self._release(_nanoseconds(deadline), b"", 1.0)

    def advance(self, limit_ns: int) -> None:
        """Let virtual time run until the next pause, at `limit_ns` at the latest. Raises `HostTooSlow`."""
        self._await_pause()
        self._release(limit_ns, b"", self._given)
        self._await_pause()

    def command(self, commands: bytes, *, stimulus: bool) -> None:
        """Pass commands to the machine's wires at the present pause, `COMMAND_BYTES` each. Raises `HostTooSlow`.

        They are sent with the next message to the machine. A `stimulus` changes the machine's state.
        """
        if stimulus:
            self.note(commands)
        else:
            self._begin_input()
        self._commands += commands

    def note(self, stimulus: bytes) -> None:
        """Note in the history what changes the machine's state at the present pause. Raises `HostTooSlow`."""
        self._begin_input()
        entry = b"wires %d\n%s" % (self._now_ns or 0, stimulus)
        self._history.update(entry)
        self._typed.update(entry)

    def _begin_input(self) -> None:
        self.take()
        if not self._expired:
            self._await_pause()

    def resume(self, commands: bytes) -> None:
        """Pass the saved commands of a restored machine to its wires at its first pause."""
        self._commands = commands + self._commands

    def settle(self) -> None:
        """Wait until the paused machine has carried out all commands. Raises `HostTooSlow`."""
        if self._commands:
            self._send_all(REPORT, HOST_LIMIT)
            self._await_pause()

    def hold(self) -> None:
        """Answer a pause so that a pending `stop` of the monitor takes effect right there.

        A machine that does not pause is stopped anywhere. When resumed it pauses first.
        """
        self._poll_pause(HOLD_LIMIT)
        if self.paused_at is not None:
            with suppress(TimeoutError):
                self._send_all(HOLD, 1.0)

    def expire(self) -> None:
        """Type without waiting for pauses from now on: the run depends on host time."""
        self._expired = True

    def type(self, data: bytes, timeout: float) -> None:
        """Type `data` at the pause, and let virtual time run until the next one, for `timeout` seconds at most.

        Raises `HostTooSlow` if the machine does not pause, `TimeoutError` if it does not take all bytes.
        """
        self.take()
        if not self._expired:
            self._await_pause()
        if self.paused_at is None or self._expired:
            self._loose += 1
        self._history.update(b"%d\n%s" % (self.paused_at or -1, data))
        self._typed.update(data)
        self._release(_nanoseconds(self.now + timeout), data, max(timeout, HOST_LIMIT))

    def stamp(self, offset: int) -> int | None:
        """Return the virtual stamp, in ns, of the line or prompt with the byte at `offset`; None before the first."""
        self._refresh()
        place = bisect_right(self._offsets, offset)
        return self._times[place - 1] if place else None

    def close(self) -> None:
        self._control.close()

    def _await_pause(self) -> None:
        """Wait for the next pause. Raises `HostTooSlow`."""
        if not self._poll_pause(self.patience):
            raise self.give_up()

    def _poll_pause(self, seconds: float) -> bool:
        """Wait for a pause or the machine's end, for `seconds` of host time; return whether it came."""
        ready = select.poll()
        ready.register(self._control, select.POLLIN)
        deadline = time.monotonic() + seconds
        self.take()
        while self.paused_at is None and not self._ended:
            if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
            self.take()
        return True

    def _release(self, limit_ns: int, data: bytes, seconds: float) -> None:
        self._seen = False
        self._limit_ns = limit_ns
        self._waited_ns = self._limit_ns - (self._now_ns or 0)
        self._given = HOST_LIMIT + HOST_FACTOR * (self._waited_ns / 1e9 if self._limit_ns < NEVER else 0.0)
        self._overdue = time.monotonic() + self._given
        self._send_all(MESSAGE.pack(self._limit_ns, len(data)) + data, seconds)

    def _send_all(self, data: bytes, timeout: float) -> None:
        self.paused_at = None
        if self._commands:
            data = MESSAGE.pack(len(self._commands) // COMMAND_BYTES, WIRES) + self._commands + data
            self._commands = b""
        self._control.settimeout(timeout)
        try:
            self._control.sendall(data)
        except TimeoutError:
            raise
        except OSError:  # it has ended; the line reports how
            pass
        finally:
            self._control.setblocking(False)

    def _refresh(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._read += len(whole)
        for record in whole.splitlines():
            virtual, offset = record.split(b"\t")
            self._times.append(int(virtual))
            self._offsets.append(int(offset))


def _nanoseconds(seconds: float) -> int:
    return NEVER if seconds > NEVER / 1e9 else max(0, round(seconds * 1e9))
