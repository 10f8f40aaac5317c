"""Encode the few protobuf messages of a trace.

See https://protobuf.dev/programming-guides/encoding/: a field is its number and wire type, then its value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VARINT, DOUBLE, BYTES = 0, 1, 2  # wire types
PADDED = 9  # bytes: 63 bits


def varint(number: int) -> bytes:
    """Return a number of 0 or more in groups of 7 bits, the lowest first; all but the last have the top bit set."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def tag(field: int, wire_type: int) -> bytes:
    return varint(field << 3 | wire_type)


def number(field: int, value: int) -> bytes:
    """Return a field with an integer, 0 or more, or an enum."""
    return tag(field, VARINT) + varint(value)


def message(field: int, content: bytes) -> bytes:
    """Return a field with an encoded message or with bytes."""
    return tag(field, BYTES) + varint(len(content)) + content


def text(field: int, value: str) -> bytes:
    return message(field, value.encode("utf-8", "backslashreplace"))


def padded_varints(numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Return a row of `PADDED` bytes for each number of 0 or more: a varint with leading zeros, as readers accept."""
    groups = numbers[:, None] >> np.arange(0, 7 * PADDED, 7, dtype=np.int64)
    rows: NDArray[np.uint8] = (groups & 0x7F).astype(np.uint8)
    rows[:, :-1] |= 0x80
    return rows


def doubles(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a row of 8 bytes for each value."""
    return np.ascontiguousarray(values, dtype="<f8").view(np.uint8).reshape(-1, 8)
