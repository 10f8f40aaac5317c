"""The process that reads a line: stamps each chunk and appends it to the transcript.

Runs as a script of its own (`python -I -S pump.py ...`), so that a busy test cannot delay a stamp;
it imports nothing but the standard library's smallest parts. The transcript is the queue between
pump and reader: the pump never waits for a reader, and memory stays bounded whatever arrives.

A UART gives a byte at a time. Each read has its own stamp, but files and reader are bothered once a
line, or once the line has been quiet for a millisecond, so that a booting machine keeps its processor.

Arguments: PORT_FD LIFELINE_FD WAKE_FD RAW_PATH INDEX_PATH KIND
- PORT_FD: the line (socket, tty or pty);
- LIFELINE_FD: a socket whose end of file means that the owner is gone;
- WAKE_FD: an eventfd, written when there is something new;
- KIND: `tcp` where the line is a TCP connection, anything else where it is not;
- index records: `monotonic ns <TAB> < <TAB> number of bytes`, `ns <TAB> ! <TAB> eof|REASON` at the end.
"""

import os
import select
import sys
import time

CHUNK = 65536
QUIET_MS = 1
BATCH = 256  # reads: bounds how late the reader hears of a long line
LAST = 256  # reads after the owner has gone: what had arrived, but not an endless flood


def realtime() -> None:
    """Ask for SCHED_FIFO: halves the stamps' tail where it is permitted, costs nothing elsewhere."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    except (OSError, AttributeError):
        pass


def append(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def main(port: int, lifeline: int, wake: int, raw_path: str, index_path: str, kind: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    raw = os.open(raw_path, flags)
    index = os.open(index_path, flags)
    realtime()
    if kind == "tcp":
        import socket  # takes 5 ms, which other lines need not wait for

        connection = socket.socket(fileno=port)

    def acknowledge() -> None:
        """A serial server without `nodelay` holds back what comes next until then; the option wears off."""
        try:
            if kind == "tcp":
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        except OSError:
            pass

    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    now = time.monotonic_ns
    chunks: list[bytes] = []
    records: list[bytes] = []

    def hand_over() -> None:
        """Raw bytes first: a record in the index vouches for them."""
        append(raw, b"".join(chunks))
        append(index, b"".join(records))
        chunks.clear()
        records.clear()
        os.eventfd_write(wake, 1)

    left = LAST
    reason = ""
    while not reason:
        ready = [fd for fd, _ in poll.poll(QUIET_MS if records else None)]
        left -= lifeline in ready
        data = b""
        # the line first: what has arrived is recorded even when the owner is gone
        if port in ready and left:
            try:
                data = os.read(port, CHUNK)
                stamp = now()
                reason = "" if data else "eof"
                acknowledge()
            except BlockingIOError:
                continue
            except OSError as error:  # a closed pty says EIO, a reset connection ECONNRESET
                stamp = now()
                reason = os.strerror(error.errno or 0)
            if data:
                chunks.append(data)
                records.append(b"%d\t<\t%d\n" % (stamp, len(data)))
            else:
                records.append(f"{stamp}\t!\t{reason}\n".encode())
        elif lifeline in ready:
            reason = "owner gone"
        full = len(data) == CHUNK or len(records) >= BATCH
        if records and (reason or full or not ready or b"\n" in data):
            try:
                hand_over()
            except OSError as error:  # the disk is full: the owner hears it as the line's end, if that much fits
                reason = f"cannot write the transcript: {os.strerror(error.errno or 0)}"
                chunks.clear()
                records[:] = [f"{now()}\t!\t{reason}\n".encode()]
                try:
                    hand_over()
                except OSError:
                    pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:7])
