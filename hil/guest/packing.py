"""Files packed for the line: as they are, by gzip or by xz, whichever is in the guest soonest."""

from __future__ import annotations

import functools
import gzip
import lzma
import zlib
from dataclasses import dataclass

PLAIN = "cat"
SAMPLE = 16 << 10  # bytes from the middle of a file that show whether it can be compressed
WORTH = 0.97  # of the size of a file, from which on it is sent as it is
# bytes per second of the file, for BusyBox in an emulated guest: 47 and 106 instructions a byte at 200 million
# instructions per second. A real board is faster, but its line is slower
GUNZIP, UNXZ = 4e6, 1.9e6
KEPT = 4 << 20  # bytes of a file whose packed forms are kept: each fresh board needs them again


@dataclass(frozen=True)
class Packed:
    """The bytes to send, and the command that unpacks them in the guest."""

    data: bytes
    unpack: str

    @property
    def plain(self) -> bool:
        """Whether the bytes are those of the file."""
        return self.unpack == PLAIN


def pack(data: bytes, *, xz: bool, rate: float | None) -> Packed:
    """Return `data` packed for a line of `rate` bytes per second; None is a slow one. `xz`: the guest unpacks it.

    The choice depends on nothing else: a run in virtual time repeats.
    """
    plain = Packed(data, PLAIN)
    start = max(0, (len(data) - SAMPLE) // 2)
    sample = data[start : start + SAMPLE]
    if len(zlib.compress(sample, 1)) >= WORTH * len(sample):
        return plain
    slow = rate or 1.0
    choices = [(len(data) / slow, plain)]
    zipped = _gzip(data)
    choices.append((len(zipped) / slow + len(data) / GUNZIP, Packed(zipped, "gunzip")))
    if xz:
        packed = _xz(data)
        choices.append((len(packed) / slow + len(data) / UNXZ, Packed(packed, "unxz")))
    return min(choices, key=lambda choice: choice[0])[1]


def _gzip(data: bytes) -> bytes:
    return _kept_gzip(data) if len(data) <= KEPT else _kept_gzip.__wrapped__(data)


def _xz(data: bytes) -> bytes:
    return _kept_xz(data) if len(data) <= KEPT else _kept_xz.__wrapped__(data)


@functools.lru_cache(maxsize=8)
def _kept_gzip(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


@functools.lru_cache(maxsize=8)
def _kept_xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32, preset=6)  # BusyBox unpacks it in 8 MiB of memory
