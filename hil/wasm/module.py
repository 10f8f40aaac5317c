"""A WebAssembly module: its bytes, digest, kind and imports."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from hil.errors import ConfigurationError
from hil.text import printable_line

MAGIC = b"\0asm"
VERSION = b"\1\0\0\0"
CUSTOM, IMPORT = 0, 2  # section numbers, WebAssembly Core 2.0, 5.5.2
SYMBOLS = ("name", ".debug_")  # beginnings of the names of custom sections that no runner needs
AOT_SECTION = "wasmedge"  # where WasmEdge's universal format keeps native code
COMPONENT = b"\1\0"  # the layer, the last two bytes of the header of the component model
SYSTEMS = {1: "linux", 2: "macos", 3: "windows"}  # in that section, as the CPUs
CPUS = {1: "x86_64", 2: "aarch64", 3: "riscv64", 4: "arm"}


@dataclass(frozen=True)
class NativeCode:
    """For what a module was compiled: the number of the format, which follows the runtime's version, system and CPU."""

    format: int
    system: str
    cpu: str

    def __str__(self) -> str:
        return f"{self.system} {self.cpu}, format {self.format}"


@dataclass(frozen=True)
class Module:
    """A module and its static properties.

    `kind` is `interpreted` or `aot`; `imports` are `module.name`; `sha256` is hexadecimal. `source` is a path or a
    reference pinned by a digest; empty for a module made by a test. `pins` are the names of the pins, analogue channels
    and buses that the module may use. `ready` is the beginning of the line that it prints when it is ready, None if it
    prints no such line.

    `native` says for what a module with native code was compiled. `compiled_from` is the `sha256` of the module that
    the framework compiled to this one, empty for any other; `name` and `source` are then those of that module.
    """

    name: str
    data: bytes = field(repr=False)
    sha256: str
    kind: str = "interpreted"
    imports: tuple[str, ...] = ()
    path: Path | None = None
    source: str = ""
    pins: tuple[str, ...] = ()
    ready: str | None = None
    native: NativeCode | None = None
    compiled_from: str = ""

    @property
    def file(self) -> str:
        """The name of its file among an image's samples: `hello.aot.wasm` for `hello.wasm` compiled."""
        return f"{self.name.removesuffix('.wasm')}.aot.wasm" if self.compiled_from else self.name

    @classmethod
    def load(cls, path: Path | str) -> Module:
        """Read and check a file. Raises `ConfigurationError` for a file that no runtime takes."""
        path = Path(path)
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
        if data[:4] == MAGIC and data[6:8] == COMPONENT:
            raise ConfigurationError(
                f"{source} is a component; the runner takes core modules only",
                hint="Build a core module: in Rust for the target wasm32-wasip1, not wasm32-wasip2; with other tools "
                "leave out the step that makes a component of the module.",
            )
        try:
            imports, native = _inspect(data)
        except ValueError as error:
            raise ConfigurationError(
                f"{source} is not a WebAssembly module: {error}",
                hint="Build it for a wasm32 target, or deploy it unchecked with Module.raw().",
            ) from error
        kind = "aot" if native else "interpreted"
        return cls(name, data, hashlib.sha256(data).hexdigest(), kind, imports, path, source, native=native)

    @classmethod
    def raw(cls, name: str, data: bytes) -> Module:
        """Return any bytes as a module, unchecked, for tests of the runner with bad modules."""
        return cls(name, data, hashlib.sha256(data).hexdigest())


def symbols_size(data: bytes) -> int:
    """Return the size in bytes of the custom sections with names and debug information, 0 for what is no module."""
    if data[:8] != MAGIC + VERSION:
        return 0
    try:
        custom = [section for number, section in sections(data) if number == CUSTOM]
        return sum(len(section) for section in custom if name_in(io.BytesIO(section)).startswith(SYMBOLS))
    except ValueError:
        return 0


def subject_of(module: Module, words: Sequence[str]) -> str:
    """Return the module and its arguments as the subject of a series: `hello.aot.wasm` for `hello.wasm` compiled."""
    return printable_line(" ".join((module.file, *words)))


def call_of(module: Module, words: Sequence[str]) -> str:
    """Return the module and its arguments on one line."""
    return printable_line(" ".join((module.name, *words)))


def _inspect(data: bytes) -> tuple[tuple[str, ...], NativeCode | None]:
    """Return the imports, and for what it was compiled. Raises `ValueError` with the problem and its offset."""
    if not data:
        raise ValueError("it is empty")
    if data[:4] != MAGIC[: len(data[:4])] or len(data) < 4:
        raise ValueError(f"it starts with {data[:4]!r}, not with {MAGIC!r}")
    if len(data) < 8:
        raise ValueError(f"it is truncated after {len(data)} bytes")
    if data[4:8] != VERSION:
        raise ValueError(f"it has format version {int.from_bytes(data[4:8], 'little')}, not 1")
    imports, native = tuple[str, ...](), None
    for number, section in sections(data):
        stream = io.BytesIO(section)
        if number == IMPORT:
            imports = tuple(_imports(stream))
        elif number == CUSTOM and name_in(stream) == AOT_SECTION:
            native = _native(stream)
    return imports, native


def _native(section: BinaryIO) -> NativeCode:
    """Return the beginning of WasmEdge's section: the format's number, then a byte each for system and CPU."""
    form = unsigned(section)
    system, cpu = ((*section.read(2), 0, 0))[:2]
    return NativeCode(form, SYSTEMS.get(system, f"system {system}"), CPUS.get(cpu, f"CPU {cpu}"))


def sections(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the contents of each section. Raises `ValueError` for a truncated one."""
    stream = io.BytesIO(data)
    stream.seek(8)
    while number := stream.read(1):
        at, size = stream.tell() - 1, unsigned(stream)
        section = stream.read(size)
        if len(section) < size:
            raise ValueError(
                f"it is truncated: section {number[0]} at byte {at} needs {size} bytes, {len(section)} are left"
            )
        yield number[0], section


def _imports(section: BinaryIO) -> Iterator[str]:
    for _ in range(unsigned(section)):
        yield f"{name_in(section)}.{name_in(section)}"
        _skip_description(section)


def _skip_description(section: BinaryIO) -> None:
    sort = _byte(section)
    if sort == 3:  # global: value type, mutability
        section.read(2)
        return
    if sort in (1, 4):  # table: element type; tag: attribute
        section.read(1)
    # function and tag: type index; table and memory: limits, the second one if a flag is set
    for _ in range(2 if sort in (1, 2) and _byte(section) & 1 else 1):
        unsigned(section)


def _byte(section: BinaryIO) -> int:
    found = section.read(1)
    if not found:
        raise ValueError("its import section is truncated")
    return found[0]


def name_in(section: BinaryIO) -> str:
    size = unsigned(section)
    at, name = section.tell(), section.read(size)
    if len(name) < size:
        raise ValueError(f"a name at byte {at} reaches beyond its section")
    return name.decode("utf-8", "replace")


def unsigned(stream: BinaryIO) -> int:
    """Read a LEB128 number of at most 63 bits."""
    value = 0
    for shift in range(0, 63, 7):
        byte = stream.read(1)
        if not byte:
            raise ValueError(f"it is truncated in a number at byte {stream.tell()}")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError(f"a number at byte {stream.tell()} is too long")
