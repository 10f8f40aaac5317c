"""The workshop of images: one at a time, in an empty staging directory, published by one rename."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.host.locks import lock_within
from hil.host.progress import Progress

KEPT = 3  # built and pulled images of one name that stay in the cache, those used last
WAIT = 1800.0  # seconds for another process to end its work


@contextmanager
def alone(root: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock of `root`. Raises `InfrastructureError` if another process holds it for `WAIT` seconds."""
    with (root / "lock").open("a") as lock:
        lock_within(lock, WAIT, lambda: progress.step("waiting for another process to make it"))
        yield


@contextmanager
def staging(root: Path) -> Iterator[Path]:
    """Give an empty directory in `root`, and remove it with its contents."""
    directory = root / "staging"
    # left by a killed process: this one holds the lock
    _remove(directory)
    directory.mkdir()
    try:
        yield directory
    finally:
        _remove(directory)


def publish(result: Path, target: Path, staging: Path) -> None:
    """Move the directory `result` from `staging` to `target`, readable by its owner alone; replace an old one."""
    for path in (result, *result.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if target.exists():
        target.rename(staging / "old")
    result.rename(target)


def forget_old(name: str, target: Path) -> None:
    """Remove the images of this name beside `target` that were used least recently, all but `KEPT`."""
    others = [path for path in target.parent.glob(f"{name}-" + "[0-9a-f]" * 16) if path != target]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[KEPT - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _remove(directory: Path) -> None:
    """Remove a tree with its read-only directories, which package trees contain."""
    if not directory.exists():
        return
    for path, _, _ in os.walk(directory):
        Path(path).chmod(0o700)
    shutil.rmtree(directory)
