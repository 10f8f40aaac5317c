"""The builder of the project's own images: Debian packages, by a recipe.

One build runs at a time; a second one waits and finds the result of the first. A build works in a staging directory in
the cache, which is removed afterwards.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.progress import Progress, displayed
from hil.image import native, packages, store, workshop
from hil.image.cpio import Tree
from hil.image.manifest import Manifest
from hil.image.packages import CAN_DRIVERS, Packages
from hil.image.recipe import SOURCES, Filesystem, Recipe, executable, recipe

NEEDED = 500 * MIB
"""Temporary space in bytes of a build, in addition to the packages."""

NATIVE = ("hello.wasm", "nbody-c.wasm")
"""The samples that the image also contains as native code: `hello.aot.wasm` beside `hello.wasm`."""

CAN_INTERFACE = "can0"
"""The name that Linux gives the first CAN controller."""

_AGENT = ("agent.c", "directories.c", "pins.c")
_RUNNER = (
    "runner.c",
    "worker.c",
    "files.c",
    "host.c",
    "gpio.c",
    "can.c",
    "analog.c",
    "pins.c",
    "proposal.c",
    "uart.c",
    "idle.c",
)
_CAN_UP = "can-up.c"


def build(manifest: Manifest, *, mirror: str | None = None, progress: Progress, force: bool = False) -> store.Image:
    """Return the image of `manifest`; build it if it is not in the cache.

    `force` builds it anyway; `mirror` is the address of a Debian mirror (None: the default). Raises
    `ConfigurationError` for a manifest without a recipe, `InfrastructureError` for network, disk or tools. Errors and
    Ctrl-C leave nothing behind.
    """
    packages.check_mirror(mirror)
    if manifest.build is None:
        raise ConfigurationError(f"image {manifest.name!r} is not built by the project", hint=store.remedy(manifest))
    planned = recipe(manifest)
    target = store.directory_of(manifest, planned.key)
    root = cache_root()
    with disk(root, 0), workshop.alone(root, progress):
        if not force and (image := store.built(manifest, planned)):
            return image
        with workshop.staging(root) as staging:
            fetched = staging / "packages"
            fetched.mkdir()
            parts = packages.fetch(mirror, fetched, progress)
            with disk(root, NEEDED):
                result = staging / "image"
                result.mkdir()
                _make(manifest, planned, parts, staging, result, progress, force)
                if recipe(manifest).key != planned.key:
                    raise InfrastructureError("the image's sources changed during the build", hint="build it again")
                workshop.publish(result, target, staging)
                store.forget_pulled(manifest, planned, staging)
        workshop.forget_old(manifest.name, target)
        image = store.read(manifest, target)
    if image is None:
        raise InfrastructureError(
            f"the new image cannot be read in {target}", hint="check the disk, and build it again"
        )
    return image


def _make(
    manifest: Manifest,
    planned: Recipe,
    parts: Packages,
    staging: Path,
    result: Path,
    progress: Progress,
    force: bool,
) -> None:
    progress.step("compiling agent and runner")
    compiler = native.Compiler.of(parts)
    _compile(compiler, staging)
    with displayed(progress):
        for sample in planned.samples:
            if sample.name in NATIVE:
                made = native.compile_module(compiler, sample.name, sample.read_bytes(), again=force)
                (result / f"{sample.stem}.aot.wasm").write_bytes(made)

    progress.step("packing the file systems")
    for copy in planned.plan.copies:
        shutil.copy(parts.directory / copy, result / copy)
    samples = (*planned.samples, *sorted(result.glob("*.aot.wasm")))
    for name, filesystem in planned.plan.initramfs.items():
        tree = _filled(filesystem, planned.directory, parts, staging, samples)
        if "can driver" in filesystem.contents:
            _add_can(tree, manifest, parts, staging)
        _pack(tree, result / f"{name}.initramfs", staging)

    if planned.plan.trees:
        progress.step("making the device trees")
    for name in planned.plan.trees:
        _tree(manifest, planned.directory, name, result)
    files = {path.name: path for path in sorted(result.iterdir())}
    store.check_complete(manifest, files)
    store.check_layout(manifest, files)

    progress.step("recording")
    digests = {name: store.sha256(path) for name, path in files.items()}
    sizes = {name: path.stat().st_size for name, path in files.items()}
    record: dict[str, Any] = {
        "name": manifest.name,
        "key": planned.key,
        "recipe": planned.inputs,
        "digest": store.digest_of(digests),
        "files": {name: {"sha256": digests[name], "size": sizes[name]} for name in files},
        "suite": packages.SUITE,
        "packages": parts.versions,
        "package_digests": parts.digests,
        "toolchain": planned.toolchain,
    }
    (result / store.RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _compile(compiler: native.Compiler, staging: Path) -> None:
    """Compile `agent`, `runner` and `can-up`, the same for all images."""
    gcc = ["aarch64-linux-gnu-gcc", *native.FLAGS]
    # relative names keep paths of this machine out of the binaries
    tools.run([*gcc, "-static", "-o", str(staging / "agent"), *_AGENT], limit=120, directory=SOURCES)
    tools.run([*gcc, "-o", str(staging / "runner"), *_RUNNER, *compiler.link], limit=120, directory=SOURCES)
    tools.run([*gcc, "-o", str(staging / "can-up"), _CAN_UP], limit=120, directory=SOURCES)


def _filled(filesystem: Filesystem, directory: Path, parts: Packages, staging: Path, samples: Sequence[Path]) -> Tree:
    """Return the file tree of a recipe in `directory`, with the programs in `staging`."""
    tree = _base(parts)
    if "agent" in filesystem.contents:
        tree.file("usr/bin/wasmedge_emit", staging / "agent", 0o755)
    if "samples" in filesystem.contents:
        for sample in samples:
            tree.file(f"usr/bin/{sample.name}", sample)
    if "runner" in filesystem.contents:
        tree.file("usr/bin/runner", staging / "runner", 0o755)
        for path in sorted((parts.directory / "lib").iterdir()):
            if not path.is_symlink():
                tree.file(f"lib/{path.name}", path, 0o755)
    if "event driver" in filesystem.contents:
        tree.file("lib/xen-evtchn.ko", parts.directory / "xen-evtchn.ko")
    for place, name in filesystem.files.items():
        source = directory / name
        for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if path.is_file():
                mode = 0o755 if executable(path) else 0o644
                tree.file(str(PurePosixPath(place) / path.relative_to(source)), path, mode)
    return tree


def _add_can(tree: Tree, manifest: Manifest, parts: Packages, staging: Path) -> None:
    """Add the CAN drivers, and `/etc/can` with the arguments of `can-up`: interface, bit rate, drivers."""
    if manifest.can is None:
        raise ConfigurationError(
            f"{manifest.path or manifest.name}: recipe {manifest.build!r} has a CAN driver, but [can] is missing",
            hint="add [can] with bus and bitrate to the manifest",
        )
    places = [f"lib/can/{name}.ko" for name in CAN_DRIVERS]
    for place in places:
        tree.file(place, parts.directory / "can" / PurePosixPath(place).name)
    tree.file("usr/sbin/can-up", staging / "can-up", 0o755)
    words = (CAN_INTERFACE, str(manifest.can.bitrate), *(f"/{place}" for place in places))
    tree.file("etc/can", " ".join(words).encode() + b"\n")


def _base(parts: Packages) -> Tree:
    tree = Tree()
    for name in ("bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "usr/bin", "usr/sbin", "var"):
        tree.directory(name)
    tree.directory("tmp", 0o1777)
    tree.device("dev/console", 5, 1)  # opened for init before anything is mounted
    tree.file("bin/busybox", parts.directory / "busybox", 0o755)
    tree.link("bin/sh", "busybox")
    return tree


def _pack(tree: Tree, target: Path, staging: Path) -> None:
    archive = staging / "archive"
    with archive.open("wb") as out:
        tree.write(out)
    # the format of the kernel's lz4 (-l, legacy): half the bytes for Xen to copy, and fast to unpack
    tools.run(["lz4", "-l", "-9", "-q", "-f", str(archive), str(target)], limit=300)
    archive.unlink()


def _tree(manifest: Manifest, directory: Path, name: str, result: Path) -> None:
    """Compile NAME.dts with the addresses of the manifest and the sizes of the files built so far."""
    numbers: dict[str, str] = {}
    for load in manifest.machine.load:
        path = result / load.file
        numbers |= _numbers(load.file, load.address, path.stat().st_size if path.exists() else None)
    for area in manifest.machine.reserved:
        numbers |= _numbers(area.name, area.address, area.size)
    define = [f"-D{key}={value}" for key, value in numbers.items()]
    source = ["-E", "-P", "-undef", "-nostdinc", "-x", "assembler-with-cpp", f"{name}.dts"]
    text = tools.run(["aarch64-linux-gnu-gcc", *define, *source], limit=60, directory=directory)
    target = result / f"{name}.dtb"
    tools.run(["dtc", "-q", "-I", "dts", "-O", "dtb", "-o", str(target), "-"], limit=60, data=text.encode())


def _numbers(name: str, address: int, size: int | None) -> dict[str, str]:
    key = "".join(c if c.isalnum() else "_" for c in name).upper()
    numbers = {f"{key}_ADDRESS": f"{address:#x}", f"{key}_UNIT": f"{address:x}"}
    return numbers if size is None else {**numbers, f"{key}_SIZE": f"{size:#x}"}
