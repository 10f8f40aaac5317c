"""A fresh, checked board: restored, booted, and by QEMU's own snapshots. Usage: restore.py [ROUNDS]

Each takes the place of a machine that is there, as between two tests, and is over when the health check
(`hil.wasm.health_check`) is. QEMU's own snapshots are in a qcow2 file that the guest does not see: `-loadvm` for a new
process, `loadvm` within the old one.
"""

from __future__ import annotations

import functools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hil.board.board import Board
from hil.console import Console, Transcript
from hil.guest import Guest
from hil.host import digests
from hil.image import store
from hil.qemu.process import Qemu
from hil.qemu.snapshot import Snapshot
from hil.qemu.snapshot_store import SnapshotStore
from hil.wasm.health_check import check_health

BOOT, OURS, PROCESS, WITHIN = "cold boot", "restore", "-loadvm", "loadvm within"
LIMIT = 120.0
Pass = dict[str, float]


class Peer:
    """The same machine with QEMU's own snapshot of it: booted, checked and saved."""

    def __init__(self, board: Board, directory: Path) -> None:
        self._command, self._directory, self._manifest = board.image().command(), directory, board.manifest
        self.file = directory / "vm.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.file, "1M"], check=True)
        self._start()
        for marker, answer in ((b"reference login: ", b"root\n"), (b"# ", b"")):
            self._console.wait_for(marker, timeout=LIMIT)
            self._console.write(answer)
        self._check(None)
        self._monitor("savevm hil")

    def process(self) -> None:
        self.close()
        self._start("-loadvm", "hil")
        self._check(0.0)

    def within(self) -> None:
        self._monitor("loadvm hil")
        self._machine.go_on()
        self._console.skip()
        self._check(0.0)

    def rest(self) -> None:
        """Take no processor's time."""
        self._machine.stop()

    def close(self) -> None:
        self._machine.kill()
        self._console.close()
        self._console.transcript.close()

    def _start(self, *arguments: str) -> None:
        drive = f"if=none,format=qcow2,file={self.file}"
        log = self._directory / "peer.log"
        self._machine = Qemu([*self._command, "-drive", drive, *arguments], log=log, oldest="7.2")
        self._console = Console(self._machine.console_port, Transcript.create(self._directory, "peer"))
        self._machine.power_on()

    def _check(self, restored: float | None) -> None:
        report = SimpleNamespace(restored=restored)
        facts = {"manifest": self._manifest, "dirty": None, "virtual": None, "savable": False}
        board = SimpleNamespace(console=self._console, report=report, **facts)
        check_health(Guest(cast(Board, board)))

    def _monitor(self, command: str) -> None:
        told = self._machine.monitor.execute("human-monitor-command", {"command-line": command}, timeout=LIMIT)
        if told:
            raise SystemExit(f"{command}: {told}")


@contextmanager
def timed_parts(parts: Pass) -> Iterator[None]:
    """Note the seconds that QEMU's start, the giving of its state and the digests of all files take."""
    start, restore, damage, prove_image = Qemu.__init__, Qemu.restore, Snapshot.damage, store.prove

    def noted(name: str, what: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(what)
        def run(*given: Any, **named: Any) -> Any:
            begin = time.monotonic()
            try:
                return what(*given, **named)
            finally:
                parts[name] = parts.get(name, 0.0) + time.monotonic() - begin

        return run

    cast(Any, Qemu).__init__, cast(Any, Qemu).restore = noted("process", start), noted("state", restore)
    cast(Any, Snapshot).damage, cast(Any, store).prove = noted("digests", damage), noted("digests", prove_image)
    try:
        yield
    finally:
        cast(Any, Qemu).__init__, cast(Any, Qemu).restore = start, restore
        cast(Any, Snapshot).damage, cast(Any, store).prove = damage, prove_image


def first_digests(board: Board) -> float:
    """Return the seconds that the digests of image and snapshot take in a process that has not read them yet."""
    snapshots = SnapshotStore([])
    snapshots.directory = board.report.transcript.parent.parent if board.report else snapshots.directory
    image, snapshot = board.image(), snapshots.find()
    if snapshot is None:
        raise SystemExit("there is no snapshot")
    digests._quick.clear()
    digests._sha256.clear()
    begin = time.monotonic()
    store.prove(image)
    snapshot.damage()
    seconds = time.monotonic() - begin
    snapshot.close()
    return seconds


def main(rounds: int) -> int:
    parts: Pass = {}
    with tempfile.TemporaryDirectory() as name, Board("qemu-reference", transcripts=Path(name)) as board:
        guest, peer = Guest(board), Peer(board, Path(name))

        def check(_: Board) -> None:
            begin = time.monotonic()
            check_health(guest)
            parts["health check"] = time.monotonic() - begin

        def boot() -> None:
            board.boot()
            check(board)

        board.health_check = check
        ways = {BOOT: boot, OURS: board.fresh, PROCESS: peer.process, WITHIN: peer.within}
        took: dict[str, list[float]] = {way: [] for way in ways}
        split: dict[str, list[float]] = {}
        try:
            board.fresh()  # makes the snapshot where there is none
            first = [first_digests(board) for _ in range(rounds)]
            for number in range(rounds):
                order = list(ways)
                for way in order[number % len(order) :] + order[: number % len(order)]:  # who goes first alternates
                    parts.clear()
                    restores = board.restores
                    with timed_parts(parts):
                        begin = time.monotonic()
                        ways[way]()
                        took[way].append(time.monotonic() - begin)
                    board.qemu.stop()  # beside the next one it would only be load
                    peer.rest()
                    if way == OURS:
                        if board.restores != restores + 1:
                            raise SystemExit(
                                f"it was not restored: {board.no_snapshot_reason or 'the snapshot was not good'}"
                            )
                        for part, one in parts.items():
                            split.setdefault(part, []).append(one)
                        split.setdefault("rest", []).append(took[way][-1] - sum(parts.values()))
                print(f"round {number + 1}: " + ", ".join(f"{way} {took[way][-1]:.2f} s" for way in ways), flush=True)
        finally:
            peer.close()
        size = peer.file.stat().st_blocks * 512
    for way, seconds in took.items():
        ratio = statistics.median(a / b for a, b in zip(took[BOOT], seconds, strict=True))
        told = f"median {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f}"
        print(f"{way}: {told}" + f"; {ratio:.1f} times as fast as the boot" * (way != BOOT))
    print("a restore's parts: " + ", ".join(f"{part} {statistics.median(some):.3f} s" for part, some in split.items()))
    print(
        f"digests of image and snapshot: {statistics.median(split['digests']) * 1e3:.1f} ms a restore, "
        f"{statistics.median(first) * 1e3:.0f} ms at the first of a process"
    )
    print(f"QEMU's own snapshot takes {size >> 20} MiB")
    restore = statistics.median(took[OURS])
    faster = statistics.median(a / b for a, b in zip(took[BOOT], took[OURS], strict=True))
    print(f"restore {restore:.2f} s (bound 0.6), {faster:.1f} times as fast as the boot (bound 12)")
    return int(restore > 0.6 or faster < 12)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7))
