"""Images: manifests, the store on the disk, the builder of the project's own, the import of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.host.progress import Progress
    from hil.image.manifest import Manifest
    from hil.image.store import Image


def ensure(manifest: Manifest, progress: Progress) -> Image:
    """Return the image with checked digests; build it first if necessary.

    Raises as `open`, `prove` and `build`, and `ConfigurationError` for an image that has not been added.
    """
    from hil.image import store  # not for users of manifests alone

    image = store.open(manifest)
    if image is None and manifest.add:
        raise store.absent(manifest)
    if image is None:
        from hil.image.build import build

        image = build(manifest, progress=progress)
    store.prove(image)
    return image
