"""Virtual time of a machine, and the preload library that keeps QEMU's console and wires in lock step with it."""

from __future__ import annotations

import functools
import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host import files, packages, tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk

SOURCES = tuple(sorted(Path(__file__).with_name("preload").glob("*.[ch]")))
COMPILER = "cc"
FLAGS = ("-shared", "-fPIC", "-O2", "-fvisibility=hidden")
PROBE_LIMIT = 20.0  # seconds
# 2 ns an instruction; each of these is needed, see docs/timing.md
ICOUNT = ("-icount", "shift=1,sleep=off", "-rtc", "base=2026-01-01T00:00:00,clock=vm")


@dataclass(frozen=True)
class Virtual:
    """The virtual time of one machine: its `seed`, 0 to 2^64 - 1, and whether its figures are exact.

    `proof` names the earlier runs that this one equals; `lost` is why its figures are not exact. Raises
    `ConfigurationError` for a seed out of range.
    """

    seed: int = 1
    proof: str = ""
    lost: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 64:
            raise ConfigurationError(f"seed {self.seed} is out of range", hint="give one from 0 to 2^64 - 1")

    @property
    def exact(self) -> bool:
        return bool(self.proof) and not self.lost

    def arguments(self) -> list[str]:
        """Return QEMU's arguments for virtual time."""
        return [*ICOUNT, "-seed", str(self.seed)]

    def __str__(self) -> str:
        state = f"not exact: {self.lost}" if self.lost else f"exact: {self.proof}" if self.proof else "not proven"
        return f"virtual time, seed {self.seed}, {state}"


@dataclass(frozen=True)
class LockstepConfig:
    """Settings of one machine: the preload library, the seed, the prompts, and the file for virtual time stamps.

    `history` is the history of the snapshot that the machine is restored from.
    """

    library: Path
    seed: int
    prompts: tuple[bytes, ...]
    stamps: Path
    history: str = ""


def available() -> bool:
    """Return whether this host has the preload library, or a C compiler to make it."""
    return _shipped().exists() or shutil.which(COMPILER) is not None


def needs_compiler() -> bool:
    """Return whether this installation lacks the compiled preload library, so that virtual time needs a C compiler."""
    return not _shipped().exists()


def library() -> Path:
    """Return the path of the preload library: that of the wheel, else compiled on first use.

    Raises `ConfigurationError` without a compiler, `InfrastructureError` if compiling fails.
    """
    if _shipped().exists():
        return _shipped()
    if not available():
        raise ConfigurationError("virtual time needs a C compiler", hint=tools.install_hint(*packages.COMPILING))
    recipe = [tools.version(COMPILER), *FLAGS, source_text()]
    key = hashlib.sha256("\n".join(recipe).encode()).hexdigest()[:16]
    made = cache_root() / "lockstep" / f"{key}.so"
    if not made.exists():
        with disk(made.parent, MIB), files.replacing(made) as new:
            names = [source.name for source in SOURCES if source.suffix == ".c"]
            tools.run([COMPILER, *FLAGS, "-o", str(new), *names], limit=60, directory=SOURCES[0].parent)
    return made


def source_text() -> str:
    """Return the sources of the preload library, one after the other."""
    return "\n".join(source.read_text() for source in SOURCES)


def _shipped() -> Path:
    """Return the path of the library that a wheel for this machine has."""
    return SOURCES[0].with_name(f"lockstep-{platform.machine()}.so")


@dataclass(frozen=True)
class Refusal:
    """Why an emulator cannot run in lock step, have wires, and have a CAN bus; each is empty if it can."""

    lockstep: str = ""
    wires: str = ""
    can: str = ""


def refusal(emulator: str, preload: Path) -> Refusal:
    """Return what of the preload library `emulator` cannot use, and why.

    Each emulator is probed once; a probe that fails, for example on a busy host, is made again the next time.
    """
    path = shutil.which(emulator) or emulator
    try:
        return _probed(path, Path(path).stat().st_mtime_ns, preload)
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = f"cannot probe {emulator}: {error}"
        return Refusal(reason, reason, reason)


@functools.cache
def _probed(emulator: str, changed_ns: int, preload: Path) -> Refusal:
    with preload.open("rb") as file:  # passed as a descriptor: LD_PRELOAD splits paths at blanks and colons
        done = subprocess.run(
            ["env", f"LD_PRELOAD=/proc/self/fd/{file.fileno()}", "HIL_LOCKSTEP=probe", emulator, "--version"],
            capture_output=True,
            text=True,
            timeout=PROBE_LIMIT,
            stdin=subprocess.DEVNULL,
            pass_fds=[file.fileno()],
        )
    first, _, rest = done.stderr.strip().partition("\n")  # empty for a statically linked program
    if first == "lock step":
        parts = dict(line.split(": ", 1) for line in rest.splitlines() if ": " in line)
        wires = parts.get("wires", "")
        return Refusal("", wires, wires or parts.get("can", ""))
    reason = done.stderr.strip() or f"{emulator} does not load preload libraries"
    return Refusal(reason, reason, reason)
