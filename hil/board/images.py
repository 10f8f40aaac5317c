"""The image of a labgrid environment: its manifest, and its files."""

from __future__ import annotations

import sys
from pathlib import Path

from labgrid.config import Config
from labgrid.driver import Driver

from hil.errors import ConfigurationError
from hil.host.progress import shown
from hil.image import ensure, manifest
from hil.image.manifest import Manifest
from hil.image.store import Image


def manifest_of(driver: Driver) -> Manifest:
    """Return the manifest that the driver's `image` names in the environment. Raises `ConfigurationError`."""
    return manifest_in(driver.target.env.config, driver.image)


def manifest_in(config: Config, key: str) -> Manifest:
    """Return the manifest of the image `key` of an environment: an image's name, or a manifest's path.

    Raises `ConfigurationError`.
    """
    try:
        name = str(config.data.get("images", {})[key])
        if "/" not in name and not name.endswith(".toml"):
            return manifest.find(name)
        return manifest.load(Path(config.get_image_path(key)))
    except KeyError:
        raise ConfigurationError(
            f"{config.filename} names no image {key!r}",
            hint=f"add `images: {{{key}: NAME}}` to it, or pass --image NAME",
        ) from None


def built(manifest: Manifest) -> Image:
    """Return the image's files, built now if necessary, with progress on standard error."""
    with shown(sys.stderr) as progress:
        return ensure(manifest, progress)
