"""Images on the disk: built, added or brought, with their digests.

A built image is a directory `images/NAME-KEY/` in the cache; KEY is the digest of everything it is made from. One that
was built elsewhere and pulled is `images/NAME-RECIPE/`; RECIPE is the same without the toolchain. An added image is a
directory `images/NAME/` among the user's data. Each appears by one rename, complete or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import digests
from hil.host.directories import cache_root, data_root
from hil.image import machine_options, options
from hil.image.fields import Name, Sha256
from hil.image.manifest import Manifest, check_overlaps
from hil.image.recipe import Recipe, recipe

RECORD = "build.json"
"""The file in the directory of a built image with its parts and tools."""

ADDED = "added.json"
"""The file in the directory of an added image with its origin."""

PULLED = "pulled"
"""The key of the reference, with digest, in the origin of an image that comes from a registry."""


class _RecordedFile(BaseModel):
    """A file in the record of a built or added image."""

    sha256: Sha256
    size: int


class _Record(BaseModel):
    """The parts of RECORD and ADDED that decide what boots. The others are for people."""

    files: dict[Name, _RecordedFile]
    digest: str
    arguments: tuple[str, ...] = ()
    origin: dict[str, Any] = {}

    @property
    def checked(self) -> bool:
        """Whether the arguments come from a script in the build or from a registry, not from the user."""
        return bool(self.origin.get("simulate") or self.origin.get(PULLED))


@dataclass(frozen=True)
class Image:
    """An image on the disk, ready to boot.

    `manifest` includes the arguments that came with an added image. `files` are absolute paths by name. `digest`
    (hexadecimal SHA-256 of the sorted digests of the files) identifies the image in reports. `record` holds digests
    and sizes, for a built image also packages and tools with their versions.
    """

    manifest: Manifest
    directory: Path
    files: dict[str, Path]
    digest: str
    record: dict[str, Any]

    @property
    def pulled(self) -> str:
        """The reference, with digest, from which the image was pulled; empty for any other image."""
        return str(self.record.get("origin", {}).get(PULLED, ""))

    @property
    def provenance(self) -> str:
        """Where the image comes from, in a few words."""
        if self.pulled:
            return f"pulled from {self.pulled}"
        if self.manifest.add:
            return f"added from {self.record.get('origin', {}).get('path', 'a build')}"
        return "brought" if self.manifest.files else "built here"

    def command(self) -> list[str]:
        """Return the emulator and its arguments, without serial line, monitor and drives."""
        machine = self.manifest.machine
        command = [machine.emulator, *options.filled(machine.arguments, self.files)]
        for load in machine.load:
            file = options.quoted(self.files[load.file])
            command += ["-device", f"loader,file={file},addr={load.address:#x},force-raw=on"]
        return command


def open(manifest: Manifest) -> Image | None:
    """Return the image; None if it must be built or added first, see `remedy`.

    Checks presence and sizes only; `prove` checks the contents. Raises `ConfigurationError` if a file of a brought
    image is missing or does not fit, `InfrastructureError` if a tool that the key of a built image depends on is.
    """
    if manifest.files:
        return _brought(manifest)
    if manifest.add:
        return read(manifest, added_directory(manifest))
    return built(manifest, recipe(manifest))


def built(manifest: Manifest, planned: Recipe) -> Image | None:
    """Return the image of a recipe: the pulled one, else the one built here; None without both."""
    pulled = read(manifest, pulled_directory(manifest, planned))
    return pulled or read(manifest, directory_of(manifest, planned.key))


def forget_pulled(manifest: Manifest, planned: Recipe, staging: Path) -> None:
    """Remove the pulled image of a recipe, which one built here is to replace."""
    pulled = pulled_directory(manifest, planned)
    if pulled.exists():
        pulled.rename(staging / "pulled")


def remedy(manifest: Manifest) -> str:
    """Return the action that provides the image."""
    if manifest.files:
        return f"bring the files that {manifest.path} names"
    where = " (PATH: its build directory or release archive)" if manifest.add else ""
    return f"{command_for(manifest)}{where}, or, if the image is in a registry, hil image pull REF"


def command_for(manifest: Manifest) -> str:
    """Return the command that adds or builds the image on this machine."""
    return f"hil image add PATH --name {manifest.name}" if manifest.add else f"hil image build {manifest.name}"


def absent(manifest: Manifest) -> ConfigurationError:
    """Return the error for an image that must be added or built first."""
    missing = "has not been added to this machine yet" if manifest.add else "is not built yet"
    return ConfigurationError(f"image {manifest.name} {missing}", hint=remedy(manifest))


def state(manifest: Manifest) -> str:
    """Return a short text on whether the image is ready. Raises as `open`."""
    found = open(manifest)
    if found is None:
        return "not added yet" if manifest.add else "not built yet; it is built on first use"
    return f"ready, {found.digest[:16]}, {found.provenance}"


def verify(image: Image) -> None:
    """Read all files of `image` and compare their digests.

    Raises `ConfigurationError` for a brought file that differs from its manifest, `InfrastructureError` for a file
    that has changed since it was built or added.
    """
    _compare(image, sha256)


def prove(image: Image) -> None:
    """Check that the files of `image` are those of its digest. Raises as `verify`.

    Unlike `verify` this reads only files that may have changed since they were last read: see `hil.host.digests`.
    """
    _compare(image, lambda path: digests.sha256(path, cache_root() / "digests"))


def _compare(image: Image, digest: Callable[[Path], str]) -> None:
    for name, path in sorted(image.files.items()):
        expected = image.record["files"][name]["sha256"]
        try:
            actual = digest(path)
        except OSError as error:
            kind = ConfigurationError if image.manifest.files else InfrastructureError
            raise kind(
                f"cannot read {path}: {error.strerror}",
                hint=f"check the file, its permissions and its disk, or {remedy(image.manifest)}",
            ) from error
        if actual == expected:
            continue
        if image.manifest.files:
            raise ConfigurationError(
                f"{path}: its SHA-256 is {actual}, but {image.manifest.path} requires {expected} for {name!r}",
                hint="provide the right file, or correct its digest in the manifest",
            )
        made = "pulled" if image.pulled else "added" if image.manifest.add else "built"
        again = f"hil image pull {image.pulled}" if image.pulled else f"{command_for(image.manifest)} --force"
        raise InfrastructureError(
            f"{path} has changed since it was {made}: its SHA-256 is {actual}, was {expected}",
            hint=f"replace it: {again}",
        )


def directory_of(manifest: Manifest, key: str) -> Path:
    """Return the directory in the cache of the image built with recipe `key`."""
    return cache_root() / "images" / f"{manifest.name}-{key[:16]}"


def pulled_directory(manifest: Manifest, planned: Recipe) -> Path:
    """Return the directory in the cache of the pulled image of a recipe."""
    return directory_of(manifest, planned.digest)


def added_directory(manifest: Manifest) -> Path:
    """Return the directory of the added image."""
    return data_root() / "images" / manifest.name


def read(manifest: Manifest, directory: Path) -> Image | None:
    """Return the built or added image in `directory`; None if it is missing or incomplete."""
    try:
        text = (directory / (ADDED if manifest.add else RECORD)).read_text(encoding="utf-8")
        record = _Record.model_validate_json(text)
        files = {name: directory / name for name in record.files}
        if any(path.stat().st_size != record.files[name].size for name, path in files.items()):
            return None
    except (OSError, ValueError):
        return None
    digest = digest_of({name: file.sha256 for name, file in record.files.items()})
    if record.digest != digest:
        return None
    if manifest.add:
        if record.checked:
            machine_options.check(record.arguments, str(directory / ADDED), f"repeat {command_for(manifest)} --force")
        machine = manifest.machine.model_copy(update={"arguments": record.arguments})
        manifest = manifest.model_copy(update={"machine": machine})
    check_complete(manifest, files)
    with suppress(OSError):  # the builder keeps the images used last
        os.utime(directory)
    return Image(manifest, directory, files, digest, json.loads(text))


def digest_of(digests: dict[str, str]) -> str:
    """Return the digest of an image from its files' digests by name."""
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def sha256(path: Path) -> str:
    """Read the file and return its hexadecimal SHA-256. Raises `InfrastructureError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InfrastructureError(f"cannot read {path}: {error.strerror}") from error


def check_complete(manifest: Manifest, files: dict[str, Path]) -> None:
    """Check that `files` include all that the machine needs. Raises `ConfigurationError`."""
    if missing := manifest.machine.file_names() - set(files):
        raise ConfigurationError(
            f"{manifest.path or manifest.name}: machine names {sorted(missing)[0]!r}, "
            f"which recipe {manifest.build!r} does not build",
            hint=f"use one of the files it builds: {', '.join(sorted(files))}",
        )


def check_layout(manifest: Manifest, files: dict[str, Path]) -> None:
    """Check that no files overlap in the machine's memory. Raises `ConfigurationError`."""
    machine = manifest.machine
    areas = {load.file: (load.address, files[load.file].stat().st_size) for load in machine.load}
    areas |= {area.name: (area.address, area.size) for area in machine.reserved}
    try:
        check_overlaps(areas)
    except ValueError as error:
        raise ConfigurationError(
            f"{manifest.path or manifest.name}: machine.load: {error}",
            hint="move one of them to a higher address",
        ) from error


def _brought(manifest: Manifest) -> Image:
    base = manifest.path.parent if manifest.path else Path.cwd()
    files: dict[str, Path] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, spec in manifest.files.items():
        try:
            path = (base / Path(spec.path).expanduser()).resolve()
            there = path.is_file()
        except (OSError, RuntimeError, ValueError) as error:  # too long, an unknown user, a loop, a NUL
            raise ConfigurationError(
                f"{manifest.path}: files.{name}: {spec.path!r} is not a usable path: {error}",
                hint="correct its path in the manifest",
            ) from error
        if not there:
            raise ConfigurationError(
                f"{manifest.path}: files.{name}: there is no file {path}",
                hint="put the file there, or correct its path in the manifest",
            )
        files[name] = path
        facts[name] = {"sha256": spec.sha256, "size": path.stat().st_size}
    check_layout(manifest, files)
    digest = digest_of({name: spec.sha256 for name, spec in manifest.files.items()})
    return Image(manifest, base.resolve(), files, digest, {"files": facts, "digest": digest})
