"""A WebAssembly module: its bytes, digest, kind and imports."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hil.errors import ConfigurationError

MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"
CUSTOM, IMPORT = 0, 2  # section numbers, WebAssembly Core 2.0, 5.5.2
AOT_SECTION = "wasmedge"  # where WasmEdge's universal format keeps native code


@dataclass(frozen=True)
class Module:
    """A module and its static properties.

    `kind` is `interpreted` or `aot`; `imports` are `module.name`; `sha256` is hexadecimal. `source` is a path or a
    reference pinned by a digest; empty for a module made by a test.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    kind: str = "interpreted"
    imports: tuple[str, ...] = ()
    path: Path | None = None
    source: str = ""

    @classmethod
    def load(cls, path: Path) -> Module:
        """Read and check a file. Raises `ConfigurationError` for a file that no runtime takes."""
        if path.exists() and not path.is_file():  # a pipe would block, /dev/zero never end
            raise ConfigurationError(f"{path} is not a regular file", hint="Give the path of a .wasm file.")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigurationError(
                f"cannot read the module {path}: {error.strerror}", hint="Give the path of a .wasm file."
            ) from error
        return cls.of(path.name, data, str(path), path)

    @classmethod
    def of(cls, name: str, data: bytes, source: str, path: Path | None = None) -> Module:
        """Check the bytes of a module from `source`. Raises `ConfigurationError` as `load`."""
        try:
            kind, imports = _inspect(data)
        except ValueError as error:
            raise ConfigurationError(
                f"{source} is not a WebAssembly module: {error}",
                hint="Build it for a wasm32 target, or deploy it unchecked with Module.raw().",
            ) from error
        return cls(name, data, hashlib.sha256(data).hexdigest(), kind, imports, path, source)

    @classmethod
    def raw(cls, name: str, data: bytes) -> Module:
        """Return any bytes as a module, unchecked, for tests of the runner with bad modules."""
        return cls(name, data, hashlib.sha256(data).hexdigest())


def _inspect(data: bytes) -> tuple[str, tuple[str, ...]]:
    """Return kind and imports. Raises `ValueError` with the problem and its offset."""
    if not data:
        raise ValueError("it is empty")
    if data[:4] != MAGIC[: len(data[:4])] or len(data) < 4:
        raise ValueError(f"it starts with {data[:4]!r}, not with {MAGIC!r}")
    if len(data) < 8:
        raise ValueError(f"it is truncated after {len(data)} bytes")
    if data[4:8] == b"\x0d\0\1\0":
        raise ValueError("it is a component; the runner takes core modules only")
    if data[4:8] != VERSION:
        raise ValueError(f"it has format version {int.from_bytes(data[4:8], 'little')}, not 1")
    kind = "interpreted"
    imports: tuple[str, ...] = ()
    for number, start, end in _sections(data):
        if number == IMPORT:
            imports = tuple(_imports(data[start:end]))
        elif number == CUSTOM and _name(data, start, end)[0] == AOT_SECTION:
            kind = "aot"
    return kind, imports


def _sections(data: bytes) -> Iterator[tuple[int, int, int]]:
    at = 8
    while at < len(data):
        number = data[at]
        size, start = _unsigned(data, at + 1)
        if start + size > len(data):
            raise ValueError(
                f"it is truncated: section {number} at byte {at} needs {size} bytes, {len(data) - start} are left"
            )
        yield number, start, start + size
        at = start + size


def _imports(data: bytes) -> Iterator[str]:
    count, at = _unsigned(data, 0)
    for _ in range(count):
        module, at = _name(data, at, len(data))
        name, at = _name(data, at, len(data))
        yield f"{module}.{name}"
        at = _skip_description(data, at)


def _skip_description(data: bytes, at: int) -> int:
    if at >= len(data):
        raise ValueError("its import section is truncated")
    sort, at = data[at], at + 1
    if sort == 3:  # global: value type, mutability
        return at + 2
    if sort in (1, 2):  # table: element type and limits; memory: limits
        at += sort == 1
        if at >= len(data):
            raise ValueError("its import section is truncated")
        bounds = 2 if data[at] & 1 else 1
        at += 1
        for _ in range(bounds):
            at = _unsigned(data, at)[1]
        return at
    return _unsigned(data, at + (sort == 4))[1]  # function: type index; tag: attribute, type index


def _name(data: bytes, at: int, end: int) -> tuple[str, int]:
    size, at = _unsigned(data, at)
    if at + size > end:
        raise ValueError(f"a name at byte {at} reaches beyond its section")
    return data[at : at + size].decode("utf-8", "replace"), at + size


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Return a LEB128 number and the offset after it."""
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError(f"it is truncated in a number at byte {at}")
        value |= (data[at] & 0x7F) << shift
        if data[at] < 0x80:
            return value, at + 1
        at, shift = at + 1, shift + 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} is too long")
