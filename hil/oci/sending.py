"""The body of an upload: a file that reports how much of it was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO


class Sent:
    """The open `file` of `size` bytes as the body of a request. `advance` gets the size of each part that is read."""

    def __init__(self, file: IO[bytes], size: int, advance: Callable[[int], None]) -> None:
        self._file, self._size, self._advance = file, size, advance

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1) -> bytes:
        part = self._file.read(size)
        self._advance(len(part))
        return part

    def rewind(self) -> None:
        """Start again, for a second request with the same body."""
        self._file.seek(0)
