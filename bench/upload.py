"""Uploads to a shell: on lines that break bytes, are cut, have 115200 baud; beside XMODEM; to the reference guest.

Usage: upload.py [PART...], of bad, cut, paced, xmodem, fast, guest, virtual; all without. XMODEM needs `rx`, of lrzsz
or BusyBox. The bytes are random, so that nothing is won by compression, where it is not said otherwise.

`fast` (on a pty) and `guest` (the reference image) send the same bytes in turns: by a bare counted read of the tty,
which is the line's own rate; in a plain heredoc of base64 without any check; as before (xz or gzip as base64, in parts
of 32 KiB); and as it is done now. `virtual` compares the last two in virtual time, in seconds of the host.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import lzma
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lines

from hil.board.board import Board
from hil.console import LineClosed
from hil.faults import FaultProxy, Faults
from hil.guest import Guest, packing, transfer
from hil.guest.channel import Channel, Direction
from hil.guest.receiving import channel_of
from hil.guest.shell import Shell

SIZE = 1_444_743  # bytes of the seL4 image's hello.wasm
QUARTER = 256 << 10
RATE = 1e-4  # of the bytes broken
BAUD = 115_200
TRIES = 5
DATA = random.Random(3).randbytes(SIZE)
MODULE = Path(__file__).parents[1] / "wasm_samples" / "hello.wasm"
ROUNDS = 3
LARGE = 2_400_000  # bytes of a module in Go
LIMIT = 600.0


def good(file: Path, data: bytes) -> str:
    whole = file.exists() and hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(data).digest()
    return "digest right" if whole else "DIGEST WRONG"


def bad(home: Path) -> None:
    """Bytes flipped or dropped on the way there, and both ways."""
    both = Faults(flip=RATE / 2, drop=RATE / 2)
    for name, sent, received in (
        ("none broken", Faults(), Faults()),
        ("flipped there", Faults(flip=RATE), Faults()),
        ("dropped there", Faults(drop=RATE), Faults()),
        ("flipped or dropped, both ways", both, both),
    ):
        with (
            lines.Terminal(home) as terminal,
            FaultProxy(terminal.port(), seed=7) as proxy,
            lines.ours(proxy.port, home) as shell,
        ):
            proxy.set(sent=sent, received=received)
            start = time.monotonic()
            transfer.put(shell, DATA, str(home / "file"))
            seconds = time.monotonic() - start
            report = proxy.report()
            broken = sum(way.flipped + way.dropped for way in (report.sent, report.received))
            told = good(home / "file", DATA)
        print(
            f"{SIZE} bytes, {name}: {told} after {seconds:.1f} s, {broken} bytes broken, "
            f"{report.sent.taken / (SIZE * 4 / 3):.2f} times the base64 was sent, {shell.retyped} commands typed again",
            flush=True,
        )
        (home / "file").unlink()


def cut(home: Path) -> None:
    """The line is cut at two thirds; a new one takes the upload up."""
    path = str(home / "file")

    rate = 10 * BAUD

    def seconds(terminal: lines.Terminal, cut_at: int | None = None) -> float:
        """Upload; cut the line when about `cut_at` bytes have been sent. Return the seconds this took."""
        with (
            FaultProxy(terminal.port(), sent=Faults(baud=rate)) as proxy,
            lines.ours(proxy.port, home) as shell,
        ):
            start = time.monotonic()
            if cut_at is not None:
                timer = threading.Timer(cut_at * 10 / rate, proxy.cut)
                timer.start()
            try:
                transfer.put(shell, DATA, path)
            except LineClosed as error:
                last = proxy.report()
                print(f"cut after {last.sent.given} bytes: {error.message!r} {time.monotonic() - start:.1f} s on")
            return time.monotonic() - start

    with lines.Terminal(home) as terminal:
        whole = seconds(terminal)
        Path(path).unlink()
        before = seconds(terminal, SIZE * 4 // 3 * 2 // 3)
        rest = seconds(terminal)
        print(
            f"{SIZE} bytes at {rate} baud: whole {whole:.1f} s; cut after {before:.1f} s, resumed {rest:.1f} s, "
            f"{good(Path(path), DATA)}; {(whole - rest) / whole:.0%} of the time saved"
        )


def paced(home: Path) -> None:
    """What share of the line's rate is reached."""
    pace = Faults(baud=BAUD)
    with (
        lines.Terminal(home) as terminal,
        FaultProxy(terminal.port(), sent=pace, received=pace) as proxy,
        lines.ours(proxy.port, home) as shell,
    ):
        start = time.monotonic()
        transfer.put(shell, DATA[:QUARTER], str(home / "file"))
        seconds = time.monotonic() - start
        ideal = QUARTER / (BAUD / 10)
        print(
            f"{QUARTER} bytes at {BAUD} baud: {seconds:.1f} s, {good(home / 'file', DATA[:QUARTER])}; the bytes alone "
            f"take {ideal:.1f} s: {ideal / seconds:.1%} of the line's rate (bound: 90 %)",
            flush=True,
        )


def timed(work: Callable[..., object], *arguments: object) -> float:
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start


def xmodem(home: Path) -> None:
    """labgrid's upload on the same device; at 115200 baud of a module, whose bytes can be compressed, too."""
    if shutil.which("rx") is None:
        applets = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=False).stdout.split()
        if "rx" not in applets:
            print("no rx: install lrzsz")
            return
        (home / "bin").mkdir()
        (home / "bin" / "rx").symlink_to(shutil.which("busybox") or "")
        os.environ["PATH"] = f"{home / 'bin'}:{os.environ['PATH']}"
    module = (MODULE.read_bytes() * 4)[:QUARTER]
    path = home / "file"
    for name, data, faults in (
        ("random bytes as fast as it goes", DATA[:QUARTER], Faults()),
        ("a module at 115200 baud", module, Faults(baud=BAUD)),
    ):
        with lines.Terminal(home) as terminal, lines.ours(lines.opened(terminal.path()), home) as shell:
            terminal.disturb(sent=faults, received=faults)
            ours = timed(transfer.put, shell, data, str(path))
            told = good(path, data)
        tried, theirs = 0, 0.0
        while not theirs and tried < TRIES:
            tried += 1
            path.unlink(missing_ok=True)
            with contextlib.suppress(Exception), lines.Terminal(home) as terminal:
                # its receiver may be gone before its last answer is read: labgrid then ends the shell
                peer = lines.labgrid_shell(lines.labgrid_serial(terminal.path()), 30.0)
                terminal.disturb(sent=faults, received=faults)
                seconds = timed(peer.put_bytes, data, str(path))
                theirs = seconds if path.read_bytes() == data else 0.0
        print(
            f"{QUARTER} bytes, {name}: ours {ours:.2f} s, {told}; labgrid {theirs:.2f} s in its try number {tried}, "
            f"{good(path, data)}; ratio {theirs / ours:.1f} (bound: 10)",
            flush=True,
        )


def bare(shell: Shell, data: bytes, path: str) -> None:
    """A counted read of the raw tty, and no more."""
    console = shell.console
    console.write(
        b"_t=$(stty -g);stty raw -echo;echo go''ing;dd bs=%d count=1 iflag=fullblock of=%s 2>/dev/null;stty $_t;"
        b"echo go''ne\n" % (len(data), os.fsencode(path))
    )
    console.wait_for(b"going\n", timeout=LIMIT)
    console.write(data, timeout=LIMIT)
    console.wait_for(b"gone\n", timeout=LIMIT)


def heredoc(shell: Shell, data: bytes, path: str) -> None:
    """All of it as base64 in one heredoc, and no check."""
    console = shell.console
    console.write(b"base64 -d >%s <<'.'\n%s.\n" % (os.fsencode(path), base64.encodebytes(data)), timeout=LIMIT)
    console.write(b"echo go''ne\n")
    console.wait_for(b"gone\n", timeout=LIMIT)


def before(shell: Shell, data: bytes, path: str) -> None:
    """As it was: always packed, by xz where the guest has it, and always as base64."""
    now = channel_of(shell)
    fixed = shell.console.virtual
    shell.channel = Channel(Direction(clean=False, fixed=fixed), Direction(clean=False, fixed=fixed), now.xz)
    pack = packing.pack
    packed = (lzma.compress(data, check=lzma.CHECK_CRC32), "unxz") if now.xz else (gzip.compress(data), "gunzip")
    transfer.pack = lambda *_, **__: packing.Packed(*packed)  # type: ignore[assignment]
    try:
        transfer.put(shell, data, path)
    finally:
        transfer.pack = pack  # type: ignore[attr-defined]
        shell.channel = now


def ours(shell: Shell, data: bytes, path: str) -> None:
    transfer.put(shell, data, path)


def compared(
    shell: Shell, name: str, data: bytes, directory: str, ways: tuple[Callable[..., None], ...], rounds: int = ROUNDS
) -> None:
    """Send the same bytes each way in turns, after a small file each way that has the guest load its programs."""
    for small in ways:
        small(shell, data[:1000], f"{directory}/bench-small")
        shell.run(f"rm {directory}/bench-small")
    took: dict[str, list[float]] = {way.__name__: [] for way in ways}
    for number in range(rounds):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            path = f"{directory}/bench"
            took[way.__name__].append(timed(way, shell, data, path))
            arrived = transfer.digest_in_guest(shell, path) == hashlib.sha256(data).hexdigest()
            assert arrived, f"{way.__name__}: the digest is wrong"
            shell.run(f"rm {path}")
    middle = {way: statistics.median(seconds) for way, seconds in took.items()}
    told = ", ".join(
        f"{way} {seconds:.2f} s ({len(data) / 1024 / seconds:.0f} KiB/s)" for way, seconds in middle.items()
    )
    mine = middle["ours"]
    ratios = ", ".join(f"{way} {seconds / mine:.2f}" for way, seconds in middle.items() if way != "ours")
    print(f"{name}, {len(data)} bytes: {told}; in times of ours: {ratios}", flush=True)


def kinds() -> list[tuple[str, bytes]]:
    """Bytes that do not compress, a small module, and code as large as a module in Go."""
    return [
        ("random", DATA[:QUARTER]),
        ("module", MODULE.read_bytes()),
        ("large code", Path(sys.executable).resolve().read_bytes()[:LARGE]),
    ]


def fast(home: Path) -> None:
    """A pty, which takes bytes as fast as they come."""
    for name, data in kinds():
        with lines.Terminal(home) as terminal, lines.ours(terminal.port(), home) as shell:
            compared(shell, f"pty, {name}", data, str(home), (bare, heredoc, before, ours))


def guest(home: Path) -> None:
    """The shell of the reference image under QEMU (bounds: bare 0.9, heredoc 1 / 1.3)."""
    with Board("qemu-reference", transcripts=home) as board:
        board.fresh()
        shell = Guest(board).shell
        for name, data in kinds():
            few = len(data) > 2 * QUARTER
            ways = (before, ours) if few else (bare, heredoc, before, ours)
            compared(shell, f"guest, {name}", data, "/tmp", ways, 1 if few else ROUNDS)


def virtual(home: Path) -> None:
    """The same guest in virtual time, which is paced at 115200 baud."""
    with Board("qemu-reference", transcripts=home, seed=1) as board:
        board.fresh()
        shell = Guest(board).shell
        for name, data in kinds()[:2]:
            compared(shell, f"virtual time, {name}", data, "/tmp", (before, ours), 1)


PARTS = {part.__name__: part for part in (bad, cut, paced, xmodem, fast, guest, virtual)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as directory:
            PARTS[chosen](Path(directory))
