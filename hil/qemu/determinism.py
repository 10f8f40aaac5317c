"""The determinism check: a run in virtual time must repeat earlier runs of its kind to the bit.

The console of each boot and restore, with the virtual time stamp of each line, is compared with earlier ones of the
same image, machine, seed and QEMU. The first of a kind is made twice. After a difference, figures are not exact.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from hil.console import Console
from hil.console.lines import split_lines
from hil.errors import InfrastructureError
from hil.host import files
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.qemu.lockstep import Virtual


class DeterminismCheck:
    """Earlier boots, or restores (`kind`), that a new one must equal. `key` is what they have in common."""

    def __init__(self, key: Sequence[str], kind: str = "boot") -> None:
        self._kind = kind
        digest = hashlib.sha256(os.fsencode("\0".join(key))).hexdigest()[:16]
        self._directory = cache_root() / "canary" / digest

    def compare(self, virtual: Virtual, trace: str, again: Callable[[], str]) -> Virtual:
        """Compare a `console_trace` with earlier ones of its seed; the first of its kind with that of `again`.

        Returns `virtual` with the result.
        """
        file = self._directory / f"{virtual.seed}.json"
        before, times = _recall(file)
        proof = f"this {self._kind} is the same to the bit as {times} before it"
        if before is None and any(self._directory.glob("*.json")):
            proof = f"{self._kind}s of other seeds were seen to repeat; this is the first of this one"
        elif before is None:
            proof = f"this {self._kind} was made twice, the same to the bit"
            before, trace, times = trace, again(), 1
        if before is not None and before != trace:
            lost = f"this {self._kind} differs from an earlier one: {difference(before, trace)}"
            return replace(virtual, lost=f"{lost} (to forget earlier ones, remove {self._directory})")
        with disk(self._directory, MIB):
            files.write(file, json.dumps({"boot": trace, "times": times + 1}))
        return replace(virtual, proof=proof)


def _recall(file: Path) -> tuple[str | None, int]:
    """Return the earlier trace and how often it was seen; None and 0 without one."""
    try:
        record = json.loads(file.read_text())
        return str(record["boot"]), int(record["times"])
    except (OSError, ValueError, KeyError):
        return None, 0


def console_trace(console: Console, end: int) -> str:
    """Return the console up to offset `end`: each line after the virtual time, in ns, of its first byte.

    Raises `InfrastructureError` for a console in real time.
    """
    if console.lockstep is None:
        raise InfrastructureError("the console is not in lock step with virtual time")
    return "".join(f"{console.stamp(line.offset)}\t{line.text}\n" for line in console.lines(0, end))


def difference(before: str, now: str) -> str:
    """Describe the first line in which two traces differ."""
    old, new = split_lines(before), split_lines(now)
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a != b:
            return f"line {number} was {a[:160]!r} and is {b[:160]!r}"
    return f"one has {len(old)} lines, the other {len(new)}"


def typing_digest(package: Path = Path(__file__).parents[1]) -> str:
    """Return a digest of the code that types to a machine before its snapshot is made.

    In virtual time one more byte leads to another state, so a snapshot made by other code gives other figures.
    """
    files = sorted(file for part in ("console", "guest", "wasm") for file in (package / part).glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
