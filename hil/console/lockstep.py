"""The host's end of a console in lock step with a machine's virtual time.

The machine stops its virtual time after each line end and each prompt that it puts out, and goes on when
it is told to, with something typed or without. So what is typed arrives at a virtual instant that only the
machine decides, and a run repeats to the bit. `hil/board/lockstep.c` is the machine's end.
"""

from __future__ import annotations

import hashlib
import select
import socket
import struct
import time
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

PAUSE = struct.Struct("<QQQ")  # bytes put out, virtual ns, messages that were not awaited
LENGTH = struct.Struct("<I")
HOLD = LENGTH.pack(0xFFFFFFFF)
PAUSE_LIMIT = 1.0  # seconds for the word of a pause to follow the byte before it


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
            return f"{count} times something was typed that the machine did not wait for or after a wait that timed out"
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

    def take(self) -> None:
        """Take in what the machine has said; of its end the line tells."""
        while True:
            try:
                data = self._control.recv(4096)
            except OSError:
                return
            if not data:
                return
            self._said += data
            while len(self._said) >= PAUSE.size:
                self.paused_at, _, self._loose_told = PAUSE.unpack_from(self._said)
                self._said = self._said[PAUSE.size :]

    def go_on(self) -> None:
        """Let virtual time run until the next pause; of a machine that does not hear it the wait tells."""
        with suppress(TimeoutError):
            self._send(b"", 1.0)

    def hold(self) -> None:
        """Answer a pause so that the monitor's `stop`, which must be under way, takes effect right behind it.

        A machine that does not pause is stopped wherever it is. Once it goes on it pauses first.
        """
        self._await_pause()
        if self.paused_at is not None:
            with suppress(TimeoutError):
                self._send_all(HOLD, 1.0)

    def expire(self) -> None:
        """A wait has ended by the host's time: what is typed from now on depends on the host."""
        self._expired = True

    def type(self, data: bytes, timeout: float) -> None:
        """Type `data` at the pause, and let virtual time run. Raises `TimeoutError` where it is not taken."""
        self.take()
        if not self._expired:
            self._await_pause()
        if self.paused_at is None or self._expired:
            self._loose += 1
        self._history.update(b"%d\n%s" % (self.paused_at or -1, data))
        self._typed.update(data)
        self._send(data, timeout)

    def stamp(self, offset: int) -> int | None:
        """Virtual ns of the line that holds the byte at `offset`, or of its end; None before the first."""
        self._refresh()
        place = bisect_right(self._offsets, offset)
        return self._times[place - 1] if place else None

    def close(self) -> None:
        self._control.close()

    def _await_pause(self) -> None:
        """The byte that it pauses after may be here before the word of the pause."""
        ready = select.poll()
        ready.register(self._control, select.POLLIN)
        self.take()
        if self.paused_at is None and ready.poll(PAUSE_LIMIT * 1000):
            self.take()

    def _send(self, data: bytes, timeout: float) -> None:
        self._send_all(LENGTH.pack(len(data)) + data, timeout)

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
