"""One `true`: the framework's framed command beside a raw exchange with the same guest on the same line."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from hil.board.board import Board
from hil.console import Console, Transcript
from hil.guest.shell import Shell
from hil.qemu.process import Qemu

BATCH = 50


def raw(line: int) -> float:
    """Seconds of one bare exchange: type a command, read until its output."""
    start = time.monotonic()
    for _ in range(BATCH):
        os.write(line, b"true;echo 'o''k'\n")
        seen = b""
        while b"ok" not in seen:
            seen = seen[-8:] + os.read(line, 65536)
    return (time.monotonic() - start) / BATCH


def framed(line: int, transcripts: Path, board: Board) -> float:
    with Console(os.dup(line), Transcript.create(transcripts, "bench")) as console:
        shell = Shell(console, board.manifest.console)
        start = time.monotonic()
        for _ in range(BATCH):
            shell.run("true")
        seconds = (time.monotonic() - start) / BATCH
    os.set_blocking(line, True)
    return seconds


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as directory, Board("qemu-reference") as board:
        transcripts = Path(directory)
        machine = Qemu(board.image().command(), log=transcripts / "qemu.log", oldest="7.2")
        line = machine.console_port
        machine.power_on()
        try:
            seen = b""
            for marker, answer in ((b"reference login: ", b"root\n"), (b"# ", b"stty -echo -opost\n")):
                while marker not in seen:
                    seen = seen[-64:] + os.read(line, 65536)
                os.write(line, answer)
                seen = b""
            pairs = []
            raw(line)
            for number in range(rounds):
                a, b = raw(line), framed(line, transcripts, board)
                pairs.append((a, b))
                print(
                    f"round {number + 1}: raw {a * 1e3:.2f} ms, framed {b * 1e3:.2f} ms, ratio {b / a:.2f}", flush=True
                )
        finally:
            machine.kill()
            os.close(line)
    print(f"median of the ratios {statistics.median(b / a for a, b in pairs):.2f} (bound 3)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
