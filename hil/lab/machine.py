"""The emulated board of a lab: it starts with U-Boot alone, which loads the image over TFTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import packages, tools
from hil.image.options import quoted
from hil.image.store import Image

EMULATOR = "qemu-system-aarch64"
UBOOT = packages.located("U-Boot for QEMU")

_LOADED = {"-kernel", "-dtb", "-initrd", "-append", "-bios"}  # U-Boot does this instead


def command(image: Image, *, tftp: Path, serial: Path) -> list[str]:
    """Return QEMU's argv for the machine of `image`, with U-Boot in its flash and no file of the image in memory.

    The machine's network reaches only the files in the directory `tftp`, at the TFTP server that DHCP names. `serial`
    is a listening unix socket, to which the serial line connects.

    Raises `ConfigurationError` for an image U-Boot cannot start, `InfrastructureError` if U-Boot is not installed.
    """
    machine = image.manifest.machine
    if machine.emulator != EMULATOR:
        raise ConfigurationError(
            f"image {image.manifest.name} is for {machine.emulator}, but a lab's boards with U-Boot are {EMULATOR}",
            hint="choose another image",
        )
    if not UBOOT.is_file():
        raise InfrastructureError(f"there is no U-Boot in {UBOOT}", hint=tools.install_hint("U-Boot for QEMU"))
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
