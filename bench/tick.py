"""How wrong are the stamps of a line's bytes? Usage: tick.py [SECONDS] [ROUNDS]

A small C program (SCHED_FIFO where permitted, above every reader) writes the monotonic clock into a pty a thousand
times a second. The error of a stamp is the reader's time less the one that is written there. Readers: our console, a
bare read loop, pexpect, labgrid's SerialDriver; idle, with a CPU hog per core, and with the test's own Python busy:
it computes while the lines come, and looks at our console afterwards; the peers have to read in a thread beside it.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import lines
from pexpect.fdpexpect import fdspawn

from hil.console import Console, Transcript

EMITTER = r"""
#define _GNU_SOURCE
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int argc, char **argv) {
    struct sched_param priority = {.sched_priority = 60};
    struct timespec due, now;
    char text[32];
    int line = atoi(argv[1]), left = atoi(argv[2]);
    sched_setscheduler(0, SCHED_FIFO, &priority);
    clock_gettime(CLOCK_MONOTONIC, &due);
    due.tv_nsec += 500000000; /* until every reader, and the console's process, is at work */
    while (left-- > 0) {
        due.tv_nsec += 1000000;
        if (due.tv_nsec >= 1000000000) { due.tv_nsec -= 1000000000; due.tv_sec++; }
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        int size = sprintf(text, "%lld\n", now.tv_sec * 1000000000LL + now.tv_nsec);
        if (write(line, text, size) != size) return 1;
    }
    return write(line, "end\n", 4) != 4;
}
"""
Errors = list[int]  # ns
Reader = Callable[[str, Path, Callable[[], None]], Errors]


def console(device: str, directory: Path, emit: Callable[[], None]) -> Errors:
    transcript = Transcript.create(directory, "tick")
    with Console(lines.opened(device), transcript) as line:
        emit()
        line.wait_for(b"end\n", timeout=60)
        stamps = [(one.text, transcript.time_at(one.offset + len(one.text))) for one in line.lines()]
    transcript.close()
    return [stamp - int(text) for text, stamp in stamps if text != "end"]


def bare(device: str, _: Path, emit: Callable[[], None]) -> Errors:
    errors: Errors = []
    fd = lines.opened(device)
    emit()
    carry = b""
    while b"end" not in carry:
        data = os.read(fd, 65536)
        stamp = time.monotonic_ns()
        *whole, carry = (carry + data).split(b"\n")
        errors += [stamp - int(text) for text in whole if text != b"end"]
        if b"end" in whole:
            break
    os.close(fd)
    return errors


def pexpect(device: str, _: Path, emit: Callable[[], None]) -> Errors:
    errors: Errors = []
    fd = lines.opened(device)
    peer = fdspawn(fd, timeout=30)
    emit()
    while True:
        peer.expect(rb"(\w+)\n")
        stamp = time.monotonic_ns()
        if peer.match[1] == b"end":
            break
        errors.append(stamp - int(peer.match[1]))
    os.close(fd)
    return errors


def labgrid(device: str, _: Path, emit: Callable[[], None]) -> Errors:
    errors: Errors = []
    serial = lines.labgrid_serial(device)
    emit()
    while True:
        match = serial.expect(rb"(\w+)\n", timeout=30)[2]
        stamp = time.monotonic_ns()
        if match[1] == b"end":
            break
        errors.append(stamp - int(match[1]))
    serial.target.deactivate(serial)
    return errors


@contextlib.contextmanager
def hogs() -> Iterator[None]:
    """A busy process for each processor."""
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in busy:
            one.kill()
            one.wait()


def beside(work: Callable[[], Errors]) -> Errors:
    """Its result, while this thread, the test's own, computes without rest."""
    results: list[Errors] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    while thread.is_alive():
        sum(range(1000))
    return results[0]


def measured(reader: Reader, emitter: Path, directory: Path, count: int, busy: bool) -> Errors:
    master, slave = os.openpty()
    tty.setraw(slave)  # held open: labgrid closes and opens its own
    processes: list[subprocess.Popen[bytes]] = []

    def emit() -> None:
        command = [str(emitter), str(master), str(count)]
        processes.append(subprocess.Popen(command, pass_fds=[master], stdin=subprocess.DEVNULL))

    def emit_and_compute() -> None:
        emit()
        while processes[0].poll() is None:
            sum(range(1000))

    try:
        device = os.ttyname(slave)
        if busy and reader is console:
            return reader(device, directory, emit_and_compute)
        return beside(lambda: reader(device, directory, emit)) if busy else reader(device, directory, emit)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        os.close(master)
        os.close(slave)


def main(seconds: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        source, emitter = directory / "emitter.c", directory / "emitter"
        source.write_text(EMITTER)
        subprocess.run(["gcc", "-O2", "-o", emitter, source], check=True)
        for load in ("idle", "a hog per core", "own Python busy"):
            found: dict[str, Errors] = {reader.__name__: [] for reader in READERS}
            with hogs() if "hog" in load else contextlib.nullcontext():
                for _ in range(rounds):
                    for reader in READERS:
                        found[reader.__name__] += measured(reader, emitter, directory, seconds * 1000, "Python" in load)
            for who, errors in found.items():
                errors.sort()
                p50, p99, most = (errors[int(share * (len(errors) - 1))] / 1e6 for share in (0.5, 0.99, 1))
                print(
                    f"{load}, {who}: p50 {p50:.3f} ms, p99 {p99:.3f}, max {most:.3f} ({len(errors)} ticks)", flush=True
                )


READERS: tuple[Reader, ...] = (console, bare, pexpect, labgrid)

if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    main(*given, *(5, 2)[len(given) :])
