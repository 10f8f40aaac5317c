"""From a reference to a module: the choice among manifests, the layer, the module in a root file system."""

from __future__ import annotations

import gzip
import io
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pydantic import ValidationError

from hil.errors import ConfigurationError
from hil.host import archives as archive
from hil.host.archives import Bounded, Budget, Timed
from hil.oci.fetch import Fetch, opened
from hil.oci.manifests import LISTED, MANIFEST_LIMIT, MIB, Descriptor, Document, Platform, Wanted
from hil.oci.reference import Reference
from hil.text import printable_line
from hil.wasm.module import Module

MODULE_LIMIT = 64 * MIB  # bytes of a module or of a layer with one
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


def _runs_wasm(platform: Platform | None) -> bool:
    return platform is not None and platform.architecture in ("wasm", "wasm32") and platform.os in ("wasi", "wasip1")


WANTED = Wanted("module", "wasi/wasm", lambda descriptor: _runs_wasm(descriptor.platform))


def load(reference: Reference) -> Module:
    """Return the module of `reference`. Raises as `hil.wasm.oci.load`."""
    with opened(reference, WANTED) as fetch:
        return _Pull(fetch).module()


class _Pull:
    """The pull of one module."""

    def __init__(self, fetch: Fetch) -> None:
        self.fetch = fetch
        self._members, self._room = 0, ALL_LAYERS_LIMIT  # of the layers unpacked so far, and bytes left for others

    def module(self) -> Module:
        document = self.fetch.document()
        name, wasm = self._wasm(document, document.layers or ())
        return Module.of(_file_name(name), wasm, str(self.fetch.pinned))

    def _wasm(self, document: Document, layers: Sequence[Descriptor]) -> tuple[str, bytes]:
        found = [layer for layer in layers if layer.media_type in WASM]
        if len(found) == 1:
            name = found[0].name or PurePosixPath(self.fetch.reference.repository or self.fetch.reference.store).stem
            return name, self.fetch.blob(found[0].digest, found[0].size, MODULE_LIMIT)
        if len(found) > 1:
            listed = ", ".join(map(str, found[:LISTED]))
            raise self.fetch.wrong(f"it has {len(found)} wasm layers: {listed}", "Push one layer per manifest.")
        if not self._is_compat(document) or not all(ROOTFS.fullmatch(layer.media_type) for layer in layers):
            held = ", ".join(map(str, layers[:LISTED])) or "no layers"
            raise self.fetch.wrong(f"it holds no wasm layer, but {held}", f"Push the module as {WASM[0]}.")
        if len(layers) > LAYERS:
            raise self.fetch.wrong(
                f"it has {len(layers)} layers, {LAYERS} at most", "Check that this is an image with one module."
            )
        if sum(layer.size for layer in layers) > ALL_LAYERS_LIMIT:
            raise self.fetch.too_long("all its layers together", ALL_LAYERS_LIMIT)
        files: dict[str, bytes] = {}
        hint = "Check that this is an image with one module."
        budget = Budget(lambda: self.fetch.wrong("its layers are endless or too large", hint))
        for layer in layers:
            self._unpack(layer, files, budget)
        if len(files) != 1:
            listed = ", ".join(map(printable_line, sorted(files)[:LISTED])) or "none"
            raise self.fetch.wrong(
                f"its root file system holds {len(files)} files *.wasm: {listed}", "Push an image with one module."
            )
        return next(iter(files.items()))

    def _is_compat(self, document: Document) -> bool:
        if (document.annotations or {}).get(VARIANT, "").startswith("compat"):
            return True
        if document.config is None or "image" not in document.config.media_type:
            return False
        config = self.fetch.blob(document.config.digest, document.config.size, MANIFEST_LIMIT)
        try:
            return _runs_wasm(Platform.model_validate_json(config))
        except ValidationError:
            return False

    def _unpack(self, layer: Descriptor, files: dict[str, bytes], budget: Budget) -> None:
        """Apply a layer to the modules of the layers below."""
        data = self.fetch.blob(layer.digest, layer.size, MODULE_LIMIT)
        room = MODULE_LIMIT - sum(map(len, files.values()))

        def wrong(error: BaseException) -> ConfigurationError:
            why = printable_line(f"{error}")
            return self.fetch.wrong(f"layer {layer} cannot be unpacked: {why}", "Pack layers as tar or tar+gzip.")

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
                            raise self.fetch.too_long(what, MODULE_LIMIT)
                        with stream.contents(MODULE_LIMIT):
                            files[str(path)] = content.read()

    def _plain(self, data: bytes, layer: Descriptor, budget: Budget) -> bytes:
        """Return the uncompressed tar of a layer."""
        if data[:2] == b"\x1f\x8b":
            with gzip.GzipFile(fileobj=Timed(io.BytesIO(data), budget)) as packed:
                data = packed.read(MODULE_LIMIT + 1)
        if len(data) > MODULE_LIMIT:
            raise self.fetch.too_long(f"unpacked, layer {layer.digest}", MODULE_LIMIT)
        self._room -= len(data)
        if self._room < 0:
            raise self.fetch.too_long("unpacked, all its layers together", ALL_LAYERS_LIMIT)
        return data


def _file_name(title: str) -> str:
    """Return a safe file name for the guest from any title."""
    name = re.sub(r"[^\w.+-]", "_", PurePosixPath(title).name, flags=re.ASCII)[-64:].lstrip(".-")
    return name if name.endswith(".wasm") else f"{name or 'module'}.wasm"
