"""Disk space, and disk errors as errors of the infrastructure."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hil.errors import InfrastructureError

MIB = 1 << 20


@contextmanager
def disk_errors(action: str, hint: str = "check the disk") -> Iterator[None]:
    """Convert an `OSError` within the block, in which `action` is tried, into `InfrastructureError`."""
    try:
        yield
    except OSError as error:
        raise InfrastructureError(f"cannot {action}: {error.strerror or error}", hint=hint) from error


@contextmanager
def disk(directory: Path, needed: int, variable: str = "XDG_CACHE_HOME") -> Iterator[None]:
    """Create `directory` and convert disk errors within the block (mainly a full disk) into `InfrastructureError`.

    The block needs `needed` bytes of free space, which is checked first. `variable` is the environment variable
    that moves `directory`.
    """
    hint = f"free some space, or set {variable} to a directory with {needed // MIB} MiB free"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise InfrastructureError(
                f"not enough space in {directory}: {free // MIB} MiB free, {needed // MIB} MiB needed", hint=hint
            )
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise InfrastructureError(
                f"cannot use {error.filename or directory}: {error.strerror}",
                hint=f"check {directory}, or set {variable} to another directory",
            ) from error
        raise InfrastructureError(
            f"the disk with {directory} is full: about {needed // MIB} MiB are needed", hint=hint
        ) from error
