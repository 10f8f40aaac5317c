"""What `hil image add` takes an image from: an upstream build tree, or the archive of one.

An archive is read where it is, and never unpacked: only the files that are asked for are taken out.
One that tries to reach out of itself, or to fill the disk, is refused as a whole.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

from hil.errors import ConfigurationError
from hil.image import elf

LARGEST = 2 << 30
"""Bytes that an archive may hold unpacked; the known ones hold 100 to 130 MB."""

MEMBERS = 10_000
"""Files and directories that an archive may hold; the known ones hold three."""

_BLOCK = 1 << 20
_OPENERS: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"BZh": bz2.BZ2File,
}


class Upstream(Protocol):
    """Files of a build. Names are relative, with slashes; errors are `ConfigurationError`."""

    path: Path

    def places(self, name: str) -> list[str]:
        """Return where the file `name` is: at the top (""), else in which directories right below it."""

    def size(self, name: str) -> int | None:
        """Return the size of a file in bytes, None where there is no such file."""

    def blocks(self, name: str) -> Iterator[bytes]:
        """Give a file's contents piece by piece."""


def open(path: Path) -> Upstream:
    """Return the build in the directory, or archive, `path`."""
    path = path.absolute()
    if os.path.isdir(path):  # noqa: PTH112  these never raise
        return Directory(path)
    if not os.path.isfile(path):  # noqa: PTH113
        raise ConfigurationError(
            f"there is no file or directory {path}",
            hint="give a build directory (with simulate and images/) or its release archive",
        )
    return Archive(path)


class Directory:
    """A build tree on the disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def places(self, name: str) -> list[str]:
        with _reading(self.path):
            if (self.path / name).is_file():
                return [""]
            return sorted(child.name for child in self.path.iterdir() if (child / name).is_file())

    def size(self, name: str) -> int | None:
        path = self.path / name
        return path.stat().st_size if path.is_file() else None

    def blocks(self, name: str) -> Iterator[bytes]:
        with _reading(self.path), (self.path / name).open("rb") as file:
            while block := file.read(_BLOCK):
                yield block


class Archive:
    """A tar archive, plain or compressed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._tar() as (tar, stream):
            self._members = {_name(member): member for member in self._checked(tar)}
            while stream.read(_BLOCK):
                pass  # to the end, where the checksum is

    def places(self, name: str) -> list[str]:
        if self.size(name) is not None:
            return [""]
        found = (PurePosixPath(member) for member in self._members if self.size(member) is not None)
        return sorted(path.parts[0] for path in found if path.parts[1:] == PurePosixPath(name).parts)

    def size(self, name: str) -> int | None:
        member = self._members.get(name)
        return member.size if member and member.isreg() else None

    def blocks(self, name: str) -> Iterator[bytes]:
        with self._tar() as (tar, _):
            file = tar.extractfile(self._members[name])
            while file and (block := file.read(_BLOCK)):
                yield block

    @contextmanager
    def _tar(self) -> Iterator[tuple[tarfile.TarFile, _Bounded]]:
        with _reading(self.path), self._unpacked() as plain:
            stream = _Bounded(plain, self.path)
            with tarfile.open(fileobj=stream, mode="r:") as tar:  # type: ignore[call-overload]
                yield tar, stream

    def _unpacked(self) -> IO[bytes]:
        with self.path.open("rb") as file:
            head = file.read(512)
        if head.startswith(elf.MAGIC):
            raise ConfigurationError(
                f"{self.path} is one ELF file, not a build; how to run an image is in its build's simulate",
                hint="give the build directory, the one that has simulate and images/",
            )
        for magic, opener in _OPENERS.items():
            if head.startswith(magic):
                unpacked: IO[bytes] = opener(self.path)
                return unpacked
        if head[257:262] != b"ustar":
            raise ConfigurationError(
                f"{self.path} is no archive: it starts with {head[:4].hex(' ') or 'nothing'}",
                hint="give a build directory, or a tar archive of one (.tar.gz, .tar.xz, .tar.bz2, .tar)",
            )
        return self.path.open("rb")

    def _checked(self, tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        whole = 0
        for number, member in enumerate(tar, 1):
            whole += member.size
            if whole > LARGEST or number > MEMBERS:
                raise _too_large(self.path)
            # a symbolic link counts from where it is, a hard one from the top
            start = posixpath.dirname(member.name) if member.issym() else ""
            reason = None
            if _leaves(member.name):
                reason = "leads out of the archive"
            elif member.linkname and _leaves(posixpath.join(start, member.linkname)):
                reason = f"is a link out of the archive, to {member.linkname}"
            elif member.isdev():
                reason = "is a device"
            if reason:
                raise ConfigurationError(
                    f"{self.path}: {member.name!r} {reason}", hint="this is no build's archive: do not trust it"
                )
            yield member


class _Bounded:
    """A stream that refuses to give more than a build can hold, or much of it at once."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path

    def read(self, size: int) -> bytes:
        # tarfile reads the extended headers of a member as a whole
        if size > 2 * _BLOCK or self._stream.tell() > 2 * LARGEST:
            raise _too_large(self._path)
        return self._stream.read(size)

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if position > 2 * LARGEST:
            raise _too_large(self._path)
        return self._stream.seek(position, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _name(member: tarfile.TarInfo) -> str:
    return posixpath.normpath(member.name)


def _leaves(name: str) -> bool:
    return name.startswith("/") or posixpath.normpath(name).split("/")[0] == ".."


def _too_large(path: Path) -> ConfigurationError:
    return ConfigurationError(
        f"{path} unpacks to more than {LARGEST >> 20} MiB or {MEMBERS} files, which no build does",
        hint="this is no build's archive: do not trust it",
    )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Say of what cannot be read that it is the user's to correct."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        raise ConfigurationError(
            f"{path} is not a whole archive: {error}", hint="fetch it again, and compare its digest with the release's"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename or path}: {error.strerror or error}",
            hint="check the file and its permissions",
        ) from error
