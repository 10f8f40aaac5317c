"""Removal of old nights, the oldest first, until the plan's limits are kept."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from hil.errors import InfrastructureError
from hil.nightly.plan import RetentionLimits
from hil.nightly.state import directories
from hil.text import counted

GIB = 1 << 30
REMOVING = ".removing-"  # prefix of a night's directory while it is removed


@dataclass(frozen=True)
class Retained:
    """The removed nights as (name, bytes), the number and `size` of those that stay, and the size `limit`, in bytes."""

    removed: tuple[tuple[str, int], ...]
    nights: int
    size: int
    limit: int

    def lines(self) -> list[str]:
        """Return lines for the summary; none where nothing was removed and the limits are kept."""
        lines = []
        if self.removed:
            names = ", ".join(name for name, _ in self.removed[:4]) + ", ..." * (len(self.removed) > 4)
            freed = sum(size for _, size in self.removed)
            lines.append(f"removed {counted(len(self.removed), 'night')}, {_gib(freed)}, to keep the limits: {names}")
        if self.size > self.limit:
            nights = counted(self.nights, "night")
            lines.append(f"{nights} that must stay take {_gib(self.size)}, the limit is {_gib(self.limit)}")
        return lines


def remove_old_nights(root: Path, limits: RetentionLimits, current: str) -> Retained:
    """Remove the oldest nights in `root` until the limits are kept; never `current` nor the newest ones.

    Raises `InfrastructureError` where a night cannot be removed.
    """
    _finish(root)
    found = directories(root)
    sizes = {path: size_of(path) for path in found}
    spared = {*found[-limits.newest :], root / current}
    removed: list[tuple[str, int]] = []
    for path in found:
        if len(sizes) <= limits.nights and sum(sizes.values()) <= limits.gib * GIB:
            break
        if path in spared:
            continue
        try:
            path.rename(root / f"{REMOVING}{path.name}")
        except OSError as error:
            raise InfrastructureError(f"cannot remove the night {path}: {error.strerror}") from error
        removed.append((path.name, sizes.pop(path)))
    _finish(root)
    return Retained(tuple(removed), len(sizes), sum(sizes.values()), int(limits.gib * GIB))


def _finish(root: Path) -> None:
    """Delete the renamed directories, also those of a removal that was cut short."""
    for path in root.glob(f"{REMOVING}*"):
        try:
            shutil.rmtree(path)
        except OSError as error:
            raise InfrastructureError(f"cannot remove {path}: {error.strerror}") from error


def size_of(path: Path) -> int:
    """Return the size on the disk of all files below `path` in bytes; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.lstat(os.path.join(directory, name))  # noqa: PTH118  a night has many files
                seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())


def _gib(size: int) -> str:
    return f"{size / GIB:.3g} GiB"
