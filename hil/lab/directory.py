"""The directory of a lab: where it is, who holds it, what is cleared from it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host.directories import cache_root, expanded
from hil.host.locks import try_lock
from hil.lab.plan import PLAN, STATE, LabState
from hil.lab.processes import sweep

LOCK = "lock"


def where(directory: Path | None) -> Path:
    """Return the lab's directory: the given one, else `hil-lab` in the user's runtime directory, else in the cache."""
    if directory is not None:
        return expanded(directory).resolve()
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    # XDG requires to ignore a relative path
    return runtime / "hil-lab" if runtime.is_absolute() and runtime.is_dir() else cache_root() / "lab"


def state_of(directory: Path) -> LabState:
    """Return the state of the lab in `directory`. Raises `ConfigurationError` if no lab is up there."""
    state = LabState.read(directory)
    if state is None:
        raise ConfigurationError(f"no lab is up in {directory}", hint="start one with three boards: `hil lab up 3`")
    return state


def take_down(directory: Path | None = None) -> int:
    """End all processes of the lab in `directory`, also after its supervisor's death; return their number.

    Logs stay. Raises `InfrastructureError` if a process does not end.
    """
    directory = where(directory)
    count = sweep(directory)
    if (directory / LOCK).exists():
        clear(directory)
    return count


def clear(directory: Path, *more: str) -> None:
    """Remove the files of a lab that has ended, and those of the patterns `more`."""
    shutil.rmtree(directory / "tftp", ignore_errors=True)
    for pattern in (PLAN, STATE, "*.new", "*.yaml", "*.line", *more):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Create `directory`, lock it and yield the descriptor of the lock, which other processes may inherit.

    The directory stays locked until each of them has closed the descriptor.

    Raises `ConfigurationError` if a lab is up there, or the directory contains anything else.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (directory / LOCK).exists() and any(directory.iterdir()):
            raise ConfigurationError(f"{directory} contains files of others", hint="choose another directory")
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(f"cannot make a lab in {directory}: {error.strerror}") from error
    try:
        if not try_lock(lock):
            state = LabState.read(directory)
            what = f"is up in {directory}, with {len(state.boards)} boards" if state else f"is coming up in {directory}"
            raise ConfigurationError(
                f"a lab {what}", hint="end it with `hil lab down`, or make another one with --directory"
            )
        yield lock
    finally:
        os.close(lock)
