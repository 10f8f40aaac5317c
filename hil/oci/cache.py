"""The cache of pulled blobs, by digest: a pinned reference needs the network once."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hil.host import files
from hil.host.directories import cache_root
from hil.oci.reference import digest_of

LIMIT = 512 << 20  # bytes of all blobs together; the least recently used are removed first


class Cache:
    """Blobs in a directory. A full or read-only disk never makes it fail: it then keeps nothing."""

    def __init__(self, directory: Path | None = None, limit: int = LIMIT) -> None:
        self.directory = directory or cache_root() / "oci"
        self.limit = limit

    def get(self, digest: str, limit: int) -> bytes | None:
        """Return the verified blob with `digest`; None if it is missing, damaged or longer than `limit` bytes."""
        path = self._path(digest)
        try:
            with path.open("rb") as file:
                data = file.read(limit + 1)
            if len(data) > limit:
                return None
            if digest_of(data, digest.partition(":")[0]) != digest:
                path.unlink()
                return None
            os.utime(path)
        except OSError:
            return None
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Keep `data`, which has `digest`, and remove older blobs to stay within the limit."""
        with suppress(OSError):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.write(self._path(digest), data)
            self._shrink()

    def _path(self, digest: str) -> Path:
        return self.directory / digest.replace(":", "-")

    def _shrink(self) -> None:
        held = []
        for path in self.directory.iterdir():
            with suppress(FileNotFoundError):  # another process removes files, too
                status = path.stat()
                held.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if total <= self.limit:
                break
            path.unlink(missing_ok=True)
            total -= size
