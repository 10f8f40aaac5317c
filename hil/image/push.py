"""The push of a built or added image to a registry."""

from __future__ import annotations

import io

from hil.errors import ConfigurationError
from hil.host.disk import disk_errors
from hil.host.progress import Progress
from hil.image import artifact, store
from hil.image.manifest import Manifest
from hil.oci.reference import DEFAULT_TAG, LAYOUT, digest_of
from hil.oci.registry import Upload


def push(manifest: Manifest, where: str, *, progress: Progress) -> str:
    """Push the image to the reference `where`, a tag in a registry; return the reference with the digest.

    Raises `ConfigurationError` for an image or a reference that cannot be pushed, as `store.prove` for a damaged
    image, and as `hil.oci.connection.Connection.pieces` for the registry.
    """
    target = artifact.reference(where)
    if target.scheme == LAYOUT:
        hint = "push it to a registry; oras copy --to-oci-layout copies it from there"
        raise ConfigurationError(f"{where}: an image cannot be pushed to a layout", hint=hint)
    if target.digest is not None:
        hint = "name a tag, or nothing for the tag `latest`; the digest is printed"
        raise ConfigurationError(f"{where}: an image cannot be pushed to a digest", hint=hint)
    if manifest.files:
        raise ConfigurationError(
            f"image {manifest.name} cannot be pushed: its files are where {manifest.path} says",
            hint="keep its files in a store of your own; the manifest has their digests",
        )
    image = store.open(manifest)
    if image is None:
        raise store.absent(manifest)
    store.prove(image)
    config = artifact.config_of(image)
    document, described = artifact.documents(config, manifest.title)
    upload = Upload(target, slowest=artifact.SLOWEST)
    for name, file in sorted(config.files.items()):
        progress.step(f"pushing {name}", file.size, unit="B")
        with disk_errors(f"read {image.files[name]}"), image.files[name].open("rb") as content:
            upload.blob(content, file.size, f"sha256:{file.sha256}", progress.advance)
    progress.step("pushing the manifest")
    upload.blob(io.BytesIO(described), len(described), digest_of(described))
    return artifact.pinned(target, upload.manifest(target.tag or DEFAULT_TAG, document))
