"""The host's end of a console in lock step with a machine's virtual time.

The machine stops its virtual time after each line end and each prompt that it puts out, and goes on when
it is told to, with something typed or without. So what is typed arrives at a virtual instant that only the
machine decides, and a run repeats to the bit. `hil/qemu/lockstep.c` is the machine's end.
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

PAUSE = struct.Struct("<QQQ")  # bytes put out, virtual ns, messages that were not awaited
MESSAGE = struct.Struct("<QI")  # virtual ns of the next pause at the latest, bytes to type
NEVER = (1 << 63) - 1
HOLD = MESSAGE.pack(NEVER, 0xFFFFFFFF)
HOLD_LIMIT = 5.0  # seconds for the word of a pause to follow the byte before it
# a stretch of virtual time takes the host about as long, ten times as long with ten programs beside it
HOST_LIMIT, HOST_FACTOR = 120.0, 60.0  # seconds of the host's, and so many more for each second of virtual time


class HostTooSlow(Exception):
    """The host did not get through a stretch of virtual time; the message says how long it was given."""


class Lockstep:
    """`control` is the connection to the machine, `stamps` the file of virtual stamps that it writes.

    `past` is the `history` that a restored machine comes from.
    """

    def __init__(self, control: socket.socket, stamps: Path, past: str = "") -> None:
        control.setblocking(False)
        self.path = stamps
        self.paused_at: int | None = None
        self._control = control
        self._said = b""
        self._ended = False
        self._now_ns: int | None = None  # at the last pause
        self._seen = False  # whether output was read whose pause is not reported yet
        self._limit_ns, self._waited_ns = NEVER, 0
        self._overdue, self._given = time.monotonic() + HOST_LIMIT, HOST_LIMIT
        self._history = hashlib.sha256(past.encode())
        self._typed = self._history.copy()
        self._loose = 0
        self._loose_told = 0
        self._expired = False
        self._offsets: list[int] = []
        self._times: list[int] = []
        self._read = 0

    def fileno(self) -> int:
        """Readable when the machine has paused."""
        return self._control.fileno()

    @property
    def lost(self) -> str:
        """Why the run cannot repeat to the bit any more; empty while it can."""
        if count := max(self._loose, self._loose_told):
            return f"{count} times something was typed that the machine did not wait for"
        return ""

    @property
    def history(self) -> str:
        """A digest, in hexadecimal, of what was typed since power-on and where: what the machine's state hangs on.

        A restored machine's is made of its snapshot's and of what was typed since.
        """
        return self._history.hexdigest()[:16]

    @property
    def typed(self) -> str:
        """The same of what was typed alone, wherever that was: what a run that shall repeat is known by."""
        return self._typed.hexdigest()[:16]

    @property
    def now(self) -> float:
        """The virtual time of the last pause, in seconds. Raises `HostTooSlow`.

        Waits for the first pause. After output was read, waits for the pause behind that output: its report may
        reach the host later than the output does.
        """
        if self._now_ns is None or (self._seen and not self._expired):
            self._await_pause()
        return (self._now_ns or 0) / 1e9

    def passed(self, deadline: float) -> bool:
        """Whether the machine, which has paused, has reached `deadline`, in seconds of virtual time."""
        return (self._now_ns or 0) >= _nanoseconds(deadline)

    @property
    def patience(self) -> float:
        """The host's seconds that are left for the machine to pause."""
        return max(0.0, self._overdue - time.monotonic())

    def give_up(self) -> HostTooSlow:
        """Return what to raise when no patience is left; from now on what is typed depends on the host."""
        self.expire()
        return HostTooSlow(f"the host did not get through a stretch of virtual time in {self._given:.0f} s")

    def take(self) -> None:
        """Read the messages of the machine. The line reports its end."""
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
            self._said += data
            while len(self._said) >= PAUSE.size:
                self.paused_at, self._now_ns, self._loose_told = PAUSE.unpack_from(self._said)
                self._said = self._said[PAUSE.size :]
                self._seen = False
                if self._now_ns >= self._limit_ns:  # what follows depends on how long was waited
                    self._history.update(b"waited %d\n" % self._waited_ns)
                    self._limit_ns = NEVER

    def saw(self) -> None:
        """Note that output is about to be read, so that `now` waits for the pause behind it."""
        self._seen = self.paused_at is None

    def go_on(self, deadline: float = math.inf) -> None:
        """Let virtual time run until the next pause, which is at `deadline` at the latest."""
        with suppress(TimeoutError):  # the wait for the pause reports it
            self._release(deadline, b"", 1.0)

    def hold(self) -> None:
        """Answer a pause so that the monitor's `stop`, which must be under way, takes effect right behind it.

        A machine that does not pause is stopped wherever it is. Once it goes on it pauses first.
        """
        self._poll_pause(HOLD_LIMIT)
        if self.paused_at is not None:
            with suppress(TimeoutError):
                self._send_all(HOLD, 1.0)

    def expire(self) -> None:
        """What is typed from now on depends on the host's time."""
        self._expired = True

    def type(self, data: bytes, timeout: float) -> None:
        """Type `data` at the pause, and let virtual time run until the next one, for `timeout` seconds at most.

        Raises `HostTooSlow` where the machine does not pause, `TimeoutError` where it does not take all.
        """
        self.take()
        if not self._expired:
            self._await_pause()
        if self.paused_at is None or self._expired:
            self._loose += 1
        self._history.update(b"%d\n%s" % (self.paused_at or -1, data))
        self._typed.update(data)
        self._release(self.now + timeout, data, max(timeout, HOST_LIMIT))

    def stamp(self, offset: int) -> int | None:
        """Virtual ns of the line that holds the byte at `offset`, or of its end; None before the first."""
        self._refresh()
        place = bisect_right(self._offsets, offset)
        return self._times[place - 1] if place else None

    def close(self) -> None:
        self._control.close()

    def _await_pause(self) -> None:
        """Wait for the end of the stretch that the machine is in. Raises `HostTooSlow`."""
        if not self._poll_pause(self.patience):
            raise self.give_up()

    def _poll_pause(self, seconds: float) -> bool:
        """Whether the machine has paused, or ended, within so many of the host's seconds."""
        ready = select.poll()
        ready.register(self._control, select.POLLIN)
        deadline = time.monotonic() + seconds
        self.take()
        while self.paused_at is None and not self._ended:
            if not ready.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
            self.take()
        return True

    def _release(self, deadline: float, data: bytes, seconds: float) -> None:
        self._seen = False
        self._limit_ns = _nanoseconds(deadline)
        self._waited_ns = self._limit_ns - (self._now_ns or 0)
        self._given = HOST_LIMIT + HOST_FACTOR * (self._waited_ns / 1e9 if self._limit_ns < NEVER else 0.0)
        self._overdue = time.monotonic() + self._given
        self._send_all(MESSAGE.pack(self._limit_ns, len(data)) + data, seconds)

    def _send_all(self, data: bytes, timeout: float) -> None:
        self.paused_at = None
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._control, select.POLLOUT)
        deadline = time.monotonic() + timeout
        while view:
            try:
                view = view[self._control.send(view) :]
            except BlockingIOError:
                if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                    raise TimeoutError from None
            except OSError:  # it has ended, and the line tells how
                return

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
