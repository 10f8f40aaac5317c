"""OCI image layouts: a directory, or a tar of one, with an index and blobs by digest."""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
from contextlib import ExitStack
from pathlib import Path

from hil.errors import ConfigurationError, HilError
from hil.host import archives as archive
from hil.host.archives import Bounded, Budget
from hil.text import printable_line
from hil.wasm.oci.manifests import LISTED, MANIFEST_LIMIT, choose, parse
from hil.wasm.oci.reference import Reference

MARK = "oci-layout"
INDEX = "index.json"
MEMBERS = 10_000  # of a tar
LONGEST = 1 << 40  # bytes of a tar, of which only the requested files are read


def is_layout(path: Path) -> bool:
    """Check whether `path` is the directory of a layout, or has the name of a tar."""
    return (path / MARK).is_file() if path.is_dir() else path.suffix == ".tar"


class Layout:
    """The layout of a reference, open while entered. Raises `ConfigurationError` for every problem with it."""

    blame: type[HilError] = ConfigurationError

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
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
        """Return digest and size of the manifest named `tag` in the index, or of the only one for WebAssembly."""
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
        chosen = manifests[0] if len(manifests) == 1 else choose(manifests, str(self.reference))
        return chosen.digest, chosen.size

    def blob(self, digest: str, limit: int, *, manifest: bool) -> bytes:
        """Return at most one byte more than `limit` of the blob with `digest`."""
        algorithm, _, value = digest.partition(":")
        return self._read(f"blobs/{algorithm}/{value}", limit)

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
        """Return at most one byte more than `limit` of a file. `name` never comes from an archive or an index."""
        try:
            if self._tar is None or self._stream is None:
                return self._read_file(name, limit)
            member = self._members.get(name)
            if member is None:
                raise FileNotFoundError
            content = self._tar.extractfile(member) if member.isreg() else None
            if content is None:
                raise self._wrong(f"{name} is not a regular file in it")
            with self._stream.contents(limit + io.DEFAULT_BUFFER_SIZE):
                return content.read(limit + 1)
        except FileNotFoundError:
            raise self._wrong(f"there is no {name} in it", "Check that the whole layout was copied.") from None
        except HilError:
            raise
        except Exception as error:  # of tarfile: any
            raise self._wrong(f"{name} in it cannot be read: {printable_line(str(error))}") from error

    def _read_file(self, name: str, limit: int) -> bytes:
        # follows links, which some build tools create: the digest verifies the target; a pipe would block
        descriptor = os.open(self.path / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._wrong(f"{name} is not a regular file in it")
            return file.read(limit + 1)

    def _wrong(
        self, why: str, hint: str = "Give an OCI image layout, for example from `oras copy --to-oci-layout`."
    ) -> HilError:
        return ConfigurationError(f"{self.path} is not a layout with this module: {why}", hint=hint)
