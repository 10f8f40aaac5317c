"""Ahead-of-time compilation for an image: with WasmEdge's compiler from the image's packages, under user emulation.

Compiled modules are kept in the cache by module, libraries and options. One process compiles a module; others that need
the same one wait for it. A killed process leaves nothing that a later one takes for a compiled module.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.locks import lock_within
from hil.host.progress import current
from hil.image import packages
from hil.image.packages import Packages
from hil.image.recipe import SOURCES
from hil.image.store import Image, command_for

_log = logging.getLogger(__name__)

LIMIT = 3600.0  # seconds for one module: some ten for 30 KB of WebAssembly, minutes for 1 MB
KEPT = 512 * MIB
"""The size in bytes of all compiled modules in the cache; those used last stay."""

PROGRAM = "compile.c"
FLAGS = ("-Os", "-std=gnu11", "-Wall", "-Wextra", "-s", "-Wl,--build-id=none")
OPTIONS = (
    "--generic-binary",  # for any CPU of the architecture: the same bytes on every host
    "--optimize",
    "2",
    # the proposals that the runner has switched on and the compiler has, see images/reference/worker.c
    *(f"--enable-{proposal}" for proposal in ("tail-call", "extended-const", "multi-memory", "threads")),
    "--enable-relaxed-simd",
)
# a model without pointer authentication, whose emulation takes three quarters of the time
_EMULATOR = () if platform.machine() == "aarch64" else ("qemu-aarch64", "-cpu", "cortex-a57")
_SLOTS = 16  # modules that are compiled at the same time on this machine, at most
_DIGEST = 32  # bytes of SHA-256 at the start of an entry
_NEEDED = 64 * MIB  # bytes of temporary space
_STAGE = re.compile(r"\[info\] (verify|optimize|codegen) start")
_REASON = re.compile(r"(?:\[[-\d:. ]+\] )?\[error\]\s*(.*)")


class Refused(ConfigurationError):
    """A module that the compiler does not take; the message has the compiler's reason."""


@dataclass(frozen=True)
class Compiler:
    """The compiler in the `libraries` of an image, with its `headers`.

    `key` (hexadecimal SHA-256) identifies all that decides the compiled code besides the module.
    """

    libraries: Path
    headers: Path
    key: str

    @classmethod
    def of(cls, parts: Packages) -> Compiler:
        """Return the compiler in the packages of an image."""
        facts = [_libraries(parts.digests), (SOURCES / PROGRAM).read_text("utf-8"), OPTIONS]
        key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return cls(parts.directory / "lib", parts.directory / "include", key)

    @property
    def link(self) -> tuple[str, ...]:
        """The options with which a program is linked to the libraries."""
        return f"-I{self.headers}", f"-L{self.libraries}", "-lwasmedge", "-Wl,--allow-shlib-undefined"


def compiler_of(image: Image) -> Compiler:
    """Return the compiler of the runtime in `image`.

    Raises `ConfigurationError` if the image is not made of packages, or if they are not on this machine.
    """
    name, needed = image.manifest.name, _libraries(image.record.get("package_digests", {}))
    if not needed:
        raise ConfigurationError(
            f"image {name} was not built from packages, so that the compiler of its runtime is not known",
            hint="Compile the module with the compiler of that runtime, and deploy the result.",
        )
    for directory in packages.kept():
        parts = packages.read(directory)
        if parts is not None and _libraries(parts.digests) == needed:
            return Compiler.of(parts)
    version = image.record.get("packages", {}).get("libwasmedge0", "unknown")
    raise ConfigurationError(
        f"the compiler of image {name} (libwasmedge0 {version}) is not on this machine: the image was "
        f"{image.provenance}, and its packages are not in the cache",
        hint=f"Build the image here, with its packages: {command_for(image.manifest)} --force",
    )


def kept(compiler: Compiler, data: bytes) -> bytes | None:
    """Return the module `data` with native code if it is in the cache, else None."""
    return _read(_entry(compiler, data))


def compile_module(compiler: Compiler, name: str, data: bytes, *, again: bool = False) -> bytes:
    """Return the module `data` with native code in a custom section, from the cache or compiled now.

    `name` is for progress and errors; with `again` the module is compiled anyway. Raises `Refused` for a module that
    the compiler does not take, `InfrastructureError` for a missing tool, a compiler that fails or takes longer than
    `LIMIT`, and the disk.
    """
    entry = _entry(compiler, data)
    directory = entry.parent
    if not again and (known := _read(entry)) is not None:
        return known
    with disk(directory, _NEEDED), _slot(directory, entry.name, name) as making:
        if not again and (known := _read(entry)) is not None:  # made by the process that had the slot before
            return known
        begin = time.monotonic()
        made = _run(compiler, name, data, making)
        _log.info("%s compiled to native code: %d bytes, %.1f s", name, len(made), time.monotonic() - begin)
        (making / "entry").write_bytes(hashlib.sha256(made).digest() + made)
        (making / "entry").rename(entry)
        _shrink(directory, entry)
    return made


def _libraries(digests: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the packages with libraries: WasmEdge's, LLVM's, those of C and C++."""
    return {name: digest for name, digest in digests.items() if name.startswith("lib")}


def _entry(compiler: Compiler, data: bytes) -> Path:
    return cache_root() / "compiled" / f"{compiler.key[:16]}-{hashlib.sha256(data).hexdigest()}"


def _read(entry: Path) -> bytes | None:
    """Return the compiled module of an entry; None if there is none or if it is damaged."""
    try:
        content = entry.read_bytes()
        os.utime(entry)  # those used last stay
    except OSError:
        return None
    made = content[_DIGEST:]
    return made if hashlib.sha256(made).digest() == content[:_DIGEST] else None


@contextmanager
def _slot(directory: Path, entry: str, name: str) -> Iterator[Path]:
    """Hold the slot of an entry, and give an empty directory that is removed afterwards.

    Raises `InfrastructureError` if another process holds it for twice `LIMIT`.
    """
    number = int(entry[-2:], 16) % _SLOTS
    making = directory / f"making-{number}"
    with (directory / f"lock-{number}").open("a") as lock:
        lock_within(lock, 2 * LIMIT, lambda: current().step(f"waiting for another process that compiles {name}"))
        shutil.rmtree(making, ignore_errors=True)  # left by a killed process: this one holds the lock
        making.mkdir(mode=0o700)
        try:
            yield making
        finally:
            shutil.rmtree(making, ignore_errors=True)


def _run(compiler: Compiler, name: str, data: bytes, making: Path) -> bytes:
    program, module, made = making / "compiler", making / "module.wasm", making / "native.wasm"
    display = current()
    display.step(f"compiling {name} to native code", limit=LIMIT)
    tools.run(
        ["aarch64-linux-gnu-gcc", *FLAGS, "-o", str(program), PROGRAM, *compiler.link], limit=120, directory=SOURCES
    )
    module.write_bytes(data)
    loader = [*_EMULATOR, str(compiler.libraries / "ld-linux-aarch64.so.1"), "--library-path", str(compiler.libraries)]
    lines: list[str] = []
    try:
        # the suffix of the output decides its format
        tools.run(
            [*loader, str(program), *OPTIONS, str(module), str(made)],
            limit=LIMIT,
            on_line=lambda line: _note(
                line, lines, lambda stage: display.step(f"compiling {name}: {stage}", limit=LIMIT)
            ),
        )
        return made.read_bytes()
    except InfrastructureError as error:
        if lines:
            raise Refused(f"the compiler refuses the module {name}: {'; '.join(lines)}") from error
        raise InfrastructureError(f"cannot compile the module {name}: {error.message}", hint=error.hint) from error


def _note(line: str, reasons: list[str], begin: Callable[[str], None]) -> None:
    """Report the stage that a line of the compiler begins; add an error to `reasons`."""
    if found := _STAGE.search(line):
        begin(found[1])
    elif (found := _REASON.match(line)) and found[1]:
        reasons.append(found[1])


def _shrink(directory: Path, newest: Path) -> None:
    """Remove the entries used least recently until the rest has at most `KEPT` bytes; never `newest`."""
    held = []
    for path in directory.glob("[0-9a-f]" * 16 + "-*"):
        with suppress(OSError):  # another process removes entries, too
            status = path.stat()
            held.append((status.st_mtime_ns, status.st_size, path))
    total = sum(size for _, size, _ in held)
    for _, size, path in sorted(held):
        if total <= KEPT:
            break
        if path != newest:
            path.unlink(missing_ok=True)
            total -= size
