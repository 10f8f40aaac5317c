"""Uploads to a shell on a pty: on a line that breaks bytes, one that is cut, at 115200 baud, beside XMODEM.

Usage: upload.py [PART...], of bad, cut, paced, xmodem; all without. XMODEM needs lrzsz (`rx`). The bytes are random,
so that nothing is won by compression, where it is not said otherwise.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import lines

from hil.console import LineClosed
from hil.faults import FaultProxy, Faults
from hil.guest import transfer

SIZE = 1_444_743  # bytes of the seL4 image's hello.wasm
QUARTER = 256 << 10
RATE = 1e-4  # of the bytes broken
BAUD = 115_200
TRIES = 5
DATA = random.Random(3).randbytes(SIZE)
MODULE = Path(__file__).parents[1] / "wasm_samples" / "hello.wasm"


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
    """What share of the line's payload rate is reached."""
    pace = Faults(baud=BAUD)
    with (
        lines.Terminal(home) as terminal,
        FaultProxy(terminal.port(), sent=pace, received=pace) as proxy,
        lines.ours(proxy.port, home) as shell,
    ):
        start = time.monotonic()
        transfer.put(shell, DATA[:QUARTER], str(home / "file"))
        seconds = time.monotonic() - start
        ideal = QUARTER * 4 / 3 / (BAUD / 10)
        print(
            f"{QUARTER} bytes at {BAUD} baud: {seconds:.1f} s, {good(home / 'file', DATA[:QUARTER])}; base64 alone "
            f"takes {ideal:.1f} s: {ideal / seconds:.1%} of the payload rate (bound: 90 %)",
            flush=True,
        )


def timed(work: Callable[..., object], *arguments: object) -> float:
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start


def xmodem(home: Path) -> None:
    """labgrid's upload on the same device; at 115200 baud of a module, whose bytes can be compressed, too."""
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
            try:
                with lines.Terminal(home) as terminal:
                    peer = lines.labgrid_shell(lines.labgrid_serial(terminal.path()), 30.0)
                    terminal.disturb(sent=faults, received=faults)
                    theirs = timed(peer.put_bytes, data, str(path))
            except Exception:  # its receiver may be gone before its last answer is read: labgrid then ends the shell
                pass
        print(
            f"{QUARTER} bytes, {name}: ours {ours:.2f} s, {told}; labgrid {theirs:.2f} s in its try number {tried}, "
            f"{good(path, data)}; ratio {theirs / ours:.1f} (bound: 10)",
            flush=True,
        )


PARTS = {part.__name__: part for part in (bad, cut, paced, xmodem)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or PARTS:
        with tempfile.TemporaryDirectory() as directory:
            PARTS[chosen](Path(directory))
