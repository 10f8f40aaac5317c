"""Recipes of built images, `images/NAME/recipe.toml`, and the key of the result in the cache."""

from __future__ import annotations

import hashlib
import json
import stat
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import project, toml, tools
from hil.host.hints import did_you_mean
from hil.image import packages
from hil.image.fields import Model, Name
from hil.image.manifest import Manifest

RECIPE = "recipe.toml"
SOURCES = project.packaged("images") / "reference"  # agent and runner, of all images
SAMPLES = project.packaged("wasm_samples")
UPLOADED = "lang-"  # the samples in several languages are large and no part of the image
TOOLS = ("aarch64-linux-gnu-gcc", "dtc", "lz4")

_CODE = ("build.py", "cpio.py", "native.py", "packages.py", "recipe.py")


class Filesystem(Model):
    """An initial RAM file system with BusyBox. `files` maps a path in it to a file or directory beside the recipe."""

    contents: tuple[Literal["agent", "runner", "samples", "event driver", "can driver"], ...]
    files: dict[str, str]


class ImagePlan(Model):
    """The files to build: copies from packages, NAME.initramfs, and NAME.dtb in the order of `trees`."""

    copies: tuple[Literal["kernel", "xen"], ...]
    trees: tuple[Name, ...] = ()
    initramfs: dict[Name, Filesystem]


@dataclass(frozen=True)
class Recipe:
    """The `plan` in `directory`. `inputs` are the digests (hexadecimal SHA-256) of all it is made from, by name.

    They are the same wherever the framework is installed. They exclude the versions of the Debian packages, which are
    known only after a build: see its record.
    """

    inputs: dict[str, str]
    directory: Path
    plan: ImagePlan
    samples: tuple[Path, ...]

    @property
    def digest(self) -> str:
        """The digest of the inputs."""
        return _sha256(json.dumps(self.inputs, sort_keys=True).encode())

    @cached_property
    def toolchain(self) -> dict[str, str]:
        """The versions of the tools on this machine. Raises `InfrastructureError` if one is missing."""
        try:
            return {tool: tools.version(tool) for tool in TOOLS}
        except InfrastructureError as error:
            hint = f"{error.hint or 'check it'}; or pull an image that is built: hil image pull REF"
            raise InfrastructureError(error.message, hint=hint) from error

    @property
    def key(self) -> str:
        """The digest of inputs and toolchain: of all that decides the bytes of an image that is built here."""
        return _sha256(json.dumps([self.digest, self.toolchain], sort_keys=True).encode())


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
    samples = tuple(sorted(path for path in SAMPLES.glob("*.wasm") if not path.name.startswith(UPLOADED)))
    facts = {
        "machine": manifest.machine.model_dump(mode="json"),
        "can": manifest.can and manifest.can.model_dump(mode="json"),
        "packages": [packages.SUITE, packages.PACKAGES],
    }
    inputs = {name: _sha256(json.dumps(fact, sort_keys=True).encode()) for name, fact in facts.items()}
    here = Path(__file__).parent
    inputs |= {f"builder/{name}": _digest(here / name) for name in _CODE}
    for part, tree in (("sources", SOURCES), ("recipe", directory)):
        files = [path for path in tree.rglob("*") if path.is_file()]
        inputs |= {f"{part}/{path.relative_to(tree).as_posix()}": _digest(path) for path in files}
    inputs |= {f"samples/{path.name}": _digest(path) for path in samples}
    return Recipe(inputs, directory, plan, samples)


def _digest(path: Path) -> str:
    return _sha256(f"{executable(path):d} ".encode() + path.read_bytes())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def executable(path: Path) -> bool:
    """Return whether the file is executable, the only part of its mode that an image keeps."""
    return bool(path.stat().st_mode & stat.S_IXUSR)
