"""Images as OCI artifacts: media types, the config that describes an image, and what is refused of a foreign one.

The manifest of an artifact has one layer for each file of the image, with the file's name as title and its contents
unchanged, so that the digest of the layer is that of the file. The config is the record of the image without what
concerns only the machine where it was made. The same image gives the same artifact everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from hil.image import store
from hil.image.fields import Model, Name, Sha256, placeholders
from hil.oci.fetch import Fetch
from hil.oci.manifests import LISTED, MANIFESTS, MIB, TITLE, Descriptor, Document, Wanted
from hil.oci.reference import Reference, digest_of
from hil.text import printable_line

ARTIFACT = "application/vnd.wasm-hil.image.v1"
"""The type of the artifact."""

CONFIG = "application/vnd.wasm-hil.image.config.v1+json"
"""The media type of the config, a JSON object as `Config`."""

FILE = "application/vnd.wasm-hil.image.file.v1"
"""The media type of a layer: one file of the image."""

DESCRIPTION = "org.opencontainers.image.description"

CONFIG_LIMIT = 4 * MIB
IMAGE_LIMIT = 4096 * MIB  # bytes of all files of an image
FILES = 127  # of an image, as many as layers in container engines
SLOWEST = 64 << 10  # bytes per second: a transfer that is slower on average is given up

WANTED = Wanted("image", "an image to boot", lambda descriptor: descriptor.artifact_type == ARTIFACT)


class File(Model):
    """A file of an image."""

    sha256: Sha256
    size: int = Field(ge=0)


class Build(Model):
    """How an image was built: the inputs of its recipe with their digests, packages and tools with their versions."""

    key: Sha256
    recipe: dict[str, Sha256]
    suite: str
    packages: dict[str, str]
    package_digests: dict[str, str]
    toolchain: dict[str, str]


class AddedFrom(Model):
    """How an image was added: the kind of its build tree, the machine's arguments, and the origin of both."""

    kind: str
    emulator: str
    arguments: tuple[str, ...]
    command: str = ""
    simulate: str | None = None
    sha256: str | None = None


class Config(Model):
    """The config of an artifact: an image's name, files and digest, and either `build` or `added`."""

    version: Literal[1] = Field(alias="schema")
    name: Name
    digest: Sha256
    files: dict[Name, File]
    build: Build | None = None
    added: AddedFrom | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Config:
        if (self.build is None) == (self.added is None):
            raise ValueError("set exactly one of build and added")
        if reserved := {store.RECORD, store.ADDED} & set(self.files):
            raise ValueError(f"files: {sorted(reserved)[0]} is not a name for a file of an image")
        if self.digest != store.digest_of({name: file.sha256 for name, file in self.files.items()}):
            raise ValueError("digest is not that of the files")
        named = {name for argument in (self.added.arguments if self.added else ()) for name in placeholders(argument)}
        if missing := named - set(self.files):
            raise ValueError(f"added.arguments name {sorted(missing)[0]!r}, which is not one of files")
        return self

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(file.size for file in self.files.values())


def reference(text: str) -> Reference:
    """Return the reference in `text`; without a scheme it is a registry's. Raises `ConfigurationError`."""
    found = Reference.parse(text) or Reference.parse(f"oci://{text}")
    assert found is not None
    return found


def pinned(where: Reference, digest: str) -> str:
    """Return `REGISTRY/REPOSITORY@DIGEST`, with the scheme if it is not the usual one."""
    return str(Reference(where.scheme, where.store, where.repository, None, digest)).removeprefix("oci://")


def config_of(image: store.Image) -> Config:
    """Return the config of a built or added image."""
    record, manifest = image.record, image.manifest
    facts = {
        "schema": 1,
        "name": manifest.name,
        "digest": image.digest,
        "files": {name: {"sha256": file["sha256"], "size": file["size"]} for name, file in record["files"].items()},
    }
    if manifest.add:
        origin = {key: record["origin"].get(key) for key in ("command", "simulate", "sha256")}
        machine = {"kind": manifest.add, "emulator": manifest.machine.emulator, "arguments": record["arguments"]}
        facts["added"] = {key: value for key, value in {**machine, **origin}.items() if value is not None}
    else:
        facts["build"] = {key: record[key] for key in Build.model_fields}
    return Config.model_validate_json(json.dumps(facts))


def record_of(config: Config, origin: Mapping[str, object]) -> dict[str, object]:
    """Return the record for the store of a pulled image."""
    described = config.model_dump(mode="json", exclude={"version", "build", "added"})
    if config.build is not None:
        return described | config.build.model_dump(mode="json") | {"origin": dict(origin)}
    assert config.added is not None
    facts = config.added.model_dump(mode="json", exclude_none=True)
    arguments = facts.pop("arguments")
    return described | {"arguments": arguments, "origin": {**origin, **facts}}


def documents(config: Config, description: str) -> tuple[bytes, bytes]:
    """Return the manifest and the config of the artifact, the same bytes for the same image."""
    data = _json(config.model_dump(mode="json", by_alias=True, exclude_none=True))
    layers = [
        {"mediaType": FILE, "digest": f"sha256:{file.sha256}", "size": file.size, "annotations": {TITLE: name}}
        for name, file in sorted(config.files.items())
    ]
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFESTS[0],
        "artifactType": ARTIFACT,
        "config": {"mediaType": CONFIG, "digest": digest_of(data), "size": len(data)},
        "layers": layers,
        "annotations": {TITLE: config.name, DESCRIPTION: description},
    }
    return _json(manifest), data


def describe(fetch: Fetch) -> tuple[Config, dict[str, Descriptor]]:
    """Return the config and the layers by file name of the artifact. Raises `ConfigurationError` for no image."""
    document = fetch.document()
    layers = document.layers or ()
    if document.config is None or document.config.media_type != CONFIG:
        kind = document.artifact_type or (document.config.media_type if document.config else "")
        held = ", ".join(map(str, layers[:LISTED])) or "no layers"
        raise fetch.wrong(
            f"it is not an image to boot, but {printable_line(kind) or 'an artifact without a type'} with {held}"[:500],
            "Push the image with hil image push NAME REF.",
        )
    data = fetch.blob(document.config.digest, document.config.size, CONFIG_LIMIT)
    try:
        config = Config.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise fetch.wrong(
            printable_line(f"its config is wrong: {place or 'JSON'}: {first['msg']}"[:500]),
            "Push it again with this version of the framework.",
        ) from None
    return config, _layers(fetch, document, config)


def _layers(fetch: Fetch, document: Document, config: Config) -> dict[str, Descriptor]:
    """Return the layers by file name. They must be the files of the config, within the limits."""
    layers = document.layers or ()
    hint = "Push it again with hil image push NAME REF."
    if len(layers) > FILES:
        raise fetch.wrong(f"it has {len(layers)} files, {FILES} at most", hint)
    expected = {(name, FILE, f"sha256:{file.sha256}", file.size) for name, file in config.files.items()}
    found = {(layer.name, layer.media_type, layer.digest, layer.size) for layer in layers}
    if found != expected or len(layers) != len(expected):
        odd = sorted(name for name, *_ in found ^ expected)
        listed = ", ".join(map(repr, odd[:LISTED])) or "one is there twice"
        raise fetch.wrong(f"its layers are not the files of its config: {listed}", hint)
    if config.size > IMAGE_LIMIT:
        raise fetch.too_long("the image", IMAGE_LIMIT, f"{config.size} bytes")
    return {layer.name: layer for layer in layers}


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
