"""Snapshots: a machine that is up and proven, kept on the disk, from which fresh ones are made in a moment.

A snapshot is the directory `snapshots/KEY/whole/` in the cache, KEY being the digest of everything that its machine
hangs on: `memory` (the RAM, a sparse file), `state` (processors and devices, as QEMU migrates them), `boot.raw` and
`boot.tsv` (the console of its boot) and `facts.json`, which has the digests of the others and its own. It appears
there whole, by one rename, or not at all, and is restored only while its files have these digests.

A machine is restored as a new process that maps `memory` privately: nothing is read before it is touched, any number of
machines share it, and none changes it. QEMU's own loadvm, which reads all of it, needs several times as long
(bench/restore.py). The memory is hashed once a process and again when the file changes; it is compared before a
restore and behind it. What changes the file later than that reaches the pages that the machine has not touched yet,
and is found by the next restore.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from hil.console import Transcript
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import digests
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.locks import try_lock
from hil.host.progress import NoProgress
from hil.image import workshop
from hil.image.options import suboptions

FORMAT = "2"
FILES = ("memory", "state", "boot.raw", "boot.tsv")
LIMIT_MIB = 4096  # of all snapshots together; HIL_SNAPSHOTS_MIB sets another
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

    def damage(self) -> str:
        """Return how the memory differs from what was saved; empty where it does not. Raises `InfrastructureError`."""
        with _reading(self.directory / "memory"):
            return _difference("memory", self.memory, self.facts)

    def same(self, other: Snapshot) -> bool:
        """Return whether the `other` is this one, not one that has taken its place."""
        return os.path.sameopenfile(self.memory, other.memory)

    def close(self) -> None:
        os.close(self.memory)


class SnapshotStore:
    """The place of one kind of machine's snapshot. `key` lists what makes the kind."""

    def __init__(self, key: Sequence[str]) -> None:
        digest = hashlib.sha256(os.fsencode("\0".join((FORMAT, *key)))).hexdigest()[:16]
        self.directory = root() / digest

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from making the same snapshot. Raises `InfrastructureError`."""
        with ExitStack() as lock:
            with disk(self.directory, 0):
                lock.enter_context(workshop.alone(self.directory, NoProgress()))
            yield

    def find(self) -> Snapshot | None:
        """Return the snapshot, None where there is none. One that is damaged is removed, with a warning.

        Raises `InfrastructureError` where it cannot be read.
        """
        whole = self.directory / "whole"
        if not whole.is_dir():
            return None
        damage, state, memory = "", b"", -1
        try:
            facts = _proven_facts(whole)
            for name in FILES:
                with _reading(whole / name), (whole / name).open("rb") as file:
                    damage = damage or _difference(name, file.fileno(), facts)
                    if name == "state":
                        state = file.read()
                    elif name == "memory":
                        memory = os.dup(file.fileno())
        except ValueError as error:
            damage = str(error)
        except BaseException:
            if memory >= 0:
                os.close(memory)
            raise
        if damage:
            if memory >= 0:
                os.close(memory)
            self.discard()
            warnings.warn(f"the snapshot in {self.directory} is damaged and was removed: {damage}", stacklevel=2)
            return None
        with suppress(OSError):  # those used last are kept
            os.utime(self.directory)
        return Snapshot(whole, memory, os.fstat(memory).st_size, state, facts)

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
            disk(self.directory, needed),
            workshop.staging(self.directory) as work,
        ):
            made = work / "made"
            made.mkdir()
            _copy(memory, made / "memory")
            _write(made / "state", state)
            shutil.copyfile(console.path, made / "boot.raw")
            shutil.copyfile(console.index_path, made / "boot.tsv")
            _write(made / "facts.json", _signed({**facts, "digests": {name: _digest(made / name) for name in FILES}}))
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
    return cache_root() / "snapshots"


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
    return int(told or LIMIT_MIB) * MIB


def trim(spared: Path | None = None, most: int | None = None) -> None:
    """Remove the oldest snapshots, without `spared`, until the others take `most` bytes, and what the killed left."""
    left = limit() if most is None else most
    for directory, size, _ in shelves():
        left -= size
        if left < 0 and directory != spared:
            _remove(directory)
    for directory in root().glob("*/"):
        with suppress(OSError), (directory / "lock").open("a") as lock:
            if try_lock(lock):  # nobody works there
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
    found = []
    for argument in arguments:
        parts = suboptions(argument)
        for name in dict.fromkeys([argument, *parts, *(part.partition("=")[2] for part in parts)]):
            # Path.is_file() raises for what is too long for a name
            if os.path.isfile(name):  # noqa: PTH113
                status = Path(name).stat()
                found.append(f"{name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}")
    return found


def _copy(memory: int, target: Path) -> None:
    """Copy what is not zero."""
    with target.open("wb") as file:
        file.truncate(os.fstat(memory).st_size)
        for at, block in digests.blocks(memory):
            os.pwrite(file.fileno(), block, at)
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return digests.quick(file.fileno())


def _difference(name: str, file: int, facts: Mapping[str, Any]) -> str:
    """Return how the open `file` differs from what was saved under `name`; empty where it does not."""
    expected, actual = facts["digests"][name], digests.quick(file)
    return "" if actual == expected else f"the digest (XXH3-128) of its {name} is {actual}, was {expected}"


def _signed(facts: Mapping[str, Any]) -> bytes:
    """Return `facts.json`: the facts and the digest of their text."""
    text = json.dumps(facts, sort_keys=True).encode()
    return json.dumps({"digest": xxhash.xxh3_128_hexdigest(text), "facts": facts}).encode()


def _proven_facts(whole: Path) -> Mapping[str, Any]:
    """Return the facts in `facts.json`; ValueError where they are not those that were written."""
    path = whole / "facts.json"
    try:
        with _reading(path):
            signed = json.loads(path.read_bytes())
        facts: Mapping[str, Any] = signed["facts"]
        if signed == json.loads(_signed(facts)) and set(facts["digests"]) == set(FILES):
            return facts
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        pass
    raise ValueError("its facts.json is not what was written")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert errors of reading: ValueError for a file that is not there, else `InfrastructureError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"it has no {path.name}") from error
    except OSError as error:
        raise InfrastructureError(
            f"cannot read {path}: {error.strerror}", hint="check the disk and who may read there; `hil snapshot clear`"
        ) from error


def _facts(whole: Path) -> Mapping[str, Any]:
    try:
        return _proven_facts(whole)
    except (InfrastructureError, ValueError):
        return {}


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
