"""Random and damaged input for all that reads what others wrote. Usage: fuzz.py [SECONDS] [SEED]

Verdicts, the shell's frames, recordings, transcripts, modules, `simulate` scripts: no crash, no hang, no `exited(0)`
where the deployment ended in another way, no frame that was not there. What fails is printed with its seed and case.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import random
import re
import signal
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from hil.console import Console, LineTimeout, Transcript, asciicast, listing
from hil.console.recording import Recording
from hil.errors import ConfigurationError, HilError
from hil.guest.framing import Stream
from hil.guest.shell import Shell
from hil.image import simulate
from hil.image.manifest import AgentFacts
from hil.wasm import reading
from hil.wasm.module import Module

ROOT = Path(__file__).parents[1]
HANG = 10  # seconds of processor time for one case
FACTS = AgentFacts()
FOREIGN = (r"\[ *\d+\.\d{6}\] .*", "partition: .*")
STAMP = b"[1900-01-00 00:00:00.000] [info] "
BEGIN = STAMP + b"executing wasm file\r\n"
PRINTK = b"[    3.383214] random: fast init done\r\n"
SUCCESS = STAMP + b"execution success, exit code:0"
PIECES = (
    BEGIN,
    SUCCESS,
    STAMP + b"execution failed:unreachable",
    b"hil-seal v=1 nonce=0badc0de verdict=exited code=0 reason= bytes=0 crc32=0 sum=00000000\r\n",
    PRINTK,
    b"# ",
    b"\r",
    b"\r\n",
    b"\n",
    b"@0badc0de.1>0@\n",
    b"\0",
    b"exit code:0",
    bytes(range(256)),
)
SCRIPT = b"""#!/bin/sh
qemu-system-aarch64 -machine virt,virtualization=on,highmem=off,secure=off -cpu cortex-a53 -nographic -m size=2048 \\
 -kernel images/capdl-loader-image-arm-qemu-arm-virt
"""
PYTHON = b"""#!/usr/bin/env python3
import argparse
p = argparse.ArgumentParser()
p.add_argument('-b', dest="qemu_sim_binary", default="qemu-system-aarch64")
p.add_argument('-m', dest="qemu_sim_machine", default="virt")
p.add_argument('-i', dest="qemu_sim_initrd_file", default="images/capdl-loader-image-arm-qemu-arm-virt")
"""


class Wrong(Exception):
    """The reader said what is not so."""


def need(good: object, what: object) -> None:
    if not good:
        raise Wrong(repr(what)[:2000])


def samples() -> tuple[list[bytes], list[bytes]]:
    """Recorded console bytes, and modules."""
    recordings = [file.read_bytes()[:40_000] for file in sorted((ROOT / "tests" / "recordings").glob("*.raw"))]
    for file in sorted((ROOT / "tests" / "recordings").glob("*.raw.gz")):
        recordings.append(gzip.decompress(file.read_bytes())[:40_000])
    return recordings, [file.read_bytes()[:20_000] for file in sorted((ROOT / "wasm_samples").glob("*.wasm"))]


class Dice(random.Random):
    def piece(self) -> bytes:
        return self.choice(PIECES) if self.random() < 0.6 else self.randbytes(self.randrange(12))

    def output(self) -> bytes:
        return b"".join(self.piece() for _ in range(self.randrange(10)))

    def damaged(self, data: bytes, most: int = 6) -> bytes:
        """The bytes with some flipped, lost, doubled, cut off, put in, or numbers changed."""
        made = bytearray(data)
        for _ in range(self.randrange(1, most + 1)):
            at = self.randrange(len(made) + 1)
            match self.randrange(7):
                case 0 if at < len(made):
                    made[at] ^= 1 << self.randrange(8)
                case 1:
                    del made[at : at + self.choice((1, 1, 2, 64))]
                case 2:
                    made[at:at] = made[max(0, at - self.randrange(200)) : at]
                case 3:
                    made[at:at] = self.piece()
                case 4 if self.random() < 0.2:
                    del made[at:]
                case 5 if at < len(made):
                    made[at] = self.choice((0, 0x7F, 0x80, 0xFF))
                case 6:
                    made[at:at] = self.choice((b"9" * 30, b"-1", b"\xff\xff\xff\xff\x0f", b"1e9", b"{", b"'", b"$x"))
        return bytes(made)


RECORDINGS, MODULES = samples()


def unsealed(dice: Dice) -> None:
    """A deployment whose end is known: only a look-alike as the very last words may be taken for a success."""
    ends = (
        (b"execution success, exit code:0\r\n", "exited(0)"),
        (b"execution success, exit code:7\r\n", "exited(7)"),
        (b"execution failed:unreachable\r\n", "failed(unreachable)"),
        (None, "silent"),
    )
    end, meant = dice.choice(ends)
    output = dice.output()
    console = BEGIN + output + (STAMP + end if end else b"")
    found = reading.read(console, FACTS, foreign=FOREIGN)
    if end is not None:
        told = str(found.verdict) == meant or (b"execution failed:" in output and not found.verdict.good)
        need(told, (meant, found, console))
    elif SUCCESS not in output:  # a module that says it last, and then dies, is not told apart without a seal
        need(not found.verdict.good, (found, console))
    reading.read(dice.damaged(console), FACTS, foreign=FOREIGN)


def sealed(dice: Dice) -> None:
    """A damaged seal proves nothing, and what is proven is what was said."""
    nonce = f"{dice.getrandbits(64):016x}"
    output = dice.output()
    word, code = dice.choice((("exited", 0), ("exited", 7), ("failed", 0x89), ("faulted", 11)))
    fields = (
        f"hil-seal v=1 nonce={nonce} verdict={word} code={code} reason=why bytes={len(output)} "
        f"crc32={zlib.crc32(output):08X} transfer=1 run=2 hz=62500000"
    ).encode()
    console = BEGIN + output + b"\r\n" + fields + b" sum=%08X\r\n" % zlib.crc32(fields)
    found = reading.read(console, FACTS, nonce=nonce, foreign=FOREIGN)
    need(found.verdict.good == ((word, code) == ("exited", 0)), (word, code, found))
    need(found.intact is True and found.output == output, (found, output))
    hurt = reading.read(dice.damaged(console), FACTS, nonce=nonce, foreign=FOREIGN)
    need(not hurt.verdict.good or (word, code) == ("exited", 0), (word, code, hurt))
    need(hurt.intact is not True or hurt.output == output, (hurt, output))
    other = reading.read(console.replace(nonce.encode(), b"%016x" % dice.getrandbits(64)), FACTS, nonce=nonce)
    need(not other.verdict.good, other)


def recorded(dice: Dice) -> None:
    """Stretches of real consoles, damaged: never good without the runner's word for it."""
    data = dice.choice(RECORDINGS)
    start = dice.randrange(len(data))
    data = dice.damaged(data[start : start + dice.randrange(20_000)])
    found = reading.read(data, FACTS, foreign=FOREIGN)
    need(not found.verdict.good or re.search(rb"execution success, exit code:0+\r*\n", data), (found, data[-300:]))
    sealed_found = reading.read(data, FACTS, nonce="feedfacefeedface", foreign=FOREIGN)
    need(not sealed_found.verdict.good, sealed_found)


class Chunks:
    """As much of a console as a frame's reader needs: what comes, in chunks, and then nothing more."""

    now = 0.0

    def __init__(self, chunks: list[bytes]) -> None:
        self.position = 0
        self._left = chunks[::-1]
        self.transcript = SimpleNamespace(time_at=lambda offset: offset)

    def read(self, timeout: float) -> bytes:
        data = self._left.pop() if self._left else b""
        self.position += len(data)
        return data

    def evidence(self) -> None:
        return None


def frames(dice: Dice) -> None:
    """The frame's output and status come through; no other frame is taken for it."""
    shell = Shell.__new__(Shell)
    nonce = f"{dice.getrandbits(32):08x}"
    shell._begun, shell._ended = (re.compile(b"@%s" % nonce.encode() + rest) for rest in MARKS)
    shell._count = dice.randrange(1, 2000)
    mark = f"@{nonce}.{shell._count}".encode()
    output, status = dice.output(), dice.randrange(256)
    stream = dice.output() + mark + b"<\n" + output + mark + b">%d@\n" % status + dice.output()
    for damaged in (False, True):
        data = dice.damaged(stream) if damaged else stream
        chunks, at = [], 0
        while at < len(data):
            size = dice.choice((1, 3, 64, 4096))
            chunks.append(data[at : at + size])
            at += size
        shell.console = cast(Console, Chunks(chunks))
        known = re.compile(rb"(?:%s)(?<!\r)\r+\n" % "|".join(FOREIGN).encode()) if dice.random() < 0.5 else None
        stream_reader = Stream(shell.console, known)
        try:
            result = shell._result("fuzz", stream_reader, 0.0, 0.0)
        except LineTimeout:
            need(damaged or known, stream)
            continue
        if not damaged and known is None:
            need(result is not None and (result.output, result.status) == (output, status), (result, stream))


def recordings(dice: Dice) -> None:
    """Files of a recorded console, each of them damaged: told, or refused with a reason."""
    data = dice.choice(RECORDINGS)[: dice.randrange(4000)]
    rows, at, stamp = ["1000\t@\t1700000000.000\n"], 0, 1000
    while at < len(data):
        size, stamp = dice.randrange(1, 900), stamp + dice.randrange(10**9)
        rows.append(f"{stamp}\t<\t{min(size, len(data) - at)}\n")
        if dice.random() < 0.2:
            rows.append(f"{stamp}\t>\t{json.dumps(dice.piece().decode('latin-1'))}\n")
        at += size
    index = "".join(rows).encode()
    whole = SCRATCH / "whole.raw"
    whole.write_bytes(data)
    whole.with_suffix(".tsv").write_bytes(index)
    followed = Transcript(whole)
    followed.refresh()
    need(followed.read(0, followed.size) == data, "a transcript that is not its bytes")
    for line in followed.lines(dice.randrange(len(data) + 1)):
        followed.time_at(line.offset)
    followed.tail()
    followed.close()
    hurt = SCRATCH / "hurt.raw"
    hurt.write_bytes(dice.damaged(data))
    hurt.with_suffix(".tsv").write_bytes(dice.damaged(index))
    for work in (
        lambda: list(listing.table(listing.rows(hurt, sent=True), gaps=True)),
        lambda: list(asciicast.lines(Recording(hurt))),
        lambda: list(listing.grep(hurt, listing.expression("random|exit"), context=2)),
        lambda: list(Recording(hurt).sent()),
    ):
        with contextlib.suppress(ConfigurationError):
            work()


def modules(dice: Dice) -> None:
    file = SCRATCH / "module.wasm"
    made = dice.damaged(dice.choice(MODULES)) if dice.random() < 0.8 else b"\0asm\1\0\0\0" + dice.randbytes(60)
    file.write_bytes(made)
    with contextlib.suppress(ConfigurationError):
        Module.load(file)


def scripts(dice: Dice) -> None:
    script = dice.damaged(dice.choice((SCRIPT, PYTHON)), 12)
    with contextlib.suppress(ConfigurationError):
        found = simulate.read(script, "simulate")
        need(not any(".." in path or path.startswith("/") for path in found.files.values()), found)


MARKS = (rb"\.(\d+)(<|!@)\n", rb"\.(\d+)>(\d{1,3})@\n")
TARGETS: tuple[Callable[[Dice], None], ...] = (unsealed, sealed, recorded, frames, recordings, modules, scripts)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    def hang(*_: Any) -> None:
        raise Wrong(f"it took more than {HANG} s")

    signal.signal(signal.SIGPROF, hang)
    signal.setitimer(signal.ITIMER_PROF, HANG)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main(seconds: float, seed: int) -> int:
    end = time.monotonic() + seconds
    runs: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    slowest = (0.0, "")
    case = 0
    while time.monotonic() < end:
        for target in TARGETS:
            name = target.__name__
            begin = time.monotonic()
            try:
                with limited():
                    target(Dice(f"{seed}/{case}/{name}"))
            except Exception as error:
                failed[name] += 1
                if failed[name] <= 3:
                    print(f"seed {seed}, case {case}, {name}:", file=sys.stderr)
                    traceback.print_exception(error, limit=-4)
                    if isinstance(error, HilError):
                        print(error.message, file=sys.stderr)
            runs[name] += 1
            slowest = max(slowest, (time.monotonic() - begin, f"{name} {case}"))
        case += 1
    print(f"seed {seed}, {seconds:g} s: " + ", ".join(f"{name} {count}" for name, count in runs.items()))
    print(f"slowest case {slowest[0]:.3f} s ({slowest[1]}); failed: {dict(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:3]]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as scratch:
        SCRATCH = Path(scratch)
        sys.exit(main(*given, *(60, 1)[len(given) :]))
