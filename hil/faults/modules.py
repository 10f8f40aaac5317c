"""Small modules that misbehave, composed of bytes: no build, and an upload of some hundred bytes."""

from __future__ import annotations

import random

from hil.errors import ConfigurationError
from hil.wasm.module import MAGIC, VERSION, Module

GREETING = b"alive\n"
MIB = 1 << 20
HUGE_MIB = 20  # the seL4 image's runner survives 16 but not 24; compressed it is small on the line

_WRITE = b"\x41\x01\x41\x00\x41\x01\x41\x08\x10\x00\x1a"  # drop(fd_write(1, vectors at 0, 1 vector, count at 8))
_GROW = b"\x03\x40\x41\x10\x40\x00\x41\x7f\x47\x0d\x00\x0b"  # repeat until memory.grow(16) is refused
_ENDLESS = b"\x03\x40\x0c\x00\x0b"
_FLOOD = b"\x03\x40" + _WRITE + b"\x0c\x00\x0b"


def _number(value: int) -> bytes:
    """Return the unsigned LEB128 of `value`."""
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _section(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _number(len(body)) + body


def _name(text: str) -> bytes:
    return _number(len(text)) + text.encode()


def _program(body: bytes, text: bytes = GREETING) -> bytes:
    """Return a module whose `_start` is `body`; its memory holds `text` to write, and may grow."""
    types = b"\x02\x60\x00\x00\x60\x04\x7f\x7f\x7f\x7f\x01\x7f"  # () -> (); (i32, i32, i32, i32) -> i32
    imports = b"\x01" + _name("wasi_snapshot_preview1") + _name("fd_write") + b"\x00\x01"
    exports = b"\x02" + _name("_start") + b"\x00\x01" + _name("memory") + b"\x02\x00"
    code = b"\x00" + body + b"\x0b"
    vector = (16).to_bytes(4, "little") + len(text).to_bytes(4, "little") + bytes(8)
    data = vector + text
    return (
        MAGIC
        + VERSION
        + _section(1, types)
        + _section(2, imports)
        + _section(3, b"\x01\x00")
        + _section(5, b"\x01\x00\x01")
        + _section(7, exports)
        + _section(10, b"\x01" + _number(len(code)) + code)
        + _section(11, b"\x01\x00\x41\x00\x0b" + _number(len(data)) + data)
    )


_BODIES = {
    "greeting": _WRITE,
    "endless": _ENDLESS,
    "trapping": b"\x00",
    "allocating": _GROW,
    "recursing": b"\x10\x01",
    "flooding": _FLOOD,
}


def module(kind: str) -> Module:
    """Return the module of a `kind`: greeting (a good one), endless, trapping, allocating, recursing, flooding, huge.

    Raises `ConfigurationError` for another kind.
    """
    if kind == "huge":  # a good one after a custom section, which no runner reads
        good = _program(_WRITE)
        return Module.raw("huge.wasm", good[:8] + _section(0, _name("pad") + bytes(HUGE_MIB * MIB)) + good[8:])
    if kind not in _BODIES:
        raise ConfigurationError(f"there is no module {kind!r}", hint=f"the kinds are: {', '.join((*_BODIES, 'huge'))}")
    return Module.raw(f"{kind}.wasm", _program(_BODIES[kind]))


def malformed(chance: random.Random) -> tuple[Module, str]:
    """Return a good module that was damaged (cut, bytes changed, a part doubled) or random bytes, and the damage."""
    good = _program(_WRITE)
    way = chance.choice(("cut", "changed", "doubled", "random"))
    if way == "cut":
        size = chance.randrange(len(good))
        data, damage = good[:size], f"cut after {size} of {len(good)} bytes"
    elif way == "changed":
        places = sorted(chance.sample(range(8, len(good)), chance.randint(1, 8)))
        broken = bytearray(good)
        for place in places:
            broken[place] ^= chance.randint(1, 255)
        data, damage = bytes(broken), f"bytes changed at {', '.join(map(str, places))}"
    elif way == "doubled":
        start = chance.randrange(8, len(good))
        data, damage = good + good[start:], f"all from byte {start} on twice"
    else:
        data = chance.randbytes(chance.randint(1, 4096))
        damage = f"{len(data)} random bytes"
    return Module.raw("malformed.wasm", data), damage
