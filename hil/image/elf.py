"""The check that a file is a whole ELF executable for a machine."""

from __future__ import annotations

import struct
from pathlib import Path

from hil.errors import ConfigurationError

MAGIC = b"\x7fELF"
EMULATORS = {"qemu-system-aarch64": (64, 183), "qemu-system-arm": (32, 40)}
"""Bits and ELF machine number that each emulator boots."""

_MACHINES = {3: "x86", 40: "arm", 62: "x86-64", 183: "aarch64", 243: "RISC-V"}
_EXECUTABLE, _LOADED = 2, 1


# header: type, machine, offsets of programs and sections, then size and count of a program's and of a section's header;
# a program's header: type, offset and size in the file
_LAYOUTS = {
    32: ("<HH8xII6xHHHH2x", "<II8xI12x"),
    64: ("<HH12xQQ6xHHHH2x", "<I4xQ16xQ16x"),
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
        whole, program = map(struct.Struct, _LAYOUTS[bits])
        header = file.read(whole.size)
        if len(header) < whole.size:
            raise cut
        kind, found, programs, sections, length, count, section, number = whole.unpack(header)
        if (bits, found) != (required, machine):
            name = _MACHINES.get(found, f"machine {found}")
            raise refused(f"an ELF file for {name}, {bits} bits; {emulator} needs {_MACHINES[machine]}, {required}")
        if kind != _EXECUTABLE or not count or length != program.size:
            raise refused("an ELF file, but not an executable")
        if max(programs, sections + section * number) > size:
            raise cut
        file.seek(programs)
        data = file.read(length * count)
        if len(data) < length * count:
            raise cut
        segments = list(program.iter_unpack(data))
        if any(offset + in_file > size for _, offset, in_file in segments):
            raise cut
        if all(segment != _LOADED for segment, _, _ in segments):
            raise refused("an ELF file, but it loads nothing")
