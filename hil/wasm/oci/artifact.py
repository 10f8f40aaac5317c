"""From a reference to a module: manifests, the choice among them, the layer; digest and size verify each."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Protocol

from pydantic import ValidationError

from hil.errors import ConfigurationError, HilError
from hil.host import archives as archive
from hil.host.archives import Bounded, Budget, Timed
from hil.text import printable_line
from hil.wasm.module import Module
from hil.wasm.oci.cache import Cache
from hil.wasm.oci.manifests import LISTED, MANIFEST_LIMIT, MIB, Descriptor, Document, Platform, choose, parse
from hil.wasm.oci.reference import LAYOUT, Reference, digest_of

MODULE_LIMIT = 64 * MIB  # bytes of a module or of a layer with one
DEPTH = 3  # nested indexes
LAYERS = 127  # of an image, as in container engines
ALL_LAYERS_LIMIT = 256 * MIB  # bytes of all layers of an image, packed or unpacked
MEMBERS = 10_000  # files of all layers of an image

WASM = (
    "application/wasm",  # Wasm artifact of the CNCF
    "application/vnd.wasm.content.layer.v1+wasm",  # older
    "application/vnd.module.wasm.content.layer.v1+wasm",
)
ROOTFS = re.compile(r"application/vnd\.(oci\.image\.layer(\.nondistributable)?|docker\.image\.rootfs\.diff)\..*tar.*")
VARIANT = "module.wasm.image/variant"  # "compat": an image with the module in its root file system


class Store(Protocol):
    """A registry's repository or a layout. `blame` is the error for bytes that do not match their digest."""

    blame: type[HilError]

    def resolve(self, tag: str | None) -> tuple[str, int]:
        """Return digest and size of the manifest or index named `tag`, or with None of the only one."""

    def blob(self, digest: str, limit: int, *, manifest: bool) -> bytes:
        """Return the blob with `digest`; of a blob longer than `limit` bytes, at least one byte more than `limit`."""


def load(reference: Reference) -> Module:
    """Return the module of `reference`. Raises as `hil.wasm.oci.load`."""
    if reference.scheme == LAYOUT:
        from hil.wasm.oci.layout import Layout

        with Layout(reference) as layout:
            return _Pull(reference, layout, None).module()
    from hil.wasm.oci.registry import Registry

    return _Pull(reference, Registry(reference), Cache()).module()


class _Pull:
    """The pull of one module from a store."""

    def __init__(self, reference: Reference, store: Store, cache: Cache | None) -> None:
        self.reference, self.store, self.cache = reference, store, cache
        self._members, self._room = 0, ALL_LAYERS_LIMIT  # of the layers unpacked so far, and bytes left for others

    def module(self) -> Module:
        top, size = self.reference.digest, None
        if top is None:
            top, size = self.store.resolve(self.reference.tag)
        pinned = replace(self.reference, digest=top)
        data = self._blob(top, size, MANIFEST_LIMIT, manifest=True)
        document = parse(data, str(pinned))
        for _ in range(DEPTH):
            if document.manifests is None:
                break
            chosen = choose(document.manifests, str(pinned))
            data = self._blob(chosen.digest, chosen.size, MANIFEST_LIMIT, manifest=True)
            document = parse(data, f"{pinned}: {chosen.digest}")
        if document.layers is None:
            raise ConfigurationError(f"{pinned}: indexes are nested more than {DEPTH} deep")
        name, wasm = self._wasm(document, document.layers)
        return Module.of(_file_name(name), wasm, str(pinned))

    def _wasm(self, document: Document, layers: Sequence[Descriptor]) -> tuple[str, bytes]:
        found = [layer for layer in layers if layer.media_type in WASM]
        if len(found) == 1:
            name = found[0].name or PurePosixPath(self.reference.repository or self.reference.store).stem
            return name, self._blob(found[0].digest, found[0].size, MODULE_LIMIT)
        if len(found) > 1:
            listed = ", ".join(map(str, found[:LISTED]))
            raise self._wrong(f"it has {len(found)} wasm layers: {listed}", "Push one layer per manifest.")
        if not self._is_compat(document) or not all(ROOTFS.fullmatch(layer.media_type) for layer in layers):
            held = ", ".join(map(str, layers[:LISTED])) or "no layers"
            raise self._wrong(f"it holds no wasm layer, but {held}", f"Push the module as {WASM[0]}.")
        if len(layers) > LAYERS:
            raise self._wrong(
                f"it has {len(layers)} layers, {LAYERS} at most", "Check that this is an image with one module."
            )
        if sum(layer.size for layer in layers) > ALL_LAYERS_LIMIT:
            raise self._too_long("all its layers together", ALL_LAYERS_LIMIT)
        files: dict[str, bytes] = {}
        budget = Budget(
            lambda: self._wrong("its layers are endless or too large", "Check that this is an image with one module.")
        )
        for layer in layers:
            self._unpack(layer, files, budget)
        if len(files) != 1:
            listed = ", ".join(map(printable_line, sorted(files)[:LISTED])) or "none"
            raise self._wrong(
                f"its root file system holds {len(files)} files *.wasm: {listed}", "Push an image with one module."
            )
        return next(iter(files.items()))

    def _is_compat(self, document: Document) -> bool:
        if (document.annotations or {}).get(VARIANT, "").startswith("compat"):
            return True
        if document.config is None or "image" not in document.config.media_type:
            return False
        config = self._blob(document.config.digest, document.config.size, MANIFEST_LIMIT)
        try:
            return Platform.model_validate_json(config).runs_wasm
        except ValidationError:
            return False

    def _unpack(self, layer: Descriptor, files: dict[str, bytes], budget: Budget) -> None:
        """Apply a layer to the modules of the layers below."""
        data = self._blob(layer.digest, layer.size, MODULE_LIMIT)
        room = MODULE_LIMIT - sum(map(len, files.values()))

        def wrong(error: BaseException) -> ConfigurationError:
            why = printable_line(f"{error}")
            return self._wrong(f"layer {layer} cannot be unpacked: {why}", "Pack layers as tar or tar+gzip.")

        with archive.failures(wrong):
            data = self._plain(data, layer, budget)
            stream = Bounded(io.BytesIO(data), len(data), budget)
            with archive.opened(stream) as tar:
                for member in archive.members(tar, budget, MEMBERS - self._members):
                    self._members += 1
                    path = PurePosixPath("/", member.name)
                    if path.name.startswith(".wh."):  # removes files of lower layers
                        gone = path.parent if path.name == ".wh..wh..opq" else path.with_name(path.name[4:])
                        for held in [held for held in files if PurePosixPath(held).is_relative_to(gone)]:
                            del files[held]
                    elif member.isreg() and path.suffix == ".wasm" and (content := tar.extractfile(member)):
                        room -= member.size  # may exceed the size in the tar: sparse files
                        if room < 0:
                            what = f"{printable_line(str(path))}, with the other modules of layer {layer.digest},"
                            raise self._too_long(what, MODULE_LIMIT)
                        with stream.contents(MODULE_LIMIT):
                            files[str(path)] = content.read()

    def _plain(self, data: bytes, layer: Descriptor, budget: Budget) -> bytes:
        """Return the uncompressed tar of a layer."""
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=Timed(io.BytesIO(data), budget)) as packed:
                data = packed.read(MODULE_LIMIT + 1)
        if len(data) > MODULE_LIMIT:
            raise self._too_long(f"unpacked, layer {layer.digest}", MODULE_LIMIT)
        self._room -= len(data)
        if self._room < 0:
            raise self._too_long("unpacked, all its layers together", ALL_LAYERS_LIMIT)
        return data

    def _blob(self, digest: str, size: int | None, limit: int, *, manifest: bool = False) -> bytes:
        """Return the verified blob with `digest` and, if known, `size`, from the cache or the store."""
        if size is not None and size > limit:
            raise self._too_long(digest, limit, f"{size} bytes")
        if self.cache and (cached := self.cache.get(digest, limit)) is not None:
            self._check_size(cached, digest, size)
            return cached
        data = self.store.blob(digest, limit if size is None else size, manifest=manifest)
        if size is None and len(data) > limit:
            raise self._too_long(digest, limit)
        self._check_size(data, digest, size)
        if (actual := digest_of(data, digest.partition(":")[0])) != digest:
            raise self.store.blame(
                f"{self.reference}: the bytes stored as {digest} have the digest {actual}",
                hint="Push it again: it was changed or damaged since it was pushed.",
            )
        if self.cache:
            self.cache.put(digest, data)
        return data

    def _check_size(self, data: bytes, digest: str, size: int | None) -> None:
        if size is not None and len(data) != size:
            length = "more" if len(data) > size else f"only {len(data)}"
            raise self.store.blame(
                f"{self.reference}: {digest} should have {size} bytes, but has {length}",
                hint="Push it again: it was changed or damaged since it was pushed.",
            )

    def _too_long(self, what: str, limit: int, length: str = "longer") -> ConfigurationError:
        return self._wrong(
            f"{what} is too long: {length}, {limit // MIB} MiB at most", "Check the reference: no module is that large."
        )

    def _wrong(self, why: str, hint: str) -> ConfigurationError:
        return ConfigurationError(f"{self.reference}: {why}", hint=hint)


def _file_name(title: str) -> str:
    """Return a safe file name for the guest from any title."""
    name = re.sub(r"[^\w.+-]", "_", PurePosixPath(title).name, flags=re.ASCII)[-64:].lstrip(".-")
    return name if name.endswith(".wasm") else f"{name or 'module'}.wasm"
