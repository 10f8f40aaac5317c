"""Adding an image from an upstream build to the user's data."""

from __future__ import annotations

import hashlib
import json
import shlex
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import data_root
from hil.host.disk import disk
from hil.host.progress import Progress
from hil.image import elf, simulate, store, upstream, workshop
from hil.image.manifest import Manifest
from hil.image.simulate import Command
from hil.image.upstream import Upstream

SCRIPT = "simulate"
VARIABLE = "XDG_DATA_HOME"


def add(
    path: Path, manifest: Manifest, *, arguments: str | None = None, force: bool = False, progress: Progress
) -> store.Image:
    """Copy the image of the build in `path` to the place of `manifest`, and return it.

    `path` is the build directory, its parent, or an archive of either. `arguments` replace QEMU's arguments in the
    build's `simulate`; `force` replaces an image that was added before. Raises `ConfigurationError` for an unusable
    build or arguments, `InfrastructureError` for the disk. Errors and Ctrl-C leave nothing behind.
    """
    if not manifest.add:
        raise ConfigurationError(
            f"image {manifest.name} is not one to add: it is {'built' if manifest.build else 'brought'}",
            hint=store.remedy(manifest),
        )
    root = data_root()
    target = store.added_directory(manifest)
    with disk(root, 0, VARIABLE), workshop.alone(root, progress):
        if not force and store.open(manifest):
            raise ConfigurationError(
                f"image {manifest.name} was already added; it is in {target}", hint="replace it with --force"
            )
        progress.step(f"reading {path}")
        build = upstream.open(path)
        place, command, script = _command(build, manifest, arguments)
        files = {name: str(PurePosixPath(place, file)) for name, file in command.files.items()}
        sizes = _sizes(build, files)
        with workshop.staging(root) as staging, disk(root, sum(sizes.values()), VARIABLE):
            result = staging / "image"
            result.mkdir()
            digests = {name: _copy(build, file, result / name, sizes[name], progress) for name, file in files.items()}
            elf.check(result / "kernel", command.emulator, f"{build.path}: {files['kernel']}")
            facts = {name: {"sha256": digests[name], "size": sizes[name], "from": files[name]} for name in files}
            record: dict[str, Any] = {
                "digest": store.digest_of(digests),
                "arguments": command.arguments,
                "files": facts,
                "origin": {
                    "path": str(build.path),
                    "sha256": store.sha256(build.path) if build.path.is_file() else None,
                    "simulate": hashlib.sha256(script).hexdigest() if script else None,
                    "command": command.text,
                    "added": datetime.now(UTC).isoformat(timespec="seconds"),
                },
            }
            (result / store.ADDED).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            workshop.publish(result, target, staging)
        image = store.open(manifest)
    if image is None:
        raise InfrastructureError(f"the new image cannot be read in {target}", hint="check the disk and add it again")
    return image


def _command(build: Upstream, manifest: Manifest, arguments: str | None) -> tuple[str, Command, bytes | None]:
    """Return the directory in `build`, QEMU's command line, and the script it comes from."""
    emulator = manifest.machine.emulator
    if arguments is not None:
        command, script = simulate.by_hand(arguments, emulator), None
        place = _place(build, command.files["kernel"])
    else:
        place = _place(build, SCRIPT)
        name = str(PurePosixPath(place, SCRIPT))
        if (build.size(name) or 0) > simulate.LARGEST:
            raise ConfigurationError(f"{build.path}: {name} is too large for a script", hint="give another build")
        script = b"".join(build.blocks(name))
        command = simulate.read(script, f"{build.path}: {name}")
    if command.emulator != emulator:
        raise ConfigurationError(
            f"{build.path} runs on {command.emulator}, but image {manifest.name} on {emulator}",
            hint=f"add another build, or describe this one in images/NAME.toml (a copy of {manifest.path})",
        )
    return place, command, script


def _place(build: Upstream, name: str) -> str:
    places = build.places(name)
    if not places:
        raise ConfigurationError(
            f"neither {build.path} nor a directory in it has a {name}",
            hint="give the directory in which the build was made, or its release archive; "
            "without a simulate, give QEMU's arguments with --arguments",
        )
    if len(places) > 1:
        raise ConfigurationError(f"{build.path} has several builds: {', '.join(places)}", hint="give one of them")
    return places[0]


def _sizes(build: Upstream, files: dict[str, str]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for name, file in files.items():
        size = build.size(file)
        if size is None:
            raise ConfigurationError(
                f"{build.path} has no {shlex.quote(file)}, which its machine needs",
                hint="let the build end; an archive must contain simulate and images/",
            )
        sizes[name] = size
    return sizes


def _copy(build: Upstream, file: str, target: Path, size: int, progress: Progress) -> str:
    """Copy a file and return its digest, in one pass."""
    progress.step(f"copying {file}", size)
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for block in build.blocks(file):
            out.write(block)
            digest.update(block)
            progress.advance(out.tell())
        if out.tell() != size:
            raise ConfigurationError(f"{build.path}: {file} changed during the copy", hint="let the build end")
    return digest.hexdigest()
