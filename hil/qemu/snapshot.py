"""The files of one snapshot: written with digests, and read only while they have these digests.

A snapshot is a directory: `memory` (the RAM, a sparse file), `state` (processors and devices, as QEMU migrates them),
`boot.raw` and `boot.tsv` (the console of its boot) and `facts.json`, with the digests of the other files and its own.

A restored machine is a new process that maps `memory` privately: pages are read when touched, any number of machines
share the file, and none changes it. QEMU's own loadvm reads all of it and takes several times as long
(bench/restore.py). The memory is hashed once a process and again when the file changes, before and after each restore.
A later change can reach pages that a machine has not touched yet; the next restore finds it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from hil.console import Transcript
from hil.errors import InfrastructureError
from hil.host import digests, files

FILES = ("memory", "state", "boot.raw", "boot.tsv")
LAYER_FILES = ("state",)  # of a layer, see `hil.qemu.layer_store`


@dataclass(frozen=True)
class Snapshot:
    """A readable snapshot. `memory` is its open file, so it stays complete even if it is removed; call `close`."""

    directory: Path
    memory: int
    size: int
    state: bytes
    facts: Mapping[str, Any]

    @property
    def console(self) -> Path:
        """The transcript of the boot that the snapshot was made from."""
        return self.directory / "boot.raw"

    def damage(self) -> str:
        """Return how the memory differs from what was saved; empty if it does not. Raises `InfrastructureError`."""
        with _reading(self.directory / "memory"):
            return _difference("memory", digests.quick(self.memory), self.facts)

    def close(self) -> None:
        os.close(self.memory)


def read(directory: Path) -> Snapshot:
    """Open a snapshot and check its files.

    Raises ValueError for a damaged one, `InfrastructureError` for files that cannot be read.
    """
    facts = read_facts(directory)
    state, memory = b"", -1
    try:
        for name in FILES:
            with _reading(directory / name), (directory / name).open("rb") as file:
                if damage := _difference(name, digests.quick(file.fileno()), facts):
                    raise ValueError(damage)
                if name == "state":
                    state = file.read()
                elif name == "memory":
                    memory = os.dup(file.fileno())
    except BaseException:
        if memory >= 0:
            os.close(memory)
        raise
    return Snapshot(directory, memory, os.fstat(memory).st_size, state, facts)


def write(directory: Path, memory: int, state: bytes, console: Transcript, facts: Mapping[str, Any]) -> None:
    """Write the files of a new snapshot from the stopped machine's open `memory` and its `state`."""
    directory.mkdir()
    _copy(memory, directory / "memory")
    files.write(directory / "state", state, durable=True)
    shutil.copyfile(console.path, directory / "boot.raw")
    shutil.copyfile(console.index_path, directory / "boot.tsv")
    signed = _signed({**facts, "digests": {name: _digest(directory / name) for name in FILES}})
    files.write(directory / "facts.json", signed, durable=True)


def read_layer(directory: Path, base: Snapshot) -> Snapshot:
    """Open a layer of `base` as a snapshot with the memory and the boot of `base`. Raises as `read`."""
    facts = read_facts(directory)
    with _reading(directory / "state"):
        state = (directory / "state").read_bytes()
        if damage := _difference("state", _digest(directory / "state"), facts):
            raise ValueError(damage)
        memory = os.dup(base.memory)
    both = {**base.facts["digests"], **facts["digests"]}
    return Snapshot(base.directory, memory, base.size, state, {**facts, "digests": both})


def write_layer(directory: Path, state: bytes, facts: Mapping[str, Any]) -> None:
    """Write the files of a new layer; `state` contains the changed pages."""
    directory.mkdir()
    files.write(directory / "state", state, durable=True)
    signed = _signed({**facts, "digests": {name: _digest(directory / name) for name in LAYER_FILES}})
    files.write(directory / "facts.json", signed, durable=True)


def read_facts(directory: Path) -> Mapping[str, Any]:
    """Return the facts of a snapshot or layer. Raises ValueError unless they are those that were written."""
    path = directory / "facts.json"
    try:
        with _reading(path):
            signed = json.loads(path.read_bytes())
        facts: Mapping[str, Any] = signed["facts"]
        if signed == json.loads(_signed(facts)) and set(facts["digests"]) in (set(FILES), set(LAYER_FILES)):
            return facts
    except (KeyError, TypeError, RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        pass
    raise ValueError("its facts.json is not what was written")


def _signed(facts: Mapping[str, Any]) -> bytes:
    """Return the content of `facts.json`: the facts and the digest of their text."""
    text = json.dumps(facts, sort_keys=True).encode()
    return json.dumps({"digest": xxhash.xxh3_128_hexdigest(text), "facts": facts}).encode()


def _copy(memory: int, target: Path) -> None:
    with target.open("wb") as file:
        copy(memory, file.fileno())
        os.fsync(file.fileno())


def copy(memory: int, target: int) -> None:
    """Copy all blocks of the open `memory` that are not zero to the open, empty `target`. Raises `OSError`."""
    os.ftruncate(target, os.fstat(memory).st_size)
    for at, block in digests.blocks(memory):
        os.pwrite(target, block, at)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return digests.quick(file.fileno())


def _difference(name: str, actual: str, facts: Mapping[str, Any]) -> str:
    expected = facts["digests"].get(name)
    return "" if actual == expected else f"the digest (XXH3-128) of its {name} is {actual}, was {expected}"


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert errors of reading: ValueError for a missing file, else `InfrastructureError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"it has no {path.name}") from error
    except OSError as error:
        raise InfrastructureError(
            f"cannot read {path}: {error.strerror}",
            hint="check the disk and the permissions, or remove all with `hil snapshot clear`",
        ) from error
