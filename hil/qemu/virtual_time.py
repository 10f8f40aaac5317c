"""Virtual time that repeats to the bit: how QEMU is started for it, and the proof that it does.

Every boot is a canary: its console, with the virtual stamp of every line, must be that of the boots before
it of the same image, machine, seed and QEMU. The first of a kind is booted twice. Where they differ, the
figures are not called exact.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil.console import Console
from hil.console.lines import split_lines
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import files, tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk

SOURCE = Path(__file__).with_name("lockstep.c")
COMPILER = "cc"
FLAGS = ("-shared", "-fPIC", "-O2", "-fvisibility=hidden")
# 2 ns an instruction; each of these is needed, see docs/timing.md
ICOUNT = ("-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm")


@dataclass(frozen=True)
class Virtual:
    """A machine in virtual time: the `seed` of its boot, and whether its figures are exact.

    `proof` says what its boot was compared with; `lost` why figures cannot be called exact. Raises
    `ConfigurationError` for a seed that is not of 0 to 2^64 - 1, which are QEMU's.
    """

    seed: int = 1
    proof: str = ""
    lost: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise ConfigurationError(f"there is no seed {self.seed}", hint="give one from 0 to 2^64 - 1")

    @property
    def exact(self) -> bool:
        return bool(self.proof) and not self.lost

    def arguments(self) -> list[str]:
        """QEMU's arguments for virtual time."""
        return [*ICOUNT, "-seed", str(self.seed)]

    def __str__(self) -> str:
        state = f"not exact: {self.lost}" if self.lost else f"exact: {self.proof}" if self.proof else "not proven"
        return f"virtual time, seed {self.seed}, {state}"


def compiler() -> str | None:
    """Return the path of the C compiler that virtual time needs; None where there is none."""
    return shutil.which(COMPILER)


def library() -> Path:
    """The preload library of the lock step, compiled on first use. Raises `InfrastructureError`."""
    if compiler() is None:
        raise ConfigurationError(
            "virtual time needs a C compiler", hint="apt-get install gcc libc6-dev, or run ./bootstrap setup"
        )
    recipe = [tools.version(COMPILER), *FLAGS, SOURCE.read_text()]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    made = cache_root() / "lockstep" / f"{key}.so"
    if not made.exists():
        with disk(made.parent, MIB), files.replacing(made) as new:
            tools.run([COMPILER, *FLAGS, "-o", str(new), SOURCE.name], limit=60, directory=SOURCE.parent)
    return made


def typing_digest(package: Path = Path(__file__).parents[1]) -> str:
    """Return a digest of the code that types at a machine before its snapshot is made.

    In virtual time one byte more is another state, so a snapshot of another version gives other figures.
    """
    files = sorted(file for part in ("console", "guest", "wasm") for file in (package / part).glob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()


def refusal(emulator: str, preload: Path) -> str:
    """Why this emulator cannot be kept in lock step; empty where it can."""
    try:
        with preload.open("rb") as library:  # by its descriptor: a path may hold a blank or a colon, which separate
            done = subprocess.run(
                ["env", f"LD_PRELOAD=/proc/self/fd/{library.fileno()}", "HIL_LOCKSTEP=probe", emulator, "--version"],
                capture_output=True,
                text=True,
                timeout=20,
                stdin=subprocess.DEVNULL,
                pass_fds=[library.fileno()],
            )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{emulator} cannot be asked: {error}"
    told = done.stderr.strip()  # nothing from a static program
    return "" if told == "lock step" else told or f"{emulator} loads no library beside its own"


class DeterminismCheck:
    """The boots, or restores (`what`), of one kind: image, machine, QEMU. `key` lists what makes them one."""

    def __init__(self, key: Sequence[str], what: str = "boot") -> None:
        self._what = what
        digest = hashlib.sha256(os.fsencode("\0".join((*key, SOURCE.read_text())))).hexdigest()[:16]
        self._directory = cache_root() / "canary" / digest

    def prove(self, virtual: Virtual, boot: str, again: Callable[[], str]) -> Virtual:
        """Hold `boot`, as `song` gives it, against earlier ones of its seed, the first of its kind against `again`."""
        before, times = self._recall(virtual.seed)
        proof = f"this {self._what} is the same to the bit as {times} before it"
        if before is None and any(self._directory.glob("*.json")):
            proof = f"{self._what}s of other seeds were seen to repeat; this is the first of this one"
        elif before is None:
            proof = f"this {self._what} was made twice, the same to the bit"
            before, boot, times = boot, again(), 1
        if before is not None and before != boot:
            what = f"this {self._what} differs from one before it: {difference(before, boot)}"
            return replace(virtual, lost=f"{what} (to forget those before it, remove {self._directory})")
        self._remember(virtual.seed, boot, times + 1)
        return replace(virtual, proof=proof)

    def _recall(self, seed: int) -> tuple[str | None, int]:
        try:
            record = json.loads(self._file(seed).read_text())
            return str(record["boot"]), int(record["times"])
        except (OSError, ValueError, KeyError):
            return None, 0

    def _remember(self, seed: int, boot: str, times: int) -> None:
        with disk(self._directory, MIB):
            files.write(self._file(seed), json.dumps({"boot": boot, "times": times}))

    def _file(self, seed: int) -> Path:
        return self._directory / f"{seed}.json"


def console_trace(console: Console, end: int) -> str:
    """The console up to offset `end`: each line behind the virtual ns of its first byte.

    Raises `InfrastructureError` where the console keeps no virtual time.
    """
    if console.lockstep is None:
        raise InfrastructureError("the console is not in lock step with virtual time")
    return "".join(f"{console.stamp(line.offset)}\t{line.text}\n" for line in console.lines(0, end))


def difference(before: str, now: str) -> str:
    """The first line in which two boots differ."""
    old, new = split_lines(before), split_lines(now)
    for number, (a, b) in enumerate(zip(old, new, strict=False), 1):
        if a != b:
            return f"line {number} was {a[:160]!r} and is {b[:160]!r}"
    return f"one has {len(old)} lines, the other {len(new)}"
