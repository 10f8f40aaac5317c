"""Initial RAM file systems: reproducible newc archives."""

from __future__ import annotations

import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple


class _Entry(NamedTuple):
    mode: int
    data: bytes | Path = b""
    device: tuple[int, int] = (0, 0)


class Tree:
    """A file tree to archive: owned by root, dated 1970; parent directories are added automatically."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def directory(self, path: str, mode: int = 0o755) -> None:
        """Add a directory."""
        self._add(path, _Entry(stat.S_IFDIR | mode))

    def file(self, path: str, content: bytes | Path, mode: int = 0o644) -> None:
        """Add a file with `content`; a path stands for the content of that file."""
        self._add(path, _Entry(stat.S_IFREG | mode, content))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self._add(path, _Entry(stat.S_IFLNK | 0o777, target.encode()))

    def device(self, path: str, major: int, minor: int, mode: int = 0o600) -> None:
        """Add a character device."""
        self._add(path, _Entry(stat.S_IFCHR | mode, device=(major, minor)))

    def write(self, out: BinaryIO) -> None:
        """Write the archive to `out`, sorted by path."""
        for number, path in enumerate(sorted(self._entries), 1):
            entry = self._entries[path]
            data = entry.data.read_bytes() if isinstance(entry.data, Path) else entry.data
            _record(out, number, path, entry.mode, data, entry.device)
        _record(out, 0, "TRAILER!!!", 0, b"", (0, 0))

    def _add(self, path: str, entry: _Entry) -> None:
        for parent in PurePosixPath(path).parents:
            if parent.name:
                self._entries.setdefault(str(parent), _Entry(stat.S_IFDIR | 0o755))
        self._entries[path] = entry


def _record(out: BinaryIO, inode: int, path: str, mode: int, data: bytes, device: tuple[int, int]) -> None:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # inode mode uid gid nlink mtime size, device of the file system, device itself, name's size, check
    fields = (inode, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    out.write(header + bytes(-len(header) % 4))
    out.write(data)
    out.write(bytes(-len(data) % 4))
