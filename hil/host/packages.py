"""The system's tools that each purpose needs, and the packages of distributions that contain them.

Only the names for Debian are tested. Those for Fedora, Arch and Homebrew come from the documentation of others.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PURPOSES = {
    "emulate": "boards under QEMU",
    "build": "images from their sources",
    "lab": "a lab of emulated boards",
    "report": "Allure's report, pictures",
    "analyser": "logic analysers",
}
OS_RELEASE = Path("/etc/os-release")
LIBRARY = "static C library for aarch64"
HEADERS = "C headers"
COMPILING = ("cc", HEADERS)
"""Tools that a wheel with the preload library of virtual time does not need."""


@dataclass(frozen=True)
class Tool:
    """A tool: a command or, with `files`, a file, of which any of these names will do.

    A relative name is searched in QEMU's data directories. Each column of packages is empty where the distribution has
    none. `oldest` is the oldest version that works, where one is known.
    """

    name: str
    purposes: tuple[str, ...]
    debian: str
    fedora: str
    arch: str
    macos: str = ""
    files: tuple[str, ...] = ()
    oldest: tuple[int, ...] = ()


_QEMU = ("emulate", "lab")
TOOLS = (
    Tool(
        *("qemu-system-aarch64", _QEMU, "qemu-system-arm", "qemu-system-aarch64-core", "qemu-system-aarch64", "qemu"),
        oldest=(7, 2),
    ),
    Tool("qemu-img", _QEMU, "qemu-utils", "qemu-img", "qemu-img", "qemu"),
    Tool(
        *("boot ROM of network cards", _QEMU, "ipxe-qemu", "ipxe-roms-qemu", "qemu-common", "qemu"),
        files=("efi-virtio.rom",),
    ),
    Tool("cc", _QEMU, "gcc", "gcc", "gcc"),
    Tool(HEADERS, _QEMU, "libc6-dev", "glibc-devel", "glibc", files=("/usr/include/stdio.h",)),
    Tool("mmdebstrap", ("build",), "mmdebstrap", "mmdebstrap", ""),
    Tool(
        *("keys of Debian's archive", ("build",)),
        *("debian-archive-keyring", "debian-keyring", "debian-archive-keyring"),
        files=("/usr/share/keyrings/debian-archive-keyring.gpg",),
    ),
    Tool("dtc", ("build",), "device-tree-compiler", "dtc", "dtc", "dtc"),
    Tool(
        *("aarch64-linux-gnu-gcc", ("build",)),
        *("gcc-aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "aarch64-linux-gnu-gcc"),
    ),
    Tool(
        *("aarch64-linux-gnu-readelf", ("build",)),
        *("binutils-aarch64-linux-gnu", "binutils-aarch64-linux-gnu", "aarch64-linux-gnu-binutils"),
    ),
    Tool(
        *(LIBRARY, ("build",)),
        *("libc6-dev-arm64-cross", "sysroot-aarch64-fc{version}-glibc", "aarch64-linux-gnu-glibc"),
    ),
    Tool("lz4", ("build",), "lz4", "lz4", "lz4", "lz4"),
    Tool("qemu-aarch64", ("build",), "qemu-user", "qemu-user", "qemu-user"),
    Tool("ser2net", ("lab",), "ser2net", "ser2net", "ser2net", "ser2net"),
    Tool(
        *("U-Boot for QEMU", ("lab",), "u-boot-qemu", "uboot-images-armv8", ""),
        files=("/usr/lib/u-boot/qemu_arm64/u-boot.bin", "/usr/share/uboot/qemu_arm64/u-boot.bin"),
    ),
    Tool("sigrok-cli", ("analyser",), "sigrok-cli", "sigrok-cli", "sigrok-cli", "sigrok-cli"),
    Tool("setpriv", (), "util-linux", "util-linux", "util-linux"),
)

_COMMANDS = {
    "debian": "apt-get install --no-install-recommends",
    "fedora": "dnf install",
    "arch": "pacman -S --needed",
    "macos": "brew install",
}
# on Debian for aarch64 the native compiler has the cross compiler's name
_NATIVE = {
    "gcc-aarch64-linux-gnu": "gcc",
    "binutils-aarch64-linux-gnu": "binutils",
    "libc6-dev-arm64-cross": "libc6-dev",
}


@dataclass(frozen=True)
class Distribution:
    """The operating system of this machine: its family, a column of the table, empty if unknown; name, version."""

    family: str
    name: str
    version: str = ""

    def package(self, tool: Tool) -> str:
        """Return the package that contains `tool`; empty if there is none. An unknown system has Debian's names."""
        package: str = getattr(tool, self.family or "debian")
        if self.family == "debian" and platform.machine() == "aarch64":
            package = _NATIVE.get(package, package)
        return package.format(version=self.version)

    def install(self, packages: Iterable[str]) -> str:
        """Return what to do for `packages`: a command, preceded by the system's name."""
        words = " ".join(dict.fromkeys(packages))
        if not self.family:
            return f"{self.name}: install what Debian calls {words}"
        return f"{self.name}: {_COMMANDS[self.family]} {words}"


def distribution(os_release: Path | None = None) -> Distribution:
    """Return the operating system of this machine, by os-release's ID and ID_LIKE."""
    if platform.system() == "Darwin" and os_release is None:
        return Distribution("macos", "macOS", platform.mac_ver()[0])
    try:
        lines = (os_release or OS_RELEASE).read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    facts = {key: value.strip("\"'") for key, _, value in (line.partition("=") for line in lines)}
    kinds = [facts.get("ID", ""), *facts.get("ID_LIKE", "").split()]
    family = next((kind for kind in kinds if kind in _COMMANDS), "")
    return Distribution(family, facts.get("PRETTY_NAME") or "this system", facts.get("VERSION_ID", ""))


def debian_packages(*purposes: str) -> list[str]:
    """Return Debian's packages for `purposes` of an installation from a wheel."""
    tools = [tool for tool in TOOLS if tool.name not in COMPILING]
    return [tool.debian for tool in tools if not set(purposes).isdisjoint(tool.purposes)]


def tool(name: str) -> Tool | None:
    """Return the tool `name` of the table; None for another one."""
    return next((tool for tool in TOOLS if tool.name == name), None)


def located(name: str) -> Path:
    """Return the first existing file of the tool `name`, the first one if there is none."""
    found = tool(name)
    assert found is not None
    paths = [Path(file) for file in found.files]
    return next((path for path in paths if path.is_file()), paths[0])
