"""Tar archives of strangers, read within bounds of members, bytes and processor time."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any

from hil.errors import HilError

HEADER = 32 << 10  # bytes of a member's extended header; the time of Python's tarfile grows with their square
SECONDS = 60.0  # processor time for an archive, which does not depend on the load of the host


class Budget:
    """A limit of processor time for reading an archive; `refuse` returns the error for exceeding it."""

    def __init__(self, refuse: Callable[[], HilError], seconds: float = SECONDS) -> None:
        self.refuse = refuse
        self._end = time.thread_time() + seconds

    def check(self) -> None:
        if time.thread_time() > self._end:
            raise self.refuse()


class Bounded:
    """A stream that yields at most `limit` bytes, and at most `HEADER` bytes in one read."""

    def __init__(self, stream: IO[bytes], limit: int, budget: Budget) -> None:
        self._stream = stream
        self._limit = limit
        self._budget = budget
        self._most = HEADER

    def read(self, size: int = -1) -> bytes:
        self._budget.check()
        if not 0 <= size <= self._most or self._stream.tell() > self._limit:
            raise self._budget.refuse()
        return self._stream.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        self._budget.check()
        if whence != io.SEEK_SET or not 0 <= position <= self._limit:
            raise self._budget.refuse()
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    @contextmanager
    def contents(self, most: int) -> Iterator[None]:
        """Allow reads of up to `most` bytes within the block: a file's contents, no header."""
        self._most = most
        try:
            yield
        finally:
            self._most = HEADER


class Timed:
    """A file for a decompressor, which may take long without output: each read checks the budget."""

    def __init__(self, file: IO[bytes], budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, size: int = -1) -> bytes:
        self._budget.check()
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def opened(stream: Bounded) -> tarfile.TarFile:
    """Return the uncompressed tar archive in `stream`. Raises any exception of tarfile, see `failures`."""
    return tarfile.open(fileobj=stream, mode="r:")  # type: ignore[call-overload,no-any-return]


def members(tar: tarfile.TarFile, budget: Budget, most: int) -> Iterator[tarfile.TarInfo]:
    """Yield the members of `tar`: at most `most`, in the order of their offsets, of no negative size."""
    last = -1
    for number, member in enumerate(tar, 1):
        budget.check()
        if number > most or member.size < 0 or member.offset_data <= last:
            raise budget.refuse()
        last = member.offset_data
        yield member


@contextmanager
def failures(error: Callable[[BaseException], HilError]) -> Iterator[None]:
    """Convert exceptions within the block by `error`; damaged input makes tarfile and decompressors raise any."""
    try:
        yield
    except HilError:
        raise
    except Exception as found:
        raise error(found) from found
