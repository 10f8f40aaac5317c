"""Locks between processes (flock). The kernel releases a lock when the last process with the open file has ended."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from typing import IO

from hil.errors import InfrastructureError

POLL = 0.2  # seconds between two tries


def lock(file: IO[str] | IO[bytes] | int) -> None:
    """Wait until the open `file` is locked. Raises `OSError` on a file system without locks."""
    fcntl.flock(file, fcntl.LOCK_EX)


def try_lock(file: IO[str] | IO[bytes] | int) -> bool:
    """Lock the open `file`; return False if another one holds the lock. Raises `OSError` as `lock` does."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lock_within(file: IO[str], limit: float, on_wait: Callable[[], None]) -> None:
    """Lock the open `file` within `limit` seconds; call `on_wait` once if another process holds it.

    Raises `InfrastructureError` after `limit`.
    """
    if try_lock(file):
        return
    on_wait()
    deadline = time.monotonic() + limit
    while not try_lock(file):
        if time.monotonic() > deadline:
            raise InfrastructureError(
                f"another process has held the lock {file.name} for {limit:g} s", hint="end that process"
            )
        time.sleep(POLL)
