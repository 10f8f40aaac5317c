"""Boot to a shell: the framework beside the same QEMU command read by a bare loop. Usage: boot.py [ROUNDS]"""

from __future__ import annotations

import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hil.board.board import Board

LIMIT = 120.0


def alone(command: list[str]) -> float:
    """Seconds until the same machine has printed its prompt to a reader that does nothing else."""
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT)
    argv = [*command, "-display", "none", "-no-user-config", "-nodefaults"]
    argv += ["-chardev", f"socket,id=c,fd={theirs.fileno()}", "-serial", "chardev:c"]
    start = time.monotonic()
    with ours, subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL) as machine:
        theirs.close()
        try:
            for marker, answer in ((b"reference login: ", b"root\n"), (b"# ", b"")):
                seen = b""
                while marker not in seen:
                    seen = seen[-64:] + ours.recv(65536)
                ours.sendall(answer)
            return time.monotonic() - start
        finally:
            machine.kill()


def framework(board: Board) -> float:
    start = time.monotonic()
    board.boot()
    seconds = time.monotonic() - start
    board.off()
    return seconds


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as transcripts, Board("qemu-reference", transcripts=Path(transcripts)) as board:
        command = board.image().command()
        pairs = []
        for number in range(rounds):
            first = number % 2 == 0  # who goes first alternates
            a = alone(command) if first else None
            b = framework(board)
            a = a if a is not None else alone(command)
            pairs.append((a, b))
            print(f"round {number + 1}: alone {a:.2f} s, framework {b:.2f} s, ratio {b / a:.3f}", flush=True)
    print(f"median alone {statistics.median(a for a, _ in pairs):.2f} s")
    print(f"median framework {statistics.median(b for _, b in pairs):.2f} s")
    print(f"median of the ratios {statistics.median(b / a for a, b in pairs):.3f} (bound 1.05)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
