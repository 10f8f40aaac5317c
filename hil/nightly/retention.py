"""Removal of old nights, the oldest first, until the plan's limits are kept."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from hil.host.disk import disk_errors
from hil.nightly.plan import RetentionLimits
from hil.nightly.state import directories
from hil.text import counted

GIB = 1 << 30
REMOVING = ".removing-"  # prefix of a night's directory while it is removed


def remove_old_nights(root: Path, limits: RetentionLimits, current: str) -> list[str]:
    """Remove the oldest nights in `root` until the limits are kept; never `current` nor the newest ones.

    Return lines for the summary; none where nothing was removed and the limits are kept. Raises `InfrastructureError`
    where a night cannot be removed.
    """
    _finish(root)
    found = directories(root)
    sizes = {path: size_of(path) for path in found}
    spared = {*found[-limits.newest :], root / current}
    removed: dict[str, int] = {}
    for path in found:
        if len(sizes) <= limits.nights and sum(sizes.values()) <= limits.gib * GIB:
            break
        if path in spared:
            continue
        with disk_errors(f"remove the night {path}"):
            path.rename(root / f"{REMOVING}{path.name}")
        removed[path.name] = sizes.pop(path)
    _finish(root)
    lines, size = [], sum(sizes.values())
    if removed:
        names = ", ".join(list(removed)[:4]) + ", ..." * (len(removed) > 4)
        freed = f"{counted(len(removed), 'night')}, {_gib(sum(removed.values()))}"
        lines.append(f"removed {freed}, to keep the limits: {names}")
    if size > limits.gib * GIB:
        nights = counted(len(sizes), "night")
        lines.append(f"{nights} that must stay take {_gib(size)}, the limit is {_gib(limits.gib * GIB)}")
    return lines


def _finish(root: Path) -> None:
    """Delete the renamed directories, also those of a removal that was cut short."""
    for path in root.glob(f"{REMOVING}*"):
        with disk_errors(f"remove {path}"):
            shutil.rmtree(path)


def size_of(path: Path) -> int:
    """Return the size on the disk of all files below `path` in bytes; a file with several names counts once."""
    seen: dict[tuple[int, int], int] = {}
    for directory, _, names in os.walk(path):
        for name in names:
            with contextlib.suppress(OSError):
                stat = os.lstat(os.path.join(directory, name))  # noqa: PTH118  a night has many files
                seen[stat.st_dev, stat.st_ino] = stat.st_blocks * 512
    return sum(seen.values())


def _gib(size: float) -> str:
    return f"{size / GIB:.3g} GiB"
