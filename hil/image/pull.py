"""The pull of an image from a registry or a layout into the store: complete or not at all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.directories import cache_root, data_root
from hil.host.disk import disk
from hil.host.progress import Progress
from hil.image import artifact, machine_options, store, workshop
from hil.image import manifest as manifests
from hil.image.artifact import Config
from hil.image.manifest import Manifest
from hil.image.recipe import recipe
from hil.oci.fetch import Fetch, opened
from hil.oci.reference import Reference
from hil.text import printable_line

LISTED = 8  # inputs of a recipe in an error


def pull(where: str, *, force: bool = False, progress: Progress) -> store.Image:
    """Return the image that the reference `where` names; download it if it is not in the store.

    It replaces an image that was pulled before; `force` replaces one that was added from a build, too. Raises
    `ConfigurationError` for an artifact that is no image, one that this project has no manifest for, or one that was
    built from another recipe; `InfrastructureError` for the registry and the disk. Errors and Ctrl-C leave nothing
    behind.
    """
    source = artifact.reference(where)
    progress.step(f"looking up {source}")
    with opened(source, artifact.WANTED) as fetch:
        config, _ = artifact.describe(fetch)
        source = fetch.pinned
    manifest = _manifest(source, config)
    target = _target(source, config, manifest)
    if present := _present(source, config, manifest, target):
        return present
    root, variable = (data_root(), "XDG_DATA_HOME") if manifest.add else (cache_root(), "XDG_CACHE_HOME")
    with disk(root, 0, variable), workshop.alone(root, progress):
        if present := _present(source, config, manifest, target):  # another process has pulled it meanwhile
            return present
        before = store.read(manifest, target)
        if manifest.add and before and not before.pulled and not force:
            raise ConfigurationError(
                f"image {manifest.name} was added from a build; it is in {target} and differs from {source}",
                hint="replace it with --force",
            )
        with workshop.staging(root) as staging, disk(root, config.size, variable):
            result = staging / "image"
            result.mkdir()
            with opened(source, artifact.WANTED, slowest=artifact.SLOWEST) as fetch:
                _download(fetch, config, result, progress)
            store.check_layout(manifest, {name: result / name for name in config.files})
            origin = {
                store.PULLED: artifact.pinned(source, source.digest or ""),
                "tag": source.tag,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            record = json.dumps(artifact.record_of(config, origin), indent=1, sort_keys=True) + "\n"
            (result / (store.ADDED if manifest.add else store.RECORD)).write_text(record, encoding="utf-8")
            workshop.publish(result, target, staging)
        if not manifest.add:
            workshop.forget_old(manifest.name, target)
        image = store.read(manifest, target)
    if image is None:
        raise InfrastructureError(f"the new image cannot be read in {target}", hint="check the disk and pull it again")
    return image


def _download(fetch: Fetch, config: Config, result: Path, progress: Progress) -> None:
    _, layers = artifact.describe(fetch)
    progress.step(f"pulling image {config.name}", config.size, unit="B")
    done = 0
    for name, layer in sorted(layers.items()):
        for size in fetch.save(layer, result / name):
            progress.advance(done + size)
        done += layer.size


def _present(source: Reference, config: Config, manifest: Manifest, target: Path) -> store.Image | None:
    """Return the image in the store if it is what the artifact contains and its files are undamaged."""
    image = store.read(manifest, target)
    if image is None or image.digest != config.digest:
        return None
    if manifest.add and config.added and image.manifest.machine.arguments != config.added.arguments:
        return None
    if image.pulled and image.pulled.rpartition("@")[2] != source.digest:
        return None
    try:
        store.prove(image)
    except InfrastructureError:  # download it again
        return None
    return image


def _manifest(source: Reference, config: Config) -> Manifest:
    """Return the manifest of this project for the image. Raises `ConfigurationError` if it does not fit."""
    try:
        manifest = manifests.find(config.name)
    except ConfigurationError as error:
        hint = f"copy images/{config.name}.toml of the project that pushed it; {error.hint}"
        raise ConfigurationError(f"{source}: {error.message}", hint=hint) from error
    made = "added from a build tree" if config.added else "built by a recipe"
    if bool(manifest.add) != bool(config.added) or manifest.files:
        raise ConfigurationError(
            f"{source}: image {config.name} was {made}, but {manifest.path} describes another one",
            hint="give the manifest another name, or pull another image",
        )
    return manifest


def _target(source: Reference, config: Config, manifest: Manifest) -> Path:
    """Return the place of the image in the store. Raises `ConfigurationError` if it is not the one described here."""
    if config.added is not None:
        here = (manifest.add, manifest.machine.emulator)
        if (config.added.kind, config.added.emulator) != here:
            raise ConfigurationError(
                f"{source}: image {config.name} is {config.added.kind} for {config.added.emulator}, "
                f"but {manifest.path} describes {here[0]} for {here[1]}",
                hint="pull another image, or correct the manifest",
            )
        machine_options.check(config.added.arguments, str(source), "pull another image, or add its build here")
        return store.added_directory(manifest)
    assert config.build is not None
    if missing := manifest.machine.file_names() - set(config.files):
        raise ConfigurationError(
            f"{source}: image {config.name} has no file {sorted(missing)[0]!r}, which {manifest.path} requires",
            hint="pull another image",
        )
    planned = recipe(manifest)
    if differences := _differences(config.build.recipe, planned.inputs):
        raise ConfigurationError(
            f"{source}: image {config.name} was built from another recipe than the one here: {differences}",
            hint="pull the image that belongs to this version of the framework and of the project; if there is none, "
            f"hil image build {config.name} and hil image push {config.name} REF",
        )
    return store.pulled_directory(manifest, planned)


def _differences(there: dict[str, str], here: dict[str, str]) -> str:
    """Return the inputs in which two recipes differ, in words; empty if they are equal."""
    kinds = {
        "changed": sorted(name for name in there.keys() & here.keys() if there[name] != here[name]),
        "only there": sorted(there.keys() - here.keys()),
        "only here": sorted(here.keys() - there.keys()),
    }
    parts = []
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
            parts.append(f"{kind}: {', '.join(printable_line(name[:80]) for name in names[:LISTED])}{more}")
    return "; ".join(parts)
