"""The process that reads a line: stamps each chunk and appends it to the transcript.

Runs as a script of its own (`python -I -S pump.py ...`), so that a busy test cannot delay a stamp;
it imports nothing but the standard library's smallest parts. The transcript is the queue between
pump and reader: the pump never waits for a reader, and memory stays bounded whatever arrives.

Arguments: PORT_FD LIFELINE_FD WAKE_FD RAW_PATH INDEX_PATH
- PORT_FD: the line (socket, tty or pty);
- LIFELINE_FD: a socket whose end of file means that the owner is gone;
- WAKE_FD: an eventfd, written once per chunk;
- index records: `monotonic ns <TAB> < <TAB> number of bytes`, `ns <TAB> ! <TAB> eof|REASON` at the end.
"""

import os
import select
import sys
import time

CHUNK = 65536
LAST = 128  # chunks still taken once the owner is gone: what had arrived, not what a flood goes on to bring


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


def main(port: int, lifeline: int, wake: int, raw_path: str, index_path: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
    raw = os.open(raw_path, flags)
    index = os.open(index_path, flags)
    realtime()
    poll = select.poll()
    poll.register(port, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    now = time.monotonic_ns
    left = LAST
    reason = ""
    while not reason:
        # the line first: what has arrived is recorded even when the owner is gone
        ready = dict(poll.poll())
        left -= lifeline in ready
        if port in ready and left:
            try:
                data = os.read(port, CHUNK)
                stamp = now()
            except BlockingIOError:
                continue
            except OSError as error:  # a closed pty says EIO, a reset connection ECONNRESET
                data, stamp = b"", now()
                reason = os.strerror(error.errno or 0)
            if data:
                try:
                    append(raw, data)
                    append(index, b"%d\t<\t%d\n" % (stamp, len(data)))
                except OSError as error:
                    reason = f"cannot write the transcript: {os.strerror(error.errno or 0)}"
            else:
                reason = reason or "eof"
            if reason:
                try:
                    append(index, f"{stamp}\t!\t{reason}\n".encode())
                except OSError:
                    pass
            os.eventfd_write(wake, 1)
        elif lifeline in ready:
            reason = "owner gone"


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5])
