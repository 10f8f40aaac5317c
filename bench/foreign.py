"""Commands while another writes on the line: how many are right? Usage: foreign.py [COMMANDS] [--guest]

On a pty behind the fault proxy, which puts lines like the kernel's in anywhere (the line is paced at a megabaud, so
that they cut into marks and output alike); beside labgrid's ShellDriver on the same kind of line. With --guest also on
the reference guest, whose own kernel is the writer.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import lines

from hil.errors import HilError
from hil.faults import FaultProxy, Faults
from hil.guest.shell import Shell

RATES = (50, 500)  # foreign lines a second
BAUD = 1_000_000
PEER_COMMANDS = 40
PEER_LIMIT = 60.0  # seconds for all of them
WRITER = (
    'n=0;(while :;do echo "<1>$((n+=1)) foreign to the shell" >/dev/kmsg;usleep {pause};done) >/dev/null 2>&1 & echo $!'
)


def command(number: int) -> tuple[str, bytes, int]:
    """A command, its output and its status: one line, many, none, or without an end."""
    status = number % 7
    match number % 4:
        case 0:
            return f"echo number {number};(exit {status})", b"number %d\n" % number, status
        case 1:
            text = "".join(f"line {one} of {number}\n" for one in range(8))
            return f"n=0;while [ $n -lt 8 ];do echo line $n of {number};n=$((n+1));done", text.encode(), 0
        case 2:
            return f"(exit {status})", b"", status
    return f"printf %s {number}", b"%d" % number, 0


def writer(rate: int) -> Faults:
    return Faults(baud=BAUD, lines=rate, text=lines.PRINTK)


def right(shell: Shell, count: int) -> tuple[int, int, float]:
    """How many of so many commands were right, how many foreign lines came among them, in what time."""
    good = foreign = 0
    start = time.monotonic()
    for number in range(count):
        typed, output, status = command(number)
        try:
            result = shell.run(typed, timeout=10)
        except HilError as error:
            print(f"  command {number}: {error.message}")
            continue
        foreign += len(result.foreign)
        good += (result.output, result.status) == (output, status)
        if (result.output, result.status) != (output, status):
            print(f"  command {number}: {result.status} {result.output!r}, not {status} {output!r}")
    return good, foreign, time.monotonic() - start


def pty(home: Path, rate: int, count: int) -> None:
    with (
        lines.Terminal(home) as terminal,
        FaultProxy(terminal.port(), seed=rate) as proxy,
        lines.ours(proxy.port, home) as shell,
    ):
        proxy.set(received=writer(rate))
        good, foreign, seconds = right(shell, count)
        report = proxy.report()
    print(
        f"pty, {rate} lines/s: {good} of {count} right in {seconds:.1f} s, {report.received.injected} lines injected, "
        f"{foreign} of them within commands",
        flush=True,
    )


def labgrid(home: Path, rate: int) -> None:
    with lines.Terminal(home) as terminal:
        shell = lines.labgrid_shell(lines.labgrid_serial(terminal.path()))
        terminal.disturb(received=writer(rate))
        good = tried = 0
        start = time.monotonic()
        while tried < PEER_COMMANDS and time.monotonic() - start < PEER_LIMIT:
            typed, output, status = command(tried)
            tried += 1
            try:
                said, _, told = shell.run(typed)
                good += (said, told) == (output.decode().splitlines(), status)
            except Exception:  # whatever it came to, it was not right
                pass
        seconds = time.monotonic() - start
    print(f"pty, {rate} lines/s: labgrid {good} of {tried} right in {seconds:.1f} s", flush=True)


def guest(directory: Path, rates: Sequence[int], count: int) -> None:
    from hil.board.board import Board  # it takes a second
    from hil.guest import Guest

    with Board("qemu-reference", transcripts=directory) as board:
        board.boot()
        shell = Guest(board).shell
        for rate in rates:
            pid = shell.run(WRITER.format(pause=1_000_000 // rate), check=True).text.strip()
            good, foreign, seconds = right(shell, count)
            shell.run(f"kill {pid}", check=True)
            print(
                f"guest, its kernel asked for {rate} lines/s: {good} of {count} right in {seconds:.1f} s, "
                f"{foreign / seconds:.0f} lines/s came within commands",
                flush=True,
            )


def main(count: int, with_guest: bool) -> None:
    with tempfile.TemporaryDirectory() as name:
        for rate in RATES:
            pty(Path(name) / "ours", rate, count)
            labgrid(Path(name) / "labgrid", rate)
        if with_guest:
            guest(Path(name), RATES, count)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    main(numbers[0] if numbers else 1000, "--guest" in sys.argv)
