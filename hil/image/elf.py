"""The check that a file is a whole ELF executable for a machine."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from hil.errors import ConfigurationError

MAGIC = b"\x7fELF"
EMULATORS = {"qemu-system-aarch64": (64, 183), "qemu-system-arm": (32, 40)}
"""Bits and ELF machine number that each emulator boots."""

_MACHINES = {3: "x86", 40: "arm", 62: "x86-64", 183: "aarch64", 243: "RISC-V"}
_EXECUTABLE, _LOADED = 2, 1


class _Layout(NamedTuple):
    header: str  # entry, programs, sections, flags, size, (size, count) of programs, (size, count) of sections, names
    program: str  # of one program header: its type, offset and size in the file, in this order after `pick`
    pick: tuple[int, int, int]


_LAYOUTS = {
    32: _Layout("<HHIIIIIHHHHHH", "<IIIIIIII", (0, 1, 4)),
    64: _Layout("<HHIQQQIHHHHHH", "<IIQQQQQQ", (0, 2, 5)),
}


def check(path: Path, emulator: str, where: str) -> None:
    """Check that `path` is a whole executable for `emulator`'s machine; `where` names it in errors.

    Raises `ConfigurationError`.
    """

    def refused(reason: str, hint: str = "provide an image that was built for this machine") -> ConfigurationError:
        return ConfigurationError(f"{where}: {reason}", hint=hint)

    if emulator not in EMULATORS:
        raise refused(f"images of {emulator} are not supported", f"use one of {', '.join(EMULATORS)}")
    required, machine = EMULATORS[emulator]
    cut = refused("it ends before its contents do: the file is incomplete", "build or fetch it again")
    size = path.stat().st_size
    with path.open("rb") as file:
        identity = file.read(16)
        if identity[:4] != MAGIC:
            raise refused(f"not an ELF file: it starts with {identity[:4].hex(' ') or 'nothing'}")
        if len(identity) < 16:
            raise cut
        bits = {1: 32, 2: 64}.get(identity[4], 0)
        if identity[5] != 1 or bits not in _LAYOUTS:
            raise refused("not a little-endian ELF file of 32 or 64 bits")
        layout = _LAYOUTS[bits]
        header = file.read(struct.calcsize(layout.header))
        if len(header) < struct.calcsize(layout.header):
            raise cut
        (kind, found, _, _, programs, sections, _, _, length, count, section, number, _) = struct.unpack(
            layout.header, header
        )
        if (bits, found) != (required, machine):
            name = _MACHINES.get(found, f"machine {found}")
            raise refused(f"an ELF file for {name}, {bits} bits; {emulator} needs {_MACHINES[machine]}, {required}")
        if kind != _EXECUTABLE or not count or length != struct.calcsize(layout.program):
            raise refused("an ELF file, but not an executable")
        if max(programs, sections + section * number) > size:
            raise cut
        file.seek(programs)
        loaded = 0
        for _ in range(count):
            data = file.read(length)
            if len(data) < length:
                raise cut
            fields = struct.unpack(layout.program, data)
            segment, offset, length_in_file = (fields[index] for index in layout.pick)
            if offset + length_in_file > size:
                raise cut
            loaded += segment == _LOADED
        if not loaded:
            raise refused("an ELF file, but it loads nothing")
