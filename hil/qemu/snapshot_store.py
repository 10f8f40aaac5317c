"""The snapshots in the cache: one for each kind of machine, found, saved and removed as a whole.

A snapshot is the directory `snapshots/KEY/whole/` in the cache, KEY being the digest of everything that the state of
its machine depends on. It appears there by one rename, complete or not at all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from hil.console import Transcript
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import progress
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.locks import try_lock
from hil.image import workshop
from hil.qemu import snapshot
from hil.qemu.snapshot import Snapshot

FORMAT = "3"
LIMIT_MIB = 4096  # of all snapshots together, unless HIL_SNAPSHOTS_MIB is set


class SnapshotStore:
    """The place of the snapshot of one kind of machine. `key` lists what makes the kind."""

    def __init__(self, key: Sequence[str]) -> None:
        digest = hashlib.sha256(os.fsencode("\0".join((FORMAT, *key)))).hexdigest()[:16]
        self.directory = root() / digest

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes from making the same snapshot. Raises `InfrastructureError`."""
        with ExitStack() as lock:
            with disk(self.directory, 0):
                lock.enter_context(workshop.alone(self.directory, progress.current()))
            yield

    def find(self) -> Snapshot | None:
        """Return the snapshot; None if there is none. A damaged one is removed with a warning.

        Raises `InfrastructureError` if it cannot be read.
        """
        whole = self.directory / "whole"
        if not whole.is_dir():
            return None
        try:
            found = self._read(whole)
        except ValueError as damage:
            self.discard()
            warnings.warn(f"the snapshot in {self.directory} is damaged and was removed: {damage}", stacklevel=2)
            return None
        with suppress(OSError):  # `trim` removes the least recently used
            os.utime(self.directory)
        return found

    def save(self, memory: int, state: bytes, console: Transcript, facts: Mapping[str, Any]) -> Snapshot:
        """Make a snapshot of the stopped machine's open `memory` and its `state`, then trim the others; hold `alone`.

        Raises `InfrastructureError`, mainly for a full disk; nothing is left behind then.
        """
        needed = os.fstat(memory).st_blocks * 512
        return self._publish(needed, lambda made: snapshot.write(made, memory, state, console, facts))

    def _read(self, whole: Path) -> Snapshot:
        return snapshot.read(whole)

    def _publish(self, needed: int, write: Callable[[Path], None], *spared: Path) -> Snapshot:
        """Publish what `write` puts into a directory, `needed` bytes; trim all others but the `spared` directories."""
        with suppress(OSError):
            missing = needed - shutil.disk_usage(self.directory).free
            if missing > 0:  # older snapshots are worth less than this one
                trim(self.directory, *spared, most=sum(size for _, size, _ in stored()) - missing)
        with disk(self.directory, needed), workshop.staging(self.directory) as work:
            write(work / "made")
            workshop.publish(work / "made", self.directory / "whole", work)
        trim(self.directory, *spared)
        found = self.find()
        if found is None:
            raise InfrastructureError(f"the snapshot in {self.directory} was removed as soon as it was made")
        return found

    def holds(self, snapshot: Snapshot) -> bool:
        """Return whether `snapshot` is the one in the store; False for a replacement."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(snapshot.memory), (self.directory / "whole" / "memory").stat())
        return False

    def discard(self) -> None:
        """Remove the snapshot. Machines made from it keep their memory."""
        _remove(self.directory)


def root() -> Path:
    """Return the directory of all snapshots; it need not exist."""
    return cache_root() / "snapshots"


def stored() -> list[tuple[Path, int, Mapping[str, Any]]]:
    """Return directory, bytes on the disk and facts of each snapshot, the most recently used first.

    A damaged one has no facts.
    """
    found = []
    for whole in root().glob("*/whole/"):
        with suppress(OSError):  # another process has removed it meanwhile
            size = sum(path.stat().st_blocks * 512 for path in whole.iterdir())
            found.append((whole.parent.stat().st_mtime, whole.parent, size, _facts(whole)))
    found.sort(key=lambda entry: -entry[0])
    return [(directory, size, facts) for _, directory, size, facts in found]


def _facts(whole: Path) -> Mapping[str, Any]:
    try:
        return snapshot.read_facts(whole)
    except (InfrastructureError, ValueError):
        return {}


def size_limit() -> int:
    """Return the limit of all snapshots together in bytes. Raises `ConfigurationError` for a bad HIL_SNAPSHOTS_MIB."""
    value = os.environ.get("HIL_SNAPSHOTS_MIB", "")
    if value and not value.isdecimal():
        raise ConfigurationError(f"HIL_SNAPSHOTS_MIB is {value!r}", hint="give a number of MiB, 0 for no snapshots")
    return int(value or LIMIT_MIB) * MIB


def trim(*spared: Path, most: int | None = None) -> None:
    """Remove the least recently used snapshots until at most `most` bytes are left, and what killed processes left.

    `most` is `size_limit` by default. The snapshots in the directories `spared` are never removed. A layer is removed
    with its snapshot.
    """
    left, kept = size_limit() if most is None else most, {}
    for directory, size, facts in stored():
        left -= size
        if left >= 0 or directory in spared:
            kept[directory.name] = facts
        else:
            _remove(directory)
    for name, facts in kept.items():
        if facts.get("base", name) not in kept:
            _remove(root() / name)
    for directory in root().glob("*/"):
        with suppress(OSError), (directory / "lock").open("a") as lock:
            if try_lock(lock):  # nobody works there
                for remains in [directory / "staging", *directory.glob("old-*")]:
                    shutil.rmtree(remains, ignore_errors=True)


def _remove(directory: Path) -> None:
    """Remove a snapshot by one rename, so that no reader sees a part of it."""
    old = directory / f"old-{os.getpid()}"
    shutil.rmtree(old, ignore_errors=True)  # left by a killed process of the same number
    with suppress(OSError):
        (directory / "whole").rename(old)
    shutil.rmtree(old, ignore_errors=True)
