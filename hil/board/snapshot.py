"""Snapshots: a machine that is up and proven, kept on the disk, from which fresh ones are made in a moment.

A snapshot is the directory `snapshots/KEY/whole/` in the cache, KEY being the digest of everything that its machine
hangs on: `memory` (the RAM, a sparse file), `state` (processors and devices, as QEMU migrates them), `boot.raw` and
`boot.tsv` (the console of its boot) and `facts.json`. It appears there whole, by one rename, or not at all.

A machine is restored as a new process that maps `memory` privately: nothing is read before it is touched, any number of
machines share it, and none changes it. QEMU's own loadvm, which reads all of it, needs several times as long
(bench/restore.py).
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.console import Transcript
from hil.errors import ConfigurationError, InfrastructureError
from hil.image import store, tools, workshop
from hil.image.progress import Silent

FORMAT = "1"
LIMIT_MIB = 4096  # of all snapshots together; HIL_SNAPSHOTS_MIB sets another
BLOCK = 1 << 16  # bytes that are kept or left out together
SUFFIXES = {"": 20, "B": 0, "K": 10, "M": 20, "G": 30, "T": 40}  # of QEMU's -m, powers of two
ALIGNED = 1 << 13  # bytes: QEMU rounds up


@dataclass(frozen=True)
class Snapshot:
    """A snapshot that is there. `memory` is its open file, so it stays whole whoever removes it; `close` lets it go."""

    directory: Path
    memory: int
    size: int
    state: bytes
    facts: Mapping[str, Any]

    @property
    def console(self) -> Path:
        """The transcript of the boot that it is made of."""
        return self.directory / "boot.raw"

    def close(self) -> None:
        os.close(self.memory)


class Shelf:
    """The place of one kind of machine's snapshot. `key` lists what makes the kind."""

    def __init__(self, key: Sequence[str]) -> None:
        digest = hashlib.sha256("\0".join((FORMAT, *key)).encode()).hexdigest()[:16]
        self.directory = root() / digest

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from making the same snapshot. Raises `InfrastructureError`."""
        with ExitStack() as lock:
            with tools.disk(self.directory, 0):
                lock.enter_context(workshop.alone(self.directory, Silent()))
            yield

    def find(self) -> Snapshot | None:
        """The snapshot, None where there is none that is whole."""
        whole = self.directory / "whole"
        try:
            facts = json.loads((whole / "facts.json").read_text())
            state = (whole / "state").read_bytes()
            digest, size = facts["state"], facts["memory"]
            memory = os.open(whole / "memory", os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if hashlib.sha256(state).hexdigest() != digest or os.fstat(memory).st_size != size:
            os.close(memory)
            return None
        with suppress(OSError):  # those used last are kept
            os.utime(self.directory)
        return Snapshot(whole, memory, size, state, facts)

    def keep(self, memory: int, state: bytes, console: Transcript, facts: Mapping[str, Any]) -> Snapshot:
        """Make a snapshot of the stopped machine's open `memory` and its `state`, and trim the others; hold `alone`.

        Raises `InfrastructureError`, above all where the disk is full; nothing is left behind then.
        """
        status = os.fstat(memory)
        needed = status.st_blocks * 512
        with suppress(OSError):
            missing = needed - shutil.disk_usage(self.directory).free
            if missing > 0:  # older snapshots are worth less than this one
                trim(self.directory, sum(size for _, size, _ in shelves()) - missing)
        with (
            tools.disk(self.directory, needed),
            workshop.staging(self.directory) as work,
        ):
            made = work / "made"
            made.mkdir()
            _copy(memory, made / "memory")
            _write(made / "state", state)
            shutil.copyfile(console.path, made / "boot.raw")
            shutil.copyfile(console.index_path, made / "boot.tsv")
            checked = {"memory": status.st_size, "state": hashlib.sha256(state).hexdigest()}
            _write(made / "facts.json", json.dumps({**facts, **checked}).encode())
            workshop.publish(made, self.directory / "whole", work)
        trim(self.directory)
        found = self.find()
        if found is None:
            raise InfrastructureError(f"the snapshot in {self.directory} was removed as soon as it was made")
        return found

    def discard(self) -> None:
        """Remove the snapshot; machines that were made from it do not notice."""
        _remove(self.directory)


def root() -> Path:
    """Where the snapshots are (it need not exist)."""
    return store.cache_root() / "snapshots"


def shelves() -> list[tuple[Path, int, Mapping[str, Any]]]:
    """The directory, the bytes on the disk and the facts of each snapshot that is there, those used last first.

    A damaged one has no facts.
    """
    found = []
    for whole in root().glob("*/whole/"):
        with suppress(OSError):  # another run has removed it meanwhile
            size = sum(path.stat().st_blocks * 512 for path in whole.iterdir())
            found.append((whole.parent.stat().st_mtime, whole.parent, size, _facts(whole)))
    return [(directory, size, facts) for _, directory, size, facts in sorted(found, key=lambda one: -one[0])]


def limit() -> int:
    """The bytes that all snapshots together may take. Raises `ConfigurationError` for a bad HIL_SNAPSHOTS_MIB."""
    told = os.environ.get("HIL_SNAPSHOTS_MIB", "")
    if told and not told.isdecimal():
        raise ConfigurationError(f"HIL_SNAPSHOTS_MIB is {told!r}", hint="give a number of MiB, 0 for no snapshots")
    return int(told or LIMIT_MIB) * tools.MIB


def trim(spared: Path | None = None, most: int | None = None) -> None:
    """Remove the oldest snapshots, without `spared`, until the others take `most` bytes, and what the killed left."""
    left = limit() if most is None else most
    for directory, size, _ in shelves():
        left -= size
        if left < 0 and directory != spared:
            _remove(directory)
    for directory in root().glob("*/"):
        with suppress(OSError), (directory / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody works there
            for rest in [directory / "staging", *directory.glob("old-*")]:
                shutil.rmtree(rest, ignore_errors=True)


def memory_size(arguments: Sequence[str]) -> int | None:
    """The bytes of RAM that QEMU's `arguments` ask for; None where they do not tell or bring a memory of their own."""
    if any("memory-backend" in argument or argument in ("-numa", "-mem-path") for argument in arguments):
        return None
    told = [value for option, value in itertools.pairwise(arguments) if option == "-m"]
    found = re.match(r"(?:size=)?(\d+)([BKMGT]?)(?:,|$)", told[-1], re.I) if told else None
    return -(-(int(found[1]) << SUFFIXES[found[2].upper()]) // ALIGNED) * ALIGNED if found else None


def stamps(arguments: Sequence[str]) -> list[str]:
    """Size and time of each file that `arguments` name: what tells when one is changed."""
    pieces = (piece for argument in arguments for piece in re.split("[,=]", argument))
    # Path.is_file() raises for what is too long for a name
    parts = [Path(piece) for piece in pieces if os.path.isfile(piece)]  # noqa: PTH113
    return [f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in parts]


def _copy(memory: int, target: Path) -> None:
    """Copy what is not zero."""
    nothing = bytes(BLOCK)
    with target.open("wb") as file:
        file.truncate(os.fstat(memory).st_size)
        end = 0
        while True:
            try:
                at = os.lseek(memory, end, os.SEEK_DATA)
            except OSError:  # no more
                break
            end = os.lseek(memory, at, os.SEEK_HOLE)
            while at < end:
                block = os.pread(memory, min(BLOCK, end - at), at)
                if block != nothing[: len(block)]:
                    os.pwrite(file.fileno(), block, at)
                at += len(block)
        os.fsync(file.fileno())


def _facts(whole: Path) -> Mapping[str, Any]:
    try:
        facts = json.loads((whole / "facts.json").read_text())
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _remove(directory: Path) -> None:
    """At once for those who look, whoever is killed meanwhile."""
    old = directory / f"old-{os.getpid()}"
    shutil.rmtree(old, ignore_errors=True)  # of one that was killed and had our number
    with suppress(OSError):
        (directory / "whole").rename(old)
    shutil.rmtree(old, ignore_errors=True)
