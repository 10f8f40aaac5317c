"""The pages of a machine's memory that differ from those of a snapshot, as a part of the machine's state.

QEMU's state without memory (`x-ignore-shared`) has a RAM section that holds no pages. Pages put behind its first record
are what QEMU's own migration sends in each round: a restored machine, which maps the snapshot's memory privately, takes
them on top of it. The format is that of `migration/ram.c` and `migration/savevm.c`; numbers are big-endian.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator

from hil.errors import InfrastructureError
from hil.host import digests
from hil.host.digests import BLOCK

PAGE = 4096
SECTION_START, SECTION_PART, SECTION_FOOTER = 1, 2, 0x7E
RAM = b"\x03ram" + struct.pack(">II", 0, 4)  # name, instance and version of the section
ZERO, MEMORY_SIZE, WHOLE, END, SAME_BLOCK = 0x02, 0x04, 0x08, 0x10, 0x20  # flags in the low bits of an address
BACKEND = "hil-memory"  # the id of the memory backend, at the end of the block's name


def with_changes(state: bytes, before: int, now: int) -> bytes:
    """Return `state` with all pages of the open memory `now` that differ from those of the open file `before`.

    Raises `InfrastructureError` for a state of an unknown format, `OSError`.
    """
    section, block, at = _ram_section(state)
    pages, named = bytearray(), False
    for offset, page in changes(before, now):
        pages += struct.pack(">Q", offset | (WHOLE if page else ZERO) | (SAME_BLOCK if named else 0))
        if not named:
            pages += bytes([len(block)]) + block
            named = True
        pages += page or b"\0"
    part = struct.pack(">BI", SECTION_PART, section) + pages + struct.pack(">QBI", END, SECTION_FOOTER, section)
    return state[:at] + part + state[at:]


def changes(before: int, now: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and contents of each page of `now` that differs from `before`; no bytes for a page of zeros."""
    nothing, seen = bytes(PAGE), set()
    for at, block in digests.blocks(now):
        seen.add(at)
        old = os.pread(before, BLOCK, at)
        if block == old:
            continue
        for start in range(0, len(block), PAGE):
            page = bytes(block[start : start + PAGE])
            if page != old[start : start + PAGE]:
                yield at + start, b"" if page == nothing else page
    for at, block in digests.blocks(before):
        if at in seen:
            continue
        for start in range(0, len(block), PAGE):
            if block[start : start + PAGE] != nothing:
                yield at + start, b""


def _ram_section(state: bytes) -> tuple[int, bytes, int]:
    """Return the number of the RAM section, the name of the block of `BACKEND`, and where the first record ends."""
    try:
        at = state.index(RAM) - 5
        kind, section = struct.unpack_from(">BI", state, at)
        (total,) = struct.unpack_from(">Q", state, at := at + 5 + len(RAM))
        left, name = total & -PAGE, b""
        at += 8
        while left > 0:
            length = state[at]
            block = state[at + 1 : at + 1 + length]
            size, _address = struct.unpack_from(">QQ", state, at := at + 1 + length)
            at, left = at + 16, left - size
            if block.decode().rpartition("/")[2] == BACKEND:
                name = block
        end = struct.unpack_from(">QBI", state, at)
        flags = total & (PAGE - 1)
        if name and (kind, flags, left, *end) == (SECTION_START, MEMORY_SIZE, 0, END, SECTION_FOOTER, section):
            return section, name, at + 13
    except (ValueError, struct.error, IndexError):
        pass
    raise InfrastructureError(
        "the machine's state has another format than that of QEMU 7.2; no page can be added to it"
    )
