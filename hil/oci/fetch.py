"""From a reference to manifests and blobs, each verified by digest and size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from hil.errors import ConfigurationError, HilError
from hil.oci.cache import Cache
from hil.oci.manifests import MANIFEST_LIMIT, MIB, Descriptor, Document, Wanted, choose, parse
from hil.oci.reference import LAYOUT, Reference

DEPTH = 3  # nested indexes


class Store(Protocol):
    """A registry's repository or a layout. `blame` is the error for bytes that do not match their digest."""

    blame: type[HilError]

    def resolve(self, tag: str | None) -> tuple[str, int]:
        """Return digest and size of the manifest or index named `tag`, or with None of the only one."""

    def pieces(self, digest: str, limit: int, *, manifest: bool = False) -> Iterator[bytes]:
        """Yield the blob with `digest`; of a blob longer than `limit` bytes, one byte more than `limit`."""


@contextmanager
def opened(reference: Reference, wanted: Wanted, *, slowest: float | None = None) -> Iterator[Fetch]:
    """Give the artifact of `reference` for the block.

    A registry has a fixed time for all of it; with `slowest` (bytes per second) it has more for each byte it sends.
    """
    if reference.scheme == LAYOUT:
        from hil.oci.layout import Layout

        with Layout(reference, wanted) as layout:
            yield Fetch(reference, wanted, layout, None)
    else:
        from hil.oci.registry import Registry

        yield Fetch(reference, wanted, Registry(reference, slowest=slowest), Cache())


class Fetch:
    """The artifact of a reference in a store. Manifests and blobs in memory are kept in the cache, saved ones are not.

    Raises `ConfigurationError` for an artifact that is missing, not what is `wanted`, or too long, and the store's
    `blame` for bytes without the right digest or size.
    """

    def __init__(self, reference: Reference, wanted: Wanted, store: Store, cache: Cache | None) -> None:
        self.reference, self.wanted, self.store, self.cache = reference, wanted, store, cache
        self.pinned = reference

    def document(self) -> Document:
        """Return the manifest with its layers, and set `pinned` to the reference with the digest that was found."""
        top, size = self.reference.digest, None
        if top is None:
            top, size = self.store.resolve(self.reference.tag)
        self.pinned = replace(self.reference, digest=top)
        document = parse(self.blob(top, size, MANIFEST_LIMIT, manifest=True), str(self.pinned))
        for _ in range(DEPTH):
            if document.manifests is None:
                break
            chosen = choose(document.manifests, self.wanted, str(self.pinned))
            data = self.blob(chosen.digest, chosen.size, MANIFEST_LIMIT, manifest=True)
            document = parse(data, f"{self.pinned}: {chosen.digest}")
        if document.layers is None:
            raise ConfigurationError(f"{self.pinned}: indexes are nested more than {DEPTH} deep")
        return document

    def blob(self, digest: str, size: int | None, limit: int, *, manifest: bool = False) -> bytes:
        """Return the verified blob with `digest` and, if known, `size`, from the cache or the store."""
        if size is not None and size > limit:
            raise self.too_long(digest, limit, f"{size} bytes")
        if self.cache and (cached := self.cache.get(digest, limit)) is not None:
            self._check_size(len(cached), digest, size)
            return cached
        data = b"".join(self.store.pieces(digest, limit if size is None else size, manifest=manifest))
        if size is None and len(data) > limit:
            raise self.too_long(digest, limit)
        self._check(len(data), hashlib.new(digest.partition(":")[0], data), digest, size)
        if self.cache:
            self.cache.put(digest, data)
        return data

    def save(self, layer: Descriptor, target: Path) -> Iterator[int]:
        """Write the verified blob of `layer` to the new file `target`; yield the number of bytes so far.

        Raises `OSError` for the disk. The file is verified when the iterator has ended.
        """
        digest, size = hashlib.new(layer.digest.partition(":")[0]), 0
        with target.open("xb") as file:
            for piece in self.store.pieces(layer.digest, layer.size):
                size += len(piece)
                if size > layer.size:
                    break
                file.write(piece)
                digest.update(piece)
                yield size
        self._check(size, digest, layer.digest, layer.size)

    def too_long(self, what: str, limit: int, length: str = "longer") -> ConfigurationError:
        """Return the error for a part of the artifact that is longer than `limit` bytes."""
        return self.wrong(
            f"{what} is too long: {length}, {limit // MIB} MiB at most",
            f"Check the reference: no {self.wanted.noun} is that large.",
        )

    def wrong(self, why: str, hint: str) -> ConfigurationError:
        """Return the error for an artifact that is not what is wanted."""
        return ConfigurationError(f"{self.reference}: {why}", hint=hint)

    def _check(self, length: int, found: hashlib._Hash, digest: str, size: int | None) -> None:
        self._check_size(length, digest, size)
        if (actual := f"{found.name}:{found.hexdigest()}") != digest:
            raise self._damaged(f"the bytes stored as {digest} have the digest {actual}")

    def _check_size(self, length: int, digest: str, size: int | None) -> None:
        if size is not None and length != size:
            has = "more" if length > size else f"only {length}"
            raise self._damaged(f"{digest} should have {size} bytes, but has {has}")

    def _damaged(self, why: str) -> HilError:
        return self.store.blame(
            f"{self.reference}: {why}", hint="Push it again: it was changed or damaged since it was pushed."
        )
