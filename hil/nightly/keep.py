"""What is kept of old nights: the oldest go first, until few and small enough are left."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hil.errors import InfrastructureError
from hil.nightly.plan import Keep
from hil.nightly.state import directories

GIB = 1 << 30
GOING = ".removing-"  # what a night's directory is called while it goes


@dataclass(frozen=True)
class Kept:
    """What was removed, as (night, bytes), and how much is left; `limit` is what the plan allows, in bytes."""

    removed: tuple[tuple[str, int], ...]
    nights: int
    size: int
    limit: int

    def lines(self) -> list[str]:
        """For a summary: nothing where nothing was done and all is within its limits."""
        told = []
        if self.removed:
            names = ", ".join(name for name, _ in self.removed[:4]) + ", ..." * (len(self.removed) > 4)
            freed = sum(size for _, size in self.removed)
            told.append(f"removed {_nights(len(self.removed))}, {_gib(freed)}, to keep within the limits: {names}")
        if self.size > self.limit:
            told.append(f"{_nights(self.nights)} that are never removed have {_gib(self.size)} of {_gib(self.limit)}")
        return told


def clear(root: Path, keep: Keep, current: str) -> Kept:
    """Remove the oldest nights in `root` until they are within `keep`; never `current` nor the newest ones.

    Raises `InfrastructureError` where one cannot be removed.
    """
    _finish(root)
    found = directories(root)
    sizes = {path: size_of(path) for path in found}
    spared = {*found[-keep.newest :], root / current}
    removed: list[tuple[str, int]] = []
    for path in found:
        if len(sizes) <= keep.nights and sum(sizes.values()) <= keep.gib * GIB:
            break
        if path in spared:
            continue
        try:
            path.rename(root / f"{GOING}{path.name}")
        except OSError as error:
            raise InfrastructureError(f"cannot remove the night {path}: {error.strerror}") from error
        removed.append((path.name, sizes.pop(path)))
    _finish(root)
    return Kept(tuple(removed), len(sizes), sum(sizes.values()), int(keep.gib * GIB))


def _finish(root: Path) -> None:
    """Also what a removal that was cut short has left."""
    for path in root.glob(f"{GOING}*"):
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise InfrastructureError(f"cannot remove {path}: {error.strerror}") from error


def size_of(path: Path) -> int:
    """What the files below `path` take on the disk, in bytes, each once whatever its number of names."""
    seen: dict[tuple[int, int], int] = {}
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.lstat(os.path.join(directory, name))  # noqa: PTH118  a night has many files
                seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())


def _nights(count: int) -> str:
    return f"{count} night" if count == 1 else f"{count} nights"


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
