"""One `true` and 59 KB of output on a line: ours beside a bare exchange and labgrid. Usage: exchange.py [ROUNDS]

Three lines to the same kind of shell: a pty as it is (bare loop, pexpect, ours), a pty as a device behind a relay
(bare loop, ours, labgrid's ShellDriver on its SerialDriver), and TCP behind a relay. The bare loop and pexpect type the
same `true` and wait for one mark, unframed and unstamped.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lines
from pexpect import TIMEOUT
from pexpect.fdpexpect import fdspawn

BATCH = 50
OUTPUT = 59_000  # bytes
LIMIT = 60.0  # seconds for labgrid to read them


def bare(line: int) -> float:
    """Seconds of one bare exchange: type a command, read until its output."""
    start = time.monotonic()
    for _ in range(BATCH):
        os.write(line, b"true;echo 'o''k'\n")
        seen = b""
        while b"ok" not in seen:
            seen = seen[-8:] + os.read(line, 65536)
    return (time.monotonic() - start) / BATCH


def pexpected(peer: fdspawn) -> float:
    start = time.monotonic()
    for _ in range(BATCH):
        peer.send(b"true;echo 'o''k'\n")
        peer.expect_exact(b"ok")
    return (time.monotonic() - start) / BATCH


@contextlib.contextmanager
def quiet(line: int) -> Iterator[int]:
    """The line without echo, as our shell has it."""
    os.set_blocking(line, True)
    os.write(line, b"stty -echo -opost;echo 'quiet''ed'\n")
    seen = b""
    while b"quieted\n" not in seen:
        seen += os.read(line, 65536)
    yield line
    os.close(line)


def each(run: Callable[[str], object], count: int = BATCH) -> float:
    start = time.monotonic()
    for _ in range(count):
        run("true")
    return (time.monotonic() - start) / count


def once(run: Callable[[str], object], command: str) -> float:
    start = time.monotonic()
    run(command)
    return time.monotonic() - start


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        home = Path(name)
        (home / "text").write_text("".join(f"{number:058}\n" for number in range(OUTPUT // 59)))

        def terminal() -> lines.Terminal:
            return stack.enter_context(lines.Terminal(home))

        raw = stack.enter_context(quiet(terminal().port()))
        peer = fdspawn(stack.enter_context(quiet(terminal().port())))
        peer.delaybeforesend = None
        mine = stack.enter_context(lines.ours(terminal().port(), home)).run
        raw_device = stack.enter_context(quiet(lines.opened(terminal().path())))
        mine_device = stack.enter_context(lines.ours(lines.opened(terminal().path()), home)).run
        theirs_device = lines.labgrid_shell(lines.labgrid_serial(terminal().path())).run

        measures = {
            "bare": lambda: bare(raw),
            "pexpect": lambda: pexpected(peer),
            "ours": lambda: each(mine),
            "bare, device": lambda: bare(raw_device),
            "ours, device": lambda: each(mine_device),
            "labgrid, device": lambda: each(theirs_device),
        }
        results: dict[str, list[float]] = {key: [] for key in measures}
        for number in range(rounds + 1):
            for key, measure in measures.items():
                results[key].append(measure() * 1e3)
            told = ", ".join(f"{key} {results[key][-1]:.2f}" for key in measures)
            print(f"round {number} (of {rounds}, 0 does not count), ms: {told}", flush=True)
        for over, under, bound in (
            ("ours", "bare", "2"),
            ("ours", "pexpect", "2"),
            ("ours, device", "bare, device", "none"),
            ("labgrid, device", "ours, device", "at least 5"),
        ):
            ratios = [a / b for a, b in zip(results[over][1:], results[under][1:], strict=True)]
            print(f"{over} over {under}: {statistics.median(ratios):.2f} (bound: {bound})")

        port, accept = terminal().tcp()
        link = lines.connected(port)
        accept()
        mine_tcp = stack.enter_context(lines.ours(link, home)).run
        mine_seconds = statistics.median(once(mine_tcp, "cat text") for _ in range(5))
        port, accept = terminal().tcp()
        serial = lines.labgrid_serial(port)
        accept()
        theirs = lines.labgrid_shell(serial, LIMIT).run
        try:
            seconds, ended = once(lambda command: theirs(command, timeout=LIMIT), "cat text"), ""
        except TIMEOUT:
            seconds, ended = LIMIT, " (it gave up)"
        print(
            f"{OUTPUT} bytes over TCP: ours {mine_seconds * 1e3:.1f} ms, labgrid {seconds:.1f} s{ended}, "
            f"ratio {seconds / mine_seconds:.0f} (bound: at least 100)"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
