"""The serial line of an emulated board: a pty that exists whether the board is on or off, like a USB adapter's."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import termios
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CHUNK = 4096
HELD = 1 << 20  # bytes held at most for a slow reader of the port
TYPED = 1 << 16  # bytes held at most for a slow board; then the writer has to wait
TICK = 0.001  # seconds between two pieces of a paced line
BITS = 10  # of a byte on the line at 8N1


class Wire:
    """Passes bytes between the pty `port` and the board that connects to the unix socket `path`.

    A serial line stores nothing: output of the board is lost while the port is closed, input while the board is off.
    A board never waits for a reader, so a reader that is slow for long loses bytes, too. `baud` (bits per second, 8N1)
    paces both directions, to about a millisecond. Works in the running event loop until `close`.
    """

    def __init__(self, path: Path, baud: int | None = None) -> None:
        self.path = path
        self.lost = 0  # bytes of the board that nobody read
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None
        self._board: socket.socket | None = None
        self._out = bytearray()  # to the port
        self._typed = bytearray()  # to the board
        self._used = False  # there may be unread bytes in the port
        self._from_board = _Lane(self._loop, self._read_board, baud)
        self._from_port = _Lane(self._loop, self._read_port, baud)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.port = os.ttyname(slave)
        os.set_blocking(self._master, False)
        os.close(slave)  # from now on a hang-up of the master means that the port is closed
        self._open = select.poll()
        self._open.register(self._master, 0)
        # edge-triggered, because a closed port is always "ready"
        self._edges = select.epoll()
        self._edges.register(self._master, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        self._server = socket.socket(socket.AF_UNIX)
        path.unlink(missing_ok=True)
        self._server.bind(str(path))
        self._server.listen(1)
        self._server.setblocking(False)
        self._loop.add_reader(self._edges.fileno(), self._look)
        self._loop.add_reader(self._server.fileno(), self._accept)

    def close(self) -> None:
        for fd in (self._edges.fileno(), self._server.fileno()):
            self._loop.remove_reader(fd)
        self.cut()
        self._from_port.stop()
        self._edges.close()
        self._server.close()
        os.close(self._master)

    def cut(self) -> None:
        """Drop the connection of a board that has lost its power, and the bytes under way."""
        self.connects()
        self._hang_up()
        self._out.clear()

    def connects(self) -> asyncio.Future[None]:
        """Return a future that is done when the next board has connected; an earlier one is cancelled."""
        if self._waiting is not None:
            self._waiting.cancel()
        self._waiting = self._loop.create_future()
        return self._waiting

    @property
    def _closed(self) -> bool:
        """Whether nobody has the port open."""
        return any(events & select.POLLHUP for _, events in self._open.poll(0))

    def _accept(self) -> None:
        try:
            board = self._server.accept()[0]
        except BlockingIOError:
            return
        self._hang_up()
        board.setblocking(False)
        self._board = board
        self._edges.register(board, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _hang_up(self) -> None:
        self._from_board.stop()
        self._typed.clear()
        if self._board is not None:
            self._board.close()
            self._board = None

    def _look(self) -> None:
        for fd, events in self._edges.poll(0):
            if fd != self._master:
                self._to_board()
                self._from_board.wake()
            elif events & select.EPOLLHUP:
                self._forget()
            else:
                self._to_port()
                self._from_port.wake()

    def _forget(self) -> None:
        """Discard unread bytes after the port was closed, so that the next reader does not get them."""
        self._to_port()
        if self._used:
            self._used = False  # first, because opening and closing cause this event again
            slave = os.open(self.port, os.O_RDWR | os.O_NOCTTY)
            termios.tcflush(slave, termios.TCIFLUSH)
            os.close(slave)

    def _read_board(self, limit: int) -> int:
        if self._board is None:
            return 0
        try:
            data = self._board.recv(limit)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._hang_up()
        room = HELD - len(self._out)
        self.lost += max(0, len(data) - room)
        self._out += data[:room]
        self._to_port()
        return len(data)

    def _to_port(self) -> None:
        if self._closed:
            self.lost += len(self._out)
            self._out.clear()
        with suppress(BlockingIOError):
            while self._out:
                self._used = True
                del self._out[: os.write(self._master, self._out)]

    def _read_port(self, limit: int) -> int:
        if len(self._typed) >= TYPED:
            return 0
        try:
            data = os.read(self._master, limit)
        except OSError:  # nothing there, or nobody
            return 0
        if self._board is not None:
            self._typed += data
            self._to_board()
        return len(data)

    def _to_board(self) -> None:
        full = len(self._typed) >= TYPED
        try:
            while self._typed and self._board is not None:
                del self._typed[: self._board.send(self._typed)]
        except BlockingIOError:
            pass
        except OSError:  # it has ended; the other lane handles this
            self._typed.clear()
        if full and len(self._typed) < TYPED:
            self._from_port.wake()


class _Lane:
    """One direction of a line: calls `pull` while there are bytes, at the line's pace if it has one.

    `pull` passes on at most the given number of bytes, and returns their number.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pull: Callable[[int], int], baud: int | None) -> None:
        self._loop, self._pull = loop, pull
        self._byte = BITS / baud if baud else 0.0
        self._free = 0.0  # when the paced line has sent all bytes passed on
        self._next: asyncio.Handle | None = None

    def wake(self) -> None:
        """Begin to pull."""
        if self._next is None:
            self._free = self._loop.time()
            self._plan()

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _plan(self) -> None:
        if self._byte:
            self._next = self._loop.call_at(max(self._free + self._byte, self._loop.time() + TICK), self._go)
        else:  # in turns with the other lines
            self._next = self._loop.call_soon(self._go)

    def _go(self) -> None:
        now = self._loop.time()
        most = min(int((now - self._free) / self._byte), CHUNK) if self._byte else CHUNK
        count = self._pull(most) if most else 0
        if self._next is None:  # stopped meanwhile
            return
        self._next = None
        if count or not most:
            # a line with less to send than it could was idle meanwhile
            self._free = self._free + count * self._byte if count == most else now
            self._plan()
