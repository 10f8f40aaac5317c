"""The Debian packages of the project's images: fetched, unpacked, reduced to the files that images need.

No program in a package is executed, so that neither arm64 emulation nor user namespaces nor root are required.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.progress import Progress

SUITE = "trixie"
ARCHITECTURE = "arm64"
PACKAGES = (
    "busybox-static",
    "libwasmedge-dev",
    "libwasmedge0",
    "linux-image-rt-arm64",
    "xen-hypervisor-4.20-arm64",
)
NEEDED = 1200 * MIB
"""Temporary space in bytes for fetching; about a fifth of it stays."""

CAN_DRIVERS = ("can", "can-dev", "can-raw", "sja1000", "kvaser_pci")
"""The kernel's modules for SocketCAN on `kvaser_pci`, each after those it needs."""

_FORMAT = 2
_RECORD = "packages.json"
_LIBRARIES = ("libwasmedge.so.0",)
_SIGNED = b"~Module signature appended~\n"
_SIGNATURE_FACTS = 12  # bytes between the signature and _SIGNED; the last four are its size
_UNITS = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}


@dataclass(frozen=True)
class Packages:
    """The needed files of the packages.

    `directory` contains `xen`, `kernel`, `busybox`, `xen-evtchn.ko`, `can/` (the modules `CAN_DRIVERS`), `include/` and
    `lib/`; `versions` maps a package to its version, `digests` to the SHA-256 of its archive.
    """

    directory: Path
    versions: dict[str, str]
    digests: dict[str, str]


def directory_of(mirror: str | None) -> Path:
    """Return the directory in the cache of the packages from `mirror` (None: Debian's default)."""
    recipe = json.dumps([_FORMAT, SUITE, ARCHITECTURE, PACKAGES, mirror])
    return cache_root() / "packages" / hashlib.sha256(recipe.encode()).hexdigest()[:16]


def check_mirror(mirror: str | None) -> None:
    """Check that `mirror` is an address for apt. Raises `ConfigurationError`."""
    if mirror is not None and not re.fullmatch(r"(https?|file|copy)://?[^\s\"'\\]+", mirror):
        raise ConfigurationError(
            f"{mirror!r} is not the address of a mirror",
            hint="give one like http://HOST/debian or file:///PATH",
        )


def fetch(mirror: str | None, staging: Path, progress: Progress) -> Packages:
    """Return the packages, from the cache or else from `mirror`.

    `staging` is an empty directory on the cache's disk. Raises `InfrastructureError` if they cannot be fetched.
    """
    directory = directory_of(mirror)
    if cached := read(directory):
        return cached
    with disk(cache_root(), NEEDED):
        root, listing, kept = staging / "root", staging / "listing", staging / "kept"
        _unpack(mirror, staging, root, listing, progress)
        progress.step("selecting files of the packages")
        kept.mkdir()
        _keep(root, kept)
        rows = [line.split() for line in listing.read_text().splitlines()]
        facts = {name: {"version": version, "sha256": digest} for name, version, digest, _ in rows}
        (kept / _RECORD).write_text(json.dumps({"packages": facts}, indent=1, sort_keys=True) + "\n")
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if directory.exists():
            directory.rename(staging / "old")
        kept.rename(directory)
    found = read(directory)
    assert found is not None
    return found


def kept() -> list[Path]:
    """Return the directories in the cache of the packages that were fetched, from any mirror."""
    return sorted(path for path in (cache_root() / "packages").glob("*") if path.is_dir())


def read(directory: Path) -> Packages | None:
    """Return the packages in `directory`; None if it is incomplete."""
    try:
        packages: dict[str, dict[str, str]] = json.loads((directory / _RECORD).read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return None
    if not all((directory / name).exists() for name in ("xen", "kernel", "busybox", "can", "lib", "include")):
        return None
    return Packages(
        directory,
        {name: facts["version"] for name, facts in packages.items()},
        {name: facts["sha256"] for name, facts in packages.items()},
    )


def _unpack(mirror: str | None, staging: Path, root: Path, listing: Path, progress: Progress) -> None:
    show = "--showformat='${Package} ${Version} '"
    hook = (
        'cd "$1/var/cache/apt/archives" && for deb in *.deb; do '
        f'dpkg-deb --show {show} "$deb" && sha256sum "$deb"; done > {shlex.quote(str(listing))}'
    )
    command = ["mmdebstrap", "--verbose", "--variant=extract", "--mode=chrootless", "--format=directory"]
    command += [f"--architectures={ARCHITECTURE}", f"--include={','.join(PACKAGES)}"]
    command += ["--skip=check/chrootless", f"--extract-hook={hook}"]
    for option in ('Acquire::Retries "3"', 'Acquire::http::Timeout "20"', 'APT::Sandbox::User "root"'):
        command += [f"--aptopt={option}"]
    command += [SUITE, str(root)] + ([mirror] if mirror else [])
    progress.step("reading Debian's package lists")
    done = 0.0

    def on_line(line: str) -> None:
        nonlocal done
        if needed := re.match(r"Need to get ([\d.,]+) (\w+)", line):
            done = 0.0
            progress.step("downloading packages", _megabytes(*needed.groups()))
        elif got := re.match(r"Get:\d+ .* \[([\d.,]+) (\w+)\]$", line):
            done += _megabytes(*got.groups())
            progress.advance(done)
        elif "extracting archives" in line:
            progress.step("unpacking packages")

    try:
        # its temporary files are removed with the staging directory
        tools.run(command, limit=1200, environment={"TMPDIR": str(staging)}, on_line=on_line)
    except InfrastructureError as error:
        if error.hint:
            raise
        hint = f"check the network and the mirror {mirror}" if mirror else "check the network, or give a mirror"
        raise InfrastructureError(f"cannot fetch Debian's packages: {error.message}", hint=hint) from error


def _megabytes(number: str, unit: str) -> float:
    return float(number.replace(",", "")) * _UNITS.get(unit, 0.0)


def _keep(root: Path, kept: Path) -> None:
    libraries = root / "usr/lib/aarch64-linux-gnu"
    shutil.copy(_one(root, "boot/vmlinuz-*-arm64"), kept / "kernel")
    shutil.copy(_one(root, "boot/xen-*-arm64"), kept / "xen")
    shutil.copy(root / "usr/bin/busybox", kept / "busybox")
    (kept / "can").mkdir()
    for driver in ("xen-evtchn", *CAN_DRIVERS):
        module = _one(root, f"usr/lib/modules/*/kernel/**/{driver}.ko.xz")
        target = kept / "can" if driver in CAN_DRIVERS else kept
        (target / f"{driver}.ko").write_bytes(_unsigned(lzma.decompress(module.read_bytes())))
    shutil.copytree(root / "usr/include/wasmedge", kept / "include/wasmedge")
    (kept / "lib").mkdir()
    needed = list(_LIBRARIES)
    while needed:
        name = needed.pop()
        if (kept / "lib" / name).exists():
            continue
        source = next((p for p in (libraries / name, root / "usr/lib" / name) if p.exists()), None)
        if source is None:
            raise InfrastructureError(f"library {name} is in none of the packages {', '.join(PACKAGES)}")
        shutil.copy(source, kept / "lib" / name)
        dynamic = tools.run(["aarch64-linux-gnu-readelf", "-d", str(source)], limit=60)
        needed += re.findall(r"\(NEEDED\).*\[(.+)\]", dynamic)
    (kept / "lib/libwasmedge.so").symlink_to("libwasmedge.so.0")


def _unsigned(module: bytes) -> bytes:
    """Return a kernel module without its signature: the emulated kernel takes 0.1 s to check each.

    The format is that of `struct module_signature` in Linux' include/linux/module_signature.h.
    """
    if not module.endswith(_SIGNED):
        return module
    end = len(module) - len(_SIGNED)
    size = int.from_bytes(module[end - 4 : end], "big")
    return module[: end - _SIGNATURE_FACTS - size]


def _one(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise InfrastructureError(f"the packages hold {len(found)} files {pattern}, expected one")
    return found[0]
