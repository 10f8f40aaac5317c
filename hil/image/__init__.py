"""Images: manifests, the store of files on the disk, and the builder of the reference image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hil.image.manifest import Manifest
    from hil.image.progress import Progress
    from hil.image.store import Image


def ensure(manifest: Manifest, progress: Progress) -> Image:
    """Return the image: as it is on the disk, built first if it has to be; errors as in `build`."""
    from hil.image import store  # most users of this package need neither of them

    image = store.open(manifest)
    if image is None:
        from hil.image.build import build

        image = build(manifest, progress=progress)
    return image
