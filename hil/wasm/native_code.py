"""Native code for a module from another one with the same code.

Modules that hold an interpreter and a script differ only in their data segments, which the compiler does not read.
"""

from __future__ import annotations

import io
from typing import BinaryIO

from hil.wasm.module import AOT_SECTION, CUSTOM, name_in, sections, unsigned

DATA = 11  # the number of the section, WebAssembly Core 2.0, 5.5.14
ACTIVE, PASSIVE, ACTIVE_IN = 0, 1, 2  # kinds of data segments, 5.5.14
END, GLOBAL_GET, I32_CONST, I64_CONST = 0x0B, 0x23, 0x41, 0x42
PLAIN = (0x6A, 0x6B, 0x6C, 0x7C, 0x7D, 0x7E)  # of the extended constant expressions


def without_data(module: bytes) -> bytes:
    """Return the module with empty data segments. Raises `ValueError` for data segments of an unknown form."""
    parts = [module[:8]]
    for number, section in sections(module):
        parts.append(_section(number, _emptied(section) if number == DATA else section))
    return b"".join(parts)


def with_native(module: bytes, compiled: bytes) -> bytes:
    """Return the module with the section of native code of `compiled`; unchanged if there is none."""
    custom = [section for number, section in sections(compiled) if number == CUSTOM]
    native = [section for section in custom if name_in(io.BytesIO(section)) == AOT_SECTION]
    return b"".join((module, *(_section(CUSTOM, section) for section in native)))


def _emptied(section: bytes) -> bytes:
    stream = io.BytesIO(section)
    count = unsigned(stream)
    parts = [leb128(count)]
    for _ in range(count):
        begin, kind = stream.tell(), unsigned(stream)
        if kind not in (ACTIVE, PASSIVE, ACTIVE_IN):
            raise ValueError(f"a data segment is of the unknown kind {kind}")
        if kind == ACTIVE_IN:
            unsigned(stream)
        if kind != PASSIVE:
            _skip_expression(stream)
        parts.append(section[begin : stream.tell()] + leb128(0))
        stream.seek(unsigned(stream), io.SEEK_CUR)
    return b"".join(parts)


def _skip_expression(stream: BinaryIO) -> None:
    while (code := stream.read(1)) != bytes((END,)):
        if not code or code[0] not in (GLOBAL_GET, I32_CONST, I64_CONST, *PLAIN):
            raise ValueError(f"a data segment begins with an unknown expression: {code.hex() or 'nothing'}")
        if code[0] not in PLAIN:
            while stream.read(1) >= b"\x80":  # signed or not: its last byte is smaller
                pass


def _section(number: int, content: bytes) -> bytes:
    return bytes((number,)) + leb128(len(content)) + content


def leb128(value: int) -> bytes:
    """Return an unsigned number as LEB128."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))
