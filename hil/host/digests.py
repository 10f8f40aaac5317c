"""Digests of files, computed again only if the file may have changed.

SHA-256 identifies a file in manifests and records. A quick digest (XXH3-128, five times as fast) detects files that
were damaged or replaced since their SHA-256 was computed.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import xxhash

from hil.host import files

BLOCK = 1 << 16
"""The size of a block in bytes, hashed or skipped as zeros as a whole."""

SETTLED_NS = 2_000_000_000
"""A file that changed less than this time ago may change again without a new time stamp."""


@dataclass(frozen=True)
class Identity:
    """Attributes that change with a file's contents. The kernel sets `ctime_ns`; no program can set it back."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, file: int) -> Identity:
        """Return the identity of the open `file`."""
        status = os.fstat(file)
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    @property
    def settled(self) -> bool:
        """Whether another change would change the identity, too."""
        return time.time_ns() - max(self.mtime_ns, self.ctime_ns) > SETTLED_NS


_quick: dict[Identity, str] = {}
_sha256: dict[Identity, str] = {}


def quick(file: int) -> str:
    """Return the quick digest of the open `file`: XXH3-128 of its nonzero blocks, their offsets, its size.

    Holes are not read; they have the same digest as zeros. Raises `OSError`.
    """
    before = Identity.of(file)
    if known := _quick.get(before):
        return known
    settled = before.settled
    digest = xxhash.xxh3_128(before.size.to_bytes(8, "little"))
    for at, block in blocks(file):
        digest.update(at.to_bytes(8, "little"))
        digest.update(block)
    if settled and Identity.of(file) == before:
        _quick[before] = digest.hexdigest()
    return digest.hexdigest()


def sha256(path: Path, notes: Path) -> str:
    """Return the SHA-256 of the file at `path`, computed again only if the file may have changed.

    `notes` is a directory that keeps digests between processes. A note is valid while the identity of the file and
    its quick digest, computed once per process, are unchanged. Raises `OSError`.
    """
    with path.open("rb") as file:
        before = Identity.of(file.fileno())
        if known := _sha256.get(before):
            return known
        settled = before.settled
        note = notes / f"{hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]}.json"
        fast = quick(file.fileno())
        digest = _recall(note, before, fast) or hashlib.file_digest(file, "sha256").hexdigest()
        if settled and Identity.of(file.fileno()) == before:
            _sha256[before] = digest
            _note(note, before, fast, digest)
    return digest


def blocks(file: int) -> Iterator[tuple[int, bytearray]]:
    """Yield offset and contents of each nonzero block of the open `file`; the buffer is reused."""
    nothing, buffer = bytes(BLOCK), bytearray(BLOCK)
    position = os.lseek(file, 0, os.SEEK_CUR)  # the search for holes moves it
    try:
        for begin, end in _extents(file):
            for at in range(begin, end, BLOCK):
                size = os.preadv(file, [buffer], at)
                block = buffer if size == BLOCK else buffer[:size]
                if block != nothing[:size]:
                    yield at, block
    finally:
        os.lseek(file, position, os.SEEK_SET)


def _extents(file: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each part of the open `file` that may contain data, in whole blocks."""
    end = 0
    while True:
        try:
            at = os.lseek(file, end, os.SEEK_DATA)
        except OSError:  # no more data
            return
        begin = at - at % BLOCK
        end = -(-os.lseek(file, at, os.SEEK_HOLE) // BLOCK) * BLOCK
        yield begin, end


def _recall(note: Path, identity: Identity, fast: str) -> str | None:
    try:
        record = json.loads(note.read_text(encoding="utf-8"))
        if record["identity"] == list(astuple(identity)) and record["quick"] == fast:
            return str(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _note(note: Path, identity: Identity, fast: str, digest: str) -> None:
    """Write the note. If this fails, the digest is computed again next time."""
    with suppress(OSError):
        if _recall(note, identity, fast) == digest:
            return
        note.parent.mkdir(parents=True, exist_ok=True)
        files.write(note, json.dumps({"identity": astuple(identity), "quick": fast, "sha256": digest}))
