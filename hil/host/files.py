"""Files that appear complete or not at all."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_numbers = itertools.count()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the path of a new file beside `path`, and rename it to `path` at the end of the block.

    An exception within leaves `path` as it was and removes the new file. Raises `OSError`.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}-{next(_numbers)}.new")
    try:
        yield new
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write(path: Path, data: str | bytes, *, durable: bool = False) -> None:
    """Write `data`, text as UTF-8, to `path`: others see the old file or the new one, never a part.

    A `durable` file survives a power cut. Raises `OSError`.
    """
    with replacing(path) as new, new.open("wb") as file:
        file.write(data if isinstance(data, bytes) else data.encode())
        if durable:
            file.flush()
            os.fsync(file.fileno())
