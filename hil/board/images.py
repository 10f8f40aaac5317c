"""The image of a labgrid environment: its manifest, and its files."""

from __future__ import annotations

import sys
from pathlib import Path

from labgrid.driver import Driver

from hil.errors import ConfigurationError
from hil.host.progress import shown
from hil.image import ensure, manifest
from hil.image.manifest import Manifest
from hil.image.store import Image


def manifest_of(driver: Driver) -> Manifest:
    """Return the manifest that the driver's `image` names in the environment: an image's name, or a manifest's path.

    Raises `ConfigurationError`.
    """
    config = driver.target.env.config
    try:
        name = str(config.data.get("images", {})[driver.image])
        if "/" not in name and not name.endswith(".toml"):
            return manifest.find(name)
        return manifest.load(Path(config.get_image_path(driver.image)))
    except KeyError:
        raise ConfigurationError(
            f"{config.filename} names no image {driver.image!r}",
            hint=f"add `images: {{{driver.image}: NAME}}` to it, or pass --image NAME",
        ) from None


def built(manifest: Manifest) -> Image:
    """Return the image's files, built now if necessary, with progress on standard error."""
    with shown(sys.stderr) as progress:
        return ensure(manifest, progress)
