"""The process in the line that breaks what passes, on purpose.

Runs as a script of its own (`python -I -S relay.py BOARD_FD DRIVER_FD CONTROL_FD`), standard library
only. Requests come over the control socket, a line of JSON each; the answer to each is the report of
what was done so far, and one more report is sent when the line has ended. The first request starts it.

- `{"seed": N, "set": {"received": FAULTS, "sent": FAULTS}}`, either direction may be missing;
- `{"stop": SECONDS}`, `{"cut": true}`, `{}` for the report alone.

What happens to a byte is decided by its offset, never by when it came or with which others.
"""

import collections
import json
import math
import os
import random
import select
import sys
import time
from collections.abc import Callable
from typing import Any

CHUNK = 65536
UNDER_WAY = 1 << 20  # bytes held at most in a direction with delay; without, one chunk
WAITING = 100  # foreign lines held at most while none can be put in
LINGER = 0.5  # seconds to pass on what was written before the owner ended
BITS = 10  # of a byte on the line at 8N1
CHANCES = ("drop", "flip", "duplicate", "inject")
COUNTS = ("taken", "given", "dropped", "flipped", "duplicated", "injected", "stops")


class Lane:
    """One direction: what is read from `source` leaves at `sink`, late, paced or broken. Times are in seconds."""

    def __init__(self, name: str, seed: int, source: int, sink: int, now: float) -> None:
        self.source, self.sink = source, sink
        self.counts = dict.fromkeys(COUNTS, 0)
        self.ended = self.cut = self.deaf = False  # deaf: nobody takes what leaves
        self.out = memoryview(b"")  # may leave now
        self._dice = {chance: random.Random(f"{seed}/{name}/{chance}") for chance in CHANCES}
        self._queue: collections.deque[tuple[float, memoryview | Callable[[float], None]]] = collections.deque()
        self._held = 0
        self._head = memoryview(b"")  # the piece of the queue that is leaving
        self._lines: collections.deque[tuple[float, bytes]] = collections.deque()  # wait for their place
        self._line = memoryview(b"")  # the foreign line that is leaving
        self._data_next = False
        self._at_start = True  # of a line
        self._resume = 0.0  # nothing leaves before
        self._free = now  # when the paced line has sent what it was given
        self.set({}, now)

    def set(self, faults: dict[str, Any], now: float) -> None:
        """Break like this from now on; what was taken before is not affected, but for the pace."""
        self._byte = BITS / faults["baud"] if faults.get("baud") else 0.0
        self._free = max(self._free, now)
        self._delay = faults.get("delay", 0.0)
        self._text = faults.get("text", "")
        self._split = faults.get("split", True)
        self._chance = {name: faults[name] for name in CHANCES if faults.get(name)}
        self._next = {name: self.counts["taken"] + self._gap(name) for name in self._chance}
        script = faults.get("script", ())
        self._at_offset = [
            [self.counts["taken"] + step["offset"], step]
            for step in sorted((one for one in script if one["offset"] is not None), key=lambda one: one["offset"])
        ]
        self._at_time = collections.deque(
            (now + step["seconds"], step)
            for step in sorted((one for one in script if one["seconds"] is not None), key=lambda one: one["seconds"])
        )
        self._every = 1 / faults["lines"] if faults.get("lines") else 0.0
        self._next_line = now + self._every if self._every else math.inf

    @property
    def room(self) -> bool:
        return not self.ended and self._held < (UNDER_WAY if self._delay else CHUNK)

    @property
    def idle(self) -> bool:
        """Whether all that was taken has left."""
        return not (self._held or self._queue or self._line or self.out)

    def take(self, now: float) -> None:
        """Read what has come and decide what becomes of it."""
        try:
            data = os.read(self.source, CHUNK)
        except BlockingIOError:
            return
        except OSError:  # a closed pty says EIO, a reset connection ECONNRESET
            data = b""
        self.ended = not data
        if data:
            self._break(data, now + self._delay)

    def _break(self, data: bytes, due: float) -> None:
        view = memoryview(data)
        start = self.counts["taken"]
        self.counts["taken"] += len(data)
        done = 0
        while True:
            event = min(self._next.values(), default=math.inf)
            if self._at_offset:
                event = min(event, self._at_offset[0][0])
            if event >= start + len(data):
                break
            place = int(event) - start
            self._push(due, view[done:place])
            self._push(due, self._byte_at(int(event), view[place : place + 1], due))
            done = place + 1
        self._push(due, view[done:])

    def _byte_at(self, offset: int, byte: memoryview, due: float) -> memoryview:
        """What becomes of the one byte at `offset`, where something happens."""
        value, times = byte[0], 1
        dropped = False
        for name in [name for name, at in self._next.items() if at == offset]:
            dice = self._dice[name]
            if name == "drop":
                dropped = True
            elif name == "flip":
                value ^= 1 << dice.randrange(8)
                self.counts["flipped"] += 1
            elif name == "duplicate":
                times += 1
            else:
                self._queue.append((due, self._inject_here(self._text)))
            self._next[name] = offset + 1 + self._gap(name)
        again = []
        while self._at_offset and self._at_offset[0][0] == offset:
            step = self._at_offset.pop(0)[1]
            kind = step["kind"]
            if kind == "drop":
                dropped = True
            elif kind == "flip":
                value ^= step["mask"]
                self.counts["flipped"] += 1
            elif kind == "duplicate":
                times += 1
            else:
                self._queue.append((due, self._act(step)))
            if step.get("count", 1) > 1:
                again.append([offset + 1, {**step, "count": step["count"] - 1}])
        self._at_offset[:0] = again
        if dropped:
            self.counts["dropped"] += 1
            return byte[:0]
        self.counts["duplicated"] += times - 1
        return memoryview(bytes([value]) * times)

    def _gap(self, name: str) -> int:
        """How many bytes are spared before the next one that is not: one throw a fault, not one a byte."""
        chance = self._chance[name]
        return 0 if chance >= 1 else int(math.log(1.0 - self._dice[name].random()) / math.log1p(-chance))

    def _push(self, due: float, piece: memoryview) -> None:
        if piece:
            self._queue.append((due, piece))
            self._held += len(piece)

    def _inject_here(self, text: str) -> Callable[[float], None]:
        def inject(now: float) -> None:
            if self._split or self._at_start:
                self._line = self._made(text)
            else:
                self._lines.append((now, bytes(self._made(text))))

        return inject

    def _act(self, step: dict[str, Any]) -> Callable[[float], None]:
        """A scripted action on the line as a whole, to be done when it has got there."""
        if step["kind"] == "inject":
            return self._inject_here(step["text"])
        if step["kind"] == "stop":
            return lambda now: self.stop(now, step["length"])
        return lambda now: setattr(self, "cut", True)

    def _made(self, text: str) -> memoryview:
        self.counts["injected"] += 1
        return memoryview(text.format(n=self.counts["injected"]).encode())

    def stop(self, now: float, seconds: float) -> None:
        self.counts["stops"] += 1
        self._resume = max(self._resume, now + seconds)
        self._free = max(self._free, self._resume)

    def tick(self, now: float) -> None:
        """Do what is due by the clock."""
        while self._at_time and self._at_time[0][0] <= now:
            due, step = self._at_time.popleft()
            if step["kind"] == "inject":
                self._lines.append((due, bytes(self._made(step["text"]))))
            elif step["kind"] in ("stop", "cut"):
                self._act(step)(now)
            else:
                self._at_offset.insert(0, [self.counts["taken"], step])
        while self._next_line <= now:
            if len(self._lines) < WAITING:
                self._lines.append((self._next_line, bytes(self._made(self._text))))
            self._next_line += self._every

    def give(self, now: float) -> None:
        """Hand over what may leave now."""
        while now >= self._resume and not self.cut:
            if not self.out:
                self._fill(now)
            if not self.out:
                return
            try:
                taken = len(self.out) if self.deaf else os.write(self.sink, self.out)
            except BlockingIOError:
                return
            except OSError:  # what comes back from there may still be of use
                self.deaf = True
                continue
            self.counts["given"] += 0 if self.deaf else taken
            self.out = self.out[taken:]

    def _fill(self, now: float) -> None:
        """Put the next piece that may leave now into `out`."""
        while now >= self._resume and not self.cut:
            # when the line's owner has ended, its foreign writers begin no more
            waits = bool(self._lines) and not self._line and not (self.ended and not (self._held or self._queue))
            if waits and (self._split or self._at_start) and not (self._data_next and self._has_data(now)):
                due, text = self._lines.popleft()
                self._line = memoryview(text)
                self._free = max(self._free, due)
            elif not (self._line or self._head):
                if not self._has_data(now):
                    return
                due, item = self._queue.popleft()
                if callable(item):
                    item(now)
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

    def _has_data(self, now: float) -> bool:
        return bool(self._head) or (bool(self._queue) and self._queue[0][0] <= now)

    def wake(self, now: float) -> float:
        """When there is something to do by the clock, infinity where there is nothing."""
        wake = min(self._next_line, self._at_time[0][0] if self._at_time else math.inf)
        if now < self._resume:
            return min(wake, self._resume)
        if self.out:
            return wake  # it is the sink that we wait for
        if self._line or self._head:
            return min(wake, self._free + self._byte)
        return min(wake, self._queue[0][0] if self._queue else math.inf)

    def blocked(self, now: float) -> bool:
        """Whether the sink has to take something before anything can go on."""
        return bool(self.out) and now >= self._resume


class Relay:
    """The line with both its lanes, and the owner's requests."""

    def __init__(self, board: int, driver: int, control: int) -> None:
        self.board, self.driver, self.control = board, driver, control
        self._asked = b""
        self._owned = True
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
            for lane in lanes:
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
        if self.received.cut or self.sent.cut:
            return "cut"
        if self.received.ended and self.received.idle:
            return "closed by the board"
        if self.sent.ended and self.sent.idle:
            return "closed by the driver"
        return ""

    def _request(self) -> bytes:
        while b"\n" not in self._asked:  # the owner sends whole lines at once
            try:
                data = os.read(self.control, CHUNK)
            except OSError:  # the owner went without reading a report
                data = b""
            if not data:
                return b""
            self._asked += data
        line, _, self._asked = self._asked.partition(b"\n")
        return line

    def _obey(self, request: dict[str, Any], now: float) -> None:
        for name, faults in request.get("set", {}).items():
            lane: Lane = getattr(self, name)
            lane.set(faults, now)
        for lane in (self.received, self.sent):
            if "stop" in request:
                lane.stop(now, request["stop"])
            lane.cut = lane.cut or "cut" in request
        self._report("cut" if "cut" in request else "")

    def _report(self, ended: str) -> None:
        report = {"received": self.received.counts, "sent": self.sent.counts, "ended": ended}
        try:
            os.write(self.control, json.dumps(report).encode() + b"\n")
        except OSError:
            pass


def _watch(poll: select.poll, fd: int, mask: int) -> None:
    if mask:
        poll.register(fd, mask)
        return
    try:  # with an empty mask it would still tell of a hang-up, again and again
        poll.unregister(fd)
    except KeyError:
        pass


def realtime() -> None:
    """As the console's reader does: a pace is only as even as its process is punctual."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(40))
    except (OSError, AttributeError):
        pass


if __name__ == "__main__":
    realtime()
    Relay(*map(int, sys.argv[1:4])).run()
