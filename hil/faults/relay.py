"""The process in the line that breaks bytes on purpose.

Runs as a script of its own (`python -I -S relay.py BOARD_FD DRIVER_FD CONTROL_FD`), standard library only. The owner
sends requests over the control socket, one line of JSON each. Each is answered with a report of all faults so far;
one more report follows when the line ends. The first request starts the relay.

- `{"seed": N, "set": {"received": FAULTS, "sent": FAULTS}}`: either direction may be missing;
- `{"stop": SECONDS}`, `{"cut": true}`, `{}` for the report alone.

Each decision depends on the offset of the byte, never on its time or on the bytes it came with.
"""

import collections
import contextlib
import json
import math
import os
import random
import select
import sys
import time
from typing import Any

CHUNK = 65536
UNDER_WAY = 1 << 20  # bytes held at most in a direction with delay; without, one chunk
WAITING = 100  # foreign lines held at most while none can be put in
LINGER = 0.5  # seconds to pass on what was written before the owner ended
BITS = 10  # of a byte on the line at 8N1
CHANCES = ("drop", "flip", "duplicate", "inject")
COUNTS = ("taken", "given", "dropped", "flipped", "duplicated", "injected", "stops")


class Lane:
    """One direction: bytes read from `source` leave at `sink`, late, paced or broken. Times are in seconds."""

    def __init__(self, name: str, seed: int, source: int, sink: int, now: float) -> None:
        self.name, self.source, self.sink = name, source, sink
        self.counts = dict.fromkeys(COUNTS, 0)
        self.ended = False  # the source has
        self.deaf = False  # nobody reads from the sink any more
        self.out = memoryview(b"")  # may leave now
        self._dice = {chance: random.Random(f"{seed}/{name}/{chance}") for chance in CHANCES}
        # pieces of data, and templates of foreign lines to put in between, with the time from which they may leave
        self._queue: collections.deque[tuple[float, memoryview | str]] = collections.deque()
        self._held = 0  # bytes of data in the queue and in `_head`
        self._head = memoryview(b"")  # the piece that is leaving
        self._lines: collections.deque[tuple[float, bytes]] = collections.deque()  # foreign, waiting
        self._line = memoryview(b"")  # the foreign line that is leaving
        self._data_next = False
        self._at_start = True  # of a line
        self._resume = 0.0  # nothing leaves before
        self._free = now  # when the paced line has sent all that left
        self.set({}, now)

    def set(self, faults: dict[str, Any], now: float) -> None:
        """Apply `faults` to the bytes taken from now on, their pace also to those under way."""
        self._byte = BITS / faults["baud"] if faults.get("baud") else 0.0
        self._free = max(self._free, now)
        self._delay = faults.get("delay", 0.0)
        self._text = faults.get("text", "")
        self._split = faults.get("split", True)
        self._chance = {name: faults[name] for name in CHANCES if faults.get(name)}
        self._next = {name: self.counts["taken"] + self._gap(name) for name in self._chance}
        self._every = 1 / faults["lines"] if faults.get("lines") else 0.0
        self._next_line = now + self._every if self._every else math.inf

    @property
    def room(self) -> bool:
        return not self.ended and self._held < (UNDER_WAY if self._delay else CHUNK)

    @property
    def idle(self) -> bool:
        """Whether everything taken has left."""
        return not (self._held or self._queue or self._line or self.out)

    def take(self, now: float) -> None:
        """Read from the source and decide the fate of each byte."""
        try:
            data = os.read(self.source, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a closed pty reports EIO, a reset connection ECONNRESET
            data = b""
        self.ended = not data
        if data:
            self._break(data, now + self._delay)

    def _break(self, data: bytes, due: float) -> None:
        view = memoryview(data)
        start = self.counts["taken"]
        self.counts["taken"] += len(data)
        done = 0
        while (event := min(self._next.values(), default=math.inf)) < start + len(data):
            place = int(event) - start
            self._push(due, view[done:place])
            self._push(due, self._broken(int(event), view[place : place + 1], due))
            done = place + 1
        self._push(due, view[done:])

    def _broken(self, offset: int, byte: memoryview, due: float) -> memoryview:
        """Return what becomes of the one byte at `offset`, which at least one fault hits."""
        value, times = byte[0], 1
        for name in [name for name, at in self._next.items() if at == offset]:
            if name == "drop":
                times = -1  # also where it would be duplicated
            elif name == "flip":
                value ^= 1 << self._dice[name].randrange(8)
                self.counts["flipped"] += 1
            elif name == "duplicate":
                times *= 2
            else:
                self._queue.append((due, self._text))
            self._next[name] = offset + 1 + self._gap(name)
        if times < 0:
            self.counts["dropped"] += 1
            return byte[:0]
        self.counts["duplicated"] += times - 1
        return memoryview(bytes([value]) * times)

    def _gap(self, name: str) -> int:
        """Return the number of bytes spared before the next fault: one draw a fault instead of one a byte."""
        chance = self._chance[name]
        return 0 if chance >= 1 else int(math.log(1.0 - self._dice[name].random()) / math.log1p(-chance))

    def _push(self, due: float, piece: memoryview) -> None:
        if piece:
            self._queue.append((due, piece))
            self._held += len(piece)

    def _made(self, text: str) -> bytes:
        self.counts["injected"] += 1
        return text.format(n=self.counts["injected"]).encode()

    def stop(self, now: float, seconds: float) -> None:
        """Let nothing leave for so long."""
        self.counts["stops"] += 1
        self._resume = max(self._resume, now + seconds)
        self._free = max(self._free, self._resume)

    def tick(self, now: float) -> None:
        """Make the foreign lines that are due by the clock."""
        while self._next_line <= now:
            if len(self._lines) < WAITING:
                self._lines.append((self._next_line, self._made(self._text)))
            self._next_line += self._every

    def give(self, now: float) -> None:
        """Write what may leave now."""
        while now >= self._resume:
            if not self.out:
                self._fill(now)
            if not self.out:
                return
            try:
                taken = len(self.out) if self.deaf else os.write(self.sink, self.out)
            except BlockingIOError:
                return
            except OSError:  # the other direction may still be of use
                self.deaf = True
                continue
            self.counts["given"] += 0 if self.deaf else taken
            self.out = self.out[taken:]

    def _fill(self, now: float) -> None:
        """Put the next piece that may leave now into `out`."""
        while True:
            # when the line's owner has ended, no foreign line begins any more
            waits = bool(self._lines) and not self._line and not (self.ended and not (self._held or self._queue))
            if waits and (self._split or self._at_start) and not (self._data_next and self._has_data(now)):
                due, text = self._lines.popleft()
                self._line = memoryview(text)
                self._free = max(self._free, due)
            elif not (self._line or self._head):
                if not self._has_data(now):
                    return
                due, item = self._queue.popleft()
                if isinstance(item, str):
                    self._put_in(item, now)
                    continue
                self._head = item
                self._free = max(self._free, due)
            piece = self._line or self._head
            count = len(piece)
            if self._byte:
                count = min(count, int((now - self._free) / self._byte + 1e-6))
            if count <= 0:
                return
            if not self._line and self._lines and not self._split:  # a line end lets the foreign line in
                count = bytes(piece[:count]).find(b"\n") + 1 or count
            self._free += count * self._byte
            self.out = piece[:count]
            self._data_next = bool(self._line)  # neither writer starves the other
            if self._line:
                self._line = self._line[count:]
            else:
                self._head = self._head[count:]
                self._held -= count
            self._at_start = self.out[-1] == 10
            return

    def _put_in(self, text: str, now: float) -> None:
        """Let a foreign line leave here, or at the next start of a line."""
        if self._split or self._at_start:
            self._line = memoryview(self._made(text))
        else:
            self._lines.append((now, self._made(text)))

    def _has_data(self, now: float) -> bool:
        return bool(self._head) or (bool(self._queue) and self._queue[0][0] <= now)

    def wake(self, now: float) -> float:
        """Return when the clock next requires something; infinity for never."""
        wake = self._next_line
        if now < self._resume:
            return min(wake, self._resume)
        if self.out:
            return wake  # only the sink can let it go on
        if self._line or self._head:
            return min(wake, self._free + self._byte)
        return min(wake, self._queue[0][0] if self._queue else math.inf)

    def blocked(self, now: float) -> bool:
        """Whether nothing can go on until the sink takes something."""
        return bool(self.out) and now >= self._resume


class Relay:
    """The line with both its lanes, and the requests of its owner."""

    def __init__(self, board: int, driver: int, control: int) -> None:
        self.board, self.driver, self.control = board, driver, control
        self._requests = b""
        self._owned = True
        self._cut = False
        first = json.loads(self._request())
        now = time.monotonic()
        self.received = Lane("received", first["seed"], board, driver, now)
        self.sent = Lane("sent", first["seed"], driver, board, now)
        self._obey(first, now)

    def run(self) -> None:
        """Pass bytes until a side has ended, the line is cut or the owner is gone."""
        poll = select.poll()
        leave = math.inf
        lanes = self.received, self.sent
        while True:
            now = time.monotonic()
            for lane in lanes if not self._cut else ():
                lane.tick(now)
                lane.give(now)
            if ended := self._ended() or ("closed by its owner" if now >= leave else ""):
                self._report(ended)
                return
            for fd, into, outof in ((self.board, self.sent, self.received), (self.driver, self.received, self.sent)):
                _watch(poll, fd, outof.room * select.POLLIN | into.blocked(now) * select.POLLOUT)
            _watch(poll, self.control, self._owned * select.POLLIN)
            wake = min(self.received.wake(now), self.sent.wake(now), leave)
            if not self._owned and self.sent.idle:
                wake = now  # only to see whether more was written
            limit = None if math.isinf(wake) else max(0.0, wake - now) * 1000
            events = dict(poll.poll(limit))
            now = time.monotonic()
            if self.control in events:
                line = self._request()
                if line:
                    self._obey(json.loads(line), now)
                else:
                    self._owned, leave = False, now + LINGER
            for lane in lanes:
                if lane.room and lane.source in events:
                    lane.take(now)
                elif events.get(lane.source, 0) & (select.POLLHUP | select.POLLERR):
                    (self.sent if lane is self.received else self.received).deaf = True
            if not self._owned and self.sent.idle and self.driver not in events:
                leave = now

    def _ended(self) -> str:
        if self._cut:
            return "cut"
        if self.received.ended and self.received.idle:
            return "closed by the board"
        if self.sent.ended and self.sent.idle:
            return "closed by the driver"
        return ""

    def _request(self) -> bytes:
        while b"\n" not in self._requests:  # the owner sends whole lines at once
            try:
                data = os.read(self.control, CHUNK)
            except OSError:  # the owner went without reading a report
                data = b""
            if not data:
                return b""
            self._requests += data
        line, _, self._requests = self._requests.partition(b"\n")
        return line

    def _obey(self, request: dict[str, Any], now: float) -> None:
        for lane in (self.received, self.sent):
            if lane.name in request.get("set", {}):
                lane.set(request["set"][lane.name], now)
            if "stop" in request:
                lane.stop(now, request["stop"])
        self._cut = self._cut or "cut" in request
        self._report("cut" if self._cut else "")

    def _report(self, ended: str) -> None:
        report = {"received": self.received.counts, "sent": self.sent.counts, "ended": ended}
        with contextlib.suppress(OSError):
            os.write(self.control, json.dumps(report).encode() + b"\n")


def _watch(poll: select.poll, fd: int, mask: int) -> None:
    if mask:
        poll.register(fd, mask)
        return
    with contextlib.suppress(KeyError):
        poll.unregister(fd)  # an empty mask would still report a hang-up, again and again


if __name__ == "__main__":
    Relay(*map(int, sys.argv[1:4])).run()
