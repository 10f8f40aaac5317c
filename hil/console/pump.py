"""The process that reads a line, stamps each chunk and appends it to the transcript.

A script of its own (`python -I -S pump.py ...`), so that a busy test cannot delay a stamp; it imports only small
parts of the standard library. The transcript is the queue between pump and console: the pump never waits for the
console, and its memory is bounded.

A UART delivers single bytes. Each read has its own stamp, but files and console are updated once per line, or when
the line has been quiet for a millisecond: this leaves the processor to a booting machine.

Arguments: PORT_FD LIFELINE_FD WAKE_FD RAW_PATH INDEX_PATH KIND
- PORT_FD: the line (socket, tty or pty);
- LIFELINE_FD: a socket; its end of file means that the owner has ended;
- WAKE_FD: an eventfd, written when something has arrived;
- KIND: `tcp` for a TCP connection, else anything;
- index records: `monotonic ns <TAB> < <TAB> number of bytes`, `ns <TAB> ! <TAB> eof|REASON` at the end.
"""

import os
import select
import sys
import time

CHUNK = 65536
QUIET_MS = 1
BATCH = 256  # reads; bounds the delay of a long line
LAST = 256  # reads after the owner has ended: what had arrived, but not an endless flood


def append(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def main(port: int, lifeline: int, wake: int, raw_path: str, index_path: str, kind: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    raw = os.open(raw_path, flags)
    index = os.open(index_path, flags)
    if kind == "tcp":
        import socket  # takes 5 ms

        connection = socket.socket(fileno=port)

    def acknowledge() -> None:
        """Acknowledge at once: a serial server without `nodelay` waits for it. The option does not last."""
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
        """Write raw bytes, then their records: a record promises its bytes."""
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
        # the line first: what has arrived is recorded even after the owner has ended
        if port in ready and left:
            try:
                data = os.read(port, CHUNK)
                stamp = now()
                reason = "" if data else "eof"
                acknowledge()
            except BlockingIOError:
                continue
            except OSError as error:  # EIO of a closed pty, ECONNRESET of a reset connection
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
            except OSError as error:  # the disk is full: reported as the end of the line if that fits
                reason = f"cannot write the transcript: {os.strerror(error.errno or 0)}"
                chunks.clear()
                records[:] = [f"{now()}\t!\t{reason}\n".encode()]
                try:
                    hand_over()
                except OSError:
                    pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:7])
