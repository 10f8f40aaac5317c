"""The image that a labgrid environment names for a driver."""

from __future__ import annotations

from pathlib import Path

from labgrid.driver import Driver

from hil.errors import ConfigurationError
from hil.image import manifest
from hil.image.manifest import Manifest


def manifest_of(driver: Driver, key: str) -> Manifest:
    """Return the manifest under `key` of the environment's `images:`. Raises `ConfigurationError`."""
    config = driver.target.env.config
    try:
        return manifest.load(Path(config.get_image_path(key)))
    except KeyError:
        raise ConfigurationError(
            f"{config.filename} names no image {key!r}",
            hint=f"add `images: {{{key}: ../images/NAME.toml}}` to it, or pass --image NAME",
        ) from None
