"""Images: manifests, the store of files on the disk, the builder of our own, and the import of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.host.progress import Progress
    from hil.image.manifest import Manifest
    from hil.image.store import Image


def ensure(manifest: Manifest, progress: Progress) -> Image:
    """Return the image, its files proven by their digests; it is built first where it is not there.

    Errors as in `open`, `prove` and `build`; ConfigurationError for an image that has not been added.
    """
    from hil.image import store  # most users of this package need neither of them

    image = store.open(manifest)
    if image is None and manifest.add:
        raise store.absent(manifest)
    if image is None:
        from hil.image.build import build

        image = build(manifest, progress=progress)
    store.prove(image)
    return image
