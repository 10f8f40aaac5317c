"""An emulated board as a lab has it: U-Boot is all that it starts with, and loads the image over TFTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.image.options import quoted
from hil.image.store import Image

EMULATOR = "qemu-system-aarch64"
UBOOT = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
"""Debian's, of the package u-boot-qemu."""

_LOADED = {"-kernel", "-dtb", "-initrd", "-append", "-bios"}  # what U-Boot does in their place


def command(image: Image, *, tftp: Path, serial: Path) -> list[str]:
    """QEMU's argv for the machine of `image`, which finds U-Boot in its flash and none of the image's files in memory.

    `tftp` is the directory that the machine's network card gets files from, at the address that DHCP tells it; it
    reaches nothing else. `serial` is the unix socket, listening, that the serial line connects to.

    Raises `ConfigurationError` for an image that U-Boot cannot start, `InfrastructureError` where U-Boot is not
    installed.
    """
    machine = image.manifest.machine
    if machine.emulator != EMULATOR:
        raise ConfigurationError(
            f"image {image.manifest.name} is for {machine.emulator}, and the lab's boards with U-Boot are {EMULATOR}",
            hint="choose another image",
        )
    if not UBOOT.is_file():
        raise InfrastructureError(f"there is no U-Boot in {UBOOT}", hint="on Debian: apt-get install u-boot-qemu")
    bare = replace(
        image,
        manifest=image.manifest.model_copy(
            update={"machine": machine.model_copy(update={"arguments": _without_files(machine.arguments), "load": ()})}
        ),
    )
    return [
        *bare.command(),
        *("-bios", str(UBOOT)),
        *("-display", "none", "-no-user-config", "-nodefaults"),
        *("-netdev", f"user,id=hil-net,restrict=on,tftp={quoted(tftp)}"),
        *("-device", "virtio-net-pci,netdev=hil-net,romfile="),
        *("-chardev", f"socket,id=hil-console,path={quoted(serial)}", "-serial", "chardev:hil-console"),
    ]


def _without_files(arguments: tuple[str, ...]) -> tuple[str, ...]:
    kept: list[str] = []
    words = iter(arguments)
    for word in words:
        if word in _LOADED:
            next(words, None)
        else:
            kept.append(word)
    return tuple(kept)
