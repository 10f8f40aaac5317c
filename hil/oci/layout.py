"""OCI image layouts: a directory, or a tar of one, with an index and blobs by digest."""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from hil.errors import ConfigurationError, HilError
from hil.host import archives as archive
from hil.host.archives import Bounded, Budget
from hil.oci.manifests import LISTED, MANIFEST_LIMIT, Wanted, choose, parse
from hil.oci.reference import Reference
from hil.text import printable_line

MARK = "oci-layout"
INDEX = "index.json"
MEMBERS = 10_000  # of a tar
PIECE = 1 << 18  # bytes of a blob that are in memory at once
LONGEST = 1 << 40  # bytes of a tar, of which only the requested files are read


def is_layout(path: Path) -> bool:
    """Check whether `path` is the directory of a layout, or has the name of a tar."""
    return (path / MARK).is_file() if path.is_dir() else path.suffix == ".tar"


class Layout:
    """The layout of a reference, open while entered. Raises `ConfigurationError` for every problem with it."""

    blame: type[HilError] = ConfigurationError

    def __init__(self, reference: Reference, wanted: Wanted) -> None:
        self.reference, self.wanted = reference, wanted
        self.path = Path(reference.store)
        self._tar: tarfile.TarFile | None = None
        self._stream: Bounded | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        self._open = ExitStack()

    def __enter__(self) -> Layout:
        try:
            if not self.path.is_dir():
                if not self.path.is_file():  # a pipe would block
                    raise self._wrong("there is no such directory or file")
                self._open_tar()
            mark = self._read(MARK, MANIFEST_LIMIT)
            if not re.search(rb'"imageLayoutVersion"\s*:\s*"1\.', mark):
                raise self._wrong(f"its {MARK} has no `imageLayoutVersion` 1")
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def resolve(self, tag: str | None) -> tuple[str, int]:
        """Return digest and size of the manifest named `tag` in the index, or of the only one that is wanted."""
        index = self._read(INDEX, MANIFEST_LIMIT)
        if len(index) > MANIFEST_LIMIT:
            raise self._wrong(f"its {INDEX} is longer than {MANIFEST_LIMIT} bytes")
        manifests = parse(index, f"{self.path}: {INDEX}").manifests or ()
        if tag is not None:
            named = tuple(each for each in manifests if each.name == tag)
            if not named:
                names = sorted(printable_line(each.name[:80]) for each in manifests if each.name)
                tags = ", ".join(names[:LISTED]) + ", ..." * (len(names) > LISTED) if names else "none"
                raise self._wrong(f"it has no tag {tag!r}", f"Use one of its tags: {tags}.")
            manifests = named
        chosen = manifests[0] if len(manifests) == 1 else choose(manifests, self.wanted, str(self.reference))
        return chosen.digest, chosen.size

    def pieces(self, digest: str, limit: int, *, manifest: bool = False) -> Iterator[bytes]:
        """Yield at most one byte more than `limit` of the blob with `digest`."""
        algorithm, _, value = digest.partition(":")
        return self._pieces(f"blobs/{algorithm}/{value}", limit)

    def _open_tar(self) -> None:
        budget = Budget(lambda: self._wrong(f"it has more than {MEMBERS} files, or invalid headers"))

        def wrong(error: BaseException) -> HilError:
            hint = "Unpack it if it is compressed, else write it again."
            return self._wrong(f"it cannot be read as a tar: {printable_line(str(error))}", hint)

        with archive.failures(wrong):
            file = self._open.enter_context(self.path.open("rb"))
            self._stream = Bounded(file, LONGEST, budget)
            self._tar = self._open.enter_context(archive.opened(self._stream))
            for member in archive.members(self._tar, budget, MEMBERS):
                self._members[member.name.removeprefix("./")] = member

    def _read(self, name: str, limit: int) -> bytes:
        """Return at most one byte more than `limit` of a file."""
        return b"".join(self._pieces(name, limit))

    def _pieces(self, name: str, limit: int) -> Iterator[bytes]:
        """Yield at most one byte more than `limit` of a file. `name` never comes from an archive or an index."""
        try:
            with self._file(name) as file:
                left = limit + 1
                while piece := self._part(file, min(left, PIECE)):
                    left -= len(piece)
                    yield piece
        except FileNotFoundError:
            raise self._wrong(f"there is no {name} in it", "Check that the whole layout was copied.") from None
        except HilError:
            raise
        except Exception as error:  # of tarfile: any
            raise self._wrong(f"{name} in it cannot be read: {printable_line(str(error))}") from error

    def _file(self, name: str) -> IO[bytes]:
        if self._tar is None:
            return self._open_file(name)
        member = self._members.get(name)
        if member is None:
            raise FileNotFoundError
        content = self._tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise self._wrong(f"{name} is not a regular file in it")
        return content

    def _part(self, file: IO[bytes], size: int) -> bytes:
        if self._stream is None:
            return file.read(size)
        with self._stream.contents(PIECE + io.DEFAULT_BUFFER_SIZE):
            return file.read(size)

    def _open_file(self, name: str) -> IO[bytes]:
        # follows links, which some build tools create: the digest verifies the target; a pipe would block
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        file = os.fdopen(descriptor, "rb")
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            file.close()
            raise self._wrong(f"{name} is not a regular file in it")
        return file

    def _wrong(
        self, why: str, hint: str = "Give an OCI image layout, for example from `oras copy --to-oci-layout`."
    ) -> HilError:
        return ConfigurationError(f"{self.path} is not a layout with this {self.wanted.noun}: {why}", hint=hint)
