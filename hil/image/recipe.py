"""Recipes of built images, `images/NAME/recipe.toml`, and the key of the result in the cache."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hil.errors import ConfigurationError
from hil.host import project, toml, tools
from hil.host.hints import did_you_mean
from hil.image import packages
from hil.image.fields import Model, Name
from hil.image.manifest import Manifest

RECIPE = "recipe.toml"
SOURCES = project.packaged("images") / "reference"  # agent and runner, of all images
SAMPLES = project.packaged("wasm_samples")
TOOLS = ("aarch64-linux-gnu-gcc", "dtc", "lz4")

_CODE = ("build.py", "cpio.py", "packages.py", "recipe.py")


class Filesystem(Model):
    """An initial RAM file system with BusyBox. `files` maps a path in it to a file or directory beside the recipe."""

    contents: tuple[Literal["agent", "runner", "samples", "event driver"], ...]
    files: dict[str, str]


class ImagePlan(Model):
    """The files to build: copies from packages, NAME.initramfs, and NAME.dtb in the order of `trees`."""

    copies: tuple[Literal["kernel", "xen"], ...]
    trees: tuple[Name, ...] = ()
    initramfs: dict[Name, Filesystem]


@dataclass(frozen=True)
class Recipe:
    """The `plan` in `directory`. `key` is the digest (hexadecimal SHA-256) of all that decides the image's bytes.

    It excludes the versions of the Debian packages, which are known only after a build: see its record.
    """

    key: str
    directory: Path
    plan: ImagePlan
    toolchain: dict[str, str]
    samples: tuple[Path, ...]


def recipes() -> dict[str, Path]:
    """Return the directories of all recipes of the project and the package by name, sorted."""
    roots = reversed(project.current().directories("images"))
    return dict(sorted((path.parent.name, path.parent) for root in roots for path in root.glob(f"*/{RECIPE}")))


def recipe(manifest: Manifest) -> Recipe:
    """Return the recipe of the image. Raises `ConfigurationError` if it is missing or wrong."""
    known = recipes()
    if manifest.build not in known:
        raise ConfigurationError(
            f"{manifest.path or manifest.name}: build: there is no recipe {manifest.build!r}"
            f" in {project.current().shown('images')}",
            hint=f"{did_you_mean(manifest.build or '', known)}the recipes are: {', '.join(known) or 'none'}",
        )
    directory = known[manifest.build]
    plan = toml.load(directory / RECIPE, ImagePlan, "image recipe")
    for name, filesystem in plan.initramfs.items():
        for place, source in filesystem.files.items():
            if not (directory / source).exists():
                raise ConfigurationError(
                    f"{directory / RECIPE}: initramfs.{name}.files: {place} needs {source}, which does not exist",
                    hint=f"paths are relative to {directory}",
                )
    toolchain = {tool: tools.version(tool) for tool in TOOLS}
    samples = tuple(sorted(SAMPLES.glob("*.wasm")))
    sources = sorted({path for place in (SOURCES, directory) for path in place.rglob("*") if path.is_file()})
    digest = hashlib.sha256()
    facts = [manifest.machine.model_dump(mode="json"), toolchain, packages.SUITE, packages.PACKAGES]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    here = Path(__file__).parent
    for path in (*(here / name for name in _CODE), *sources, *samples):
        content, program = hashlib.sha256(path.read_bytes()).hexdigest(), executable(path)
        digest.update(f"{content} {program:d} {path.name}\n".encode())
    return Recipe(digest.hexdigest(), directory, plan, toolchain, samples)


def executable(path: Path) -> bool:
    """Return whether the file is executable, the only part of its mode that an image keeps."""
    return bool(path.stat().st_mode & stat.S_IXUSR)
