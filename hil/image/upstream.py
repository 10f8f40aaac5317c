"""Upstream builds, from which `hil image add` copies an image: a build tree, or an archive of one.

An archive is never unpacked; only the requested files are read. One with names or links that lead out of it, or of an
excessive size, is refused as a whole.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from hil.errors import ConfigurationError
from hil.host import archives
from hil.host.archives import Bounded, Budget
from hil.image import elf
from hil.text import printable_line

LARGEST = 2 << 30
"""The largest size of an unpacked archive, in bytes; known ones have 100 to 130 MB."""

MEMBERS = 10_000
"""The largest number of files and directories in an archive; known ones have three."""

TRAILING = 16 << 20
"""The largest number of bytes after the end of an archive; tar pads to 10 KB."""

_BLOCK = 1 << 20
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}


def open(path: Path) -> Upstream:
    """Return the build in the directory, or archive, `path`."""
    path = path.absolute()
    if os.path.isdir(path):  # noqa: PTH112  os.path never raises
        return Directory(path)
    if not os.path.isfile(path):  # noqa: PTH113
        raise ConfigurationError(
            f"there is no file or directory {path}",
            hint="give a build directory (with simulate and images/) or its release archive",
        )
    return Archive(path)


class Directory:
    """A build tree on the disk. Names of files are relative, with slashes; errors are `ConfigurationError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def places(self, name: str) -> list[str]:
        """Return the directories with a file `name`: the top (""), else those directly in it."""
        with _reading(self.path):
            if (self.path / name).is_file():
                return [""]
            return sorted(child.name for child in self.path.iterdir() if (child / name).is_file())

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes; None if it does not exist."""
        path = self.path / name
        return path.stat().st_size if path.is_file() else None

    def blocks(self, name: str) -> Iterator[bytes]:
        """Yield the contents of a file in pieces."""
        with _reading(self.path), (self.path / name).open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


class Archive:
    """A tar archive, plain or compressed, with the methods of `Directory`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._tar() as (tar, stream):
            self._members = {_name(member): member for member in self._checked(tar)}
            end = stream.tell()
            while stream.read(archives.HEADER):  # up to the checksum at the end
                if stream.tell() - end > TRAILING:
                    raise _too_large(self.path)

    def places(self, name: str) -> list[str]:
        if self.size(name) is not None:
            return [""]
        found = (PurePosixPath(member) for member in self._members if self.size(member) is not None)
        return sorted(path.parts[0] for path in found if path.parts[1:] == PurePosixPath(name).parts)

    def size(self, name: str) -> int | None:
        member = self._members.get(name)
        return member.size if member and member.isreg() else None

    def blocks(self, name: str) -> Iterator[bytes]:
        with self._tar() as (tar, stream), stream.contents(2 * _BLOCK):
            file = tar.extractfile(self._members[name])
            while file and (block := file.read(_BLOCK)):
                yield block

    @contextmanager
    def _tar(self) -> Iterator[tuple[tarfile.TarFile, Bounded]]:
        self._budget = Budget(lambda: _too_large(self.path))
        with _reading(self.path), self._unpacked(self._budget) as plain:
            stream = Bounded(plain, 2 * LARGEST, self._budget)
            with archives.opened(stream) as tar:
                yield tar, stream

    @contextmanager
    def _unpacked(self, budget: Budget) -> Iterator[IO[bytes]]:
        with self.path.open("rb") as file:
            head = file.read(512)
        if head.startswith(elf.MAGIC):
            raise ConfigurationError(
                f"{self.path} is an ELF file, not a build; the arguments to run an image are in its build's simulate",
                hint="give the build directory, which contains simulate and images/",
            )
        for magic, opener in _OPENERS.items():
            if head.startswith(magic):
                with self.path.open("rb") as file, opener(archives.Timed(file, budget)) as unpacked:
                    yield unpacked
                return
        if head[257:262] != b"ustar":
            raise ConfigurationError(
                f"{self.path} is not an archive: it starts with {head[:4].hex(' ') or 'nothing'}",
                hint="give a build directory, or a tar archive of one (.tar.gz, .tar.xz, .tar.bz2, .tar)",
            )
        with self.path.open("rb") as file:
            yield file

    def _checked(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        whole = 0
        for member in archives.members(tar, self._budget, MEMBERS):
            whole += member.size
            if whole > LARGEST:
                raise _too_large(self.path)
            # the target of a symbolic link is relative to the link, that of a hard one to the top
            start = posixpath.dirname(member.name) if member.issym() else ""
            reason = None
            if _leaves(member.name):
                reason = "leads out of the archive"
            elif member.linkname and _leaves(posixpath.join(start, member.linkname)):
                reason = f"is a link out of the archive, to {printable_line(member.linkname)}"
            elif member.isdev():
                reason = "is a device"
            if reason:
                raise ConfigurationError(
                    f"{self.path}: {member.name!r} {reason}",
                    hint="do not trust this archive",
                )
            yield member


Upstream = Directory | Archive


def _name(member: tarfile.TarInfo) -> str:
    return posixpath.normpath(member.name)


def _leaves(name: str) -> bool:
    return name.startswith("/") or posixpath.normpath(name).split("/")[0] == ".."


def _too_large(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} unpacks to more than {LARGEST >> 20} MiB or {MEMBERS} files",
        hint="do not trust this archive",
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Convert errors of reading into `ConfigurationError`."""

    def wrong(error: BaseException) -> ConfigurationError:
        if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile) and error.errno is not None:
            message = f"cannot read {error.filename or path}: {error.strerror}"
            return ConfigurationError(message, hint="check the file and its permissions")
        hint = "fetch it again, and compare its digest with that of the release"
        return ConfigurationError(f"{path} is not a complete archive: {printable_line(str(error))}", hint=hint)

    with archives.failures(wrong):
        yield
