# SPDX-License-Identifier: Apache-2.0
"""The samples that are built with Debian's rustc and clang directly: the toolchain and its commands."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from builder.shared import HERE, Failure, run

# Always Debian's: another rustc or clang earlier in PATH would give other bytes.
RUSTC, CLANG, LINKER = Path("/usr/bin/rustc"), Path("/usr/bin/clang"), Path("/usr/bin/wasm-ld")
TOOLS = {RUSTC: "rustc", CLANG: "clang", LINKER: "lld"}
PACKAGES = "rustc libstd-rust-dev-wasm32 clang lld wasi-libc libclang-rt-N-dev-wasm32"
RUST_LIBRARIES = Path("/usr/lib/rustlib")
RUST_TARGETS = ("wasm32-wasip1", "wasm32-wasi")  # the new and the old name of the same target

NOTHING = "/nonexistent"  # clang runs wasm-opt where binaryen is installed: the bytes would depend on it

RUST_LIBRARY = [
    "--edition=2021",
    "-Dwarnings",
    "-Copt-level=z",
    "-Cpanic=abort",
    "-Ccodegen-units=1",
    f"-Clinker={LINKER}",
    "-Clinker-flavor=wasm-ld",
]
RUST = [*RUST_LIBRARY, "-Clto=fat", "-Cstrip=symbols"]
BARE_TARGET = "wasm32-unknown-unknown"  # of samples without Rust's standard library
CRATE, CRATE_SOURCE = "hil_gpio", "../rust/hil-gpio/src/lib.rs"
# mvp: no instruction that an older runner might not know
C = [
    "--target=wasm32-wasi",
    f"-fuse-ld={LINKER}",
    "-mcpu=mvp",
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wl,--strip-all",
    "-I../include",
]
C_FULL = [*C, "-O2"]
C_TINY = [*C, "-Os", "-ffreestanding", "-fno-builtin", "-nostdlib", "-Wl,-z,stack-size=32768"]


def llvm_version(tool: Path) -> str:
    """The major version of Debian's LLVM that a tool in /usr/bin leads to, from its real path."""
    found = re.search(r"/llvm-(\d+)/", str(tool.resolve()))
    if not found:
        raise Failure(f"{tool} is {tool.resolve()}, which is not Debian's; install {PACKAGES}", 2)
    return found[1]


def rust_target() -> str:
    for target in RUST_TARGETS:
        if any((RUST_LIBRARIES / target / "lib").glob("libstd-*.rlib")):
            return target
    raise Failure(
        f"Rust's library for WebAssembly is missing below {RUST_LIBRARIES}\n  apt-get install libstd-rust-dev-wasm32", 2
    )


def toolchain() -> dict[str, str]:
    """The packages that decide about the bytes, with their versions; Failure names missing ones."""
    if not Path("/usr/bin/dpkg-query").exists():
        raise Failure(f"this is not Debian: the samples are built with its packages {PACKAGES}", 2)
    wanted = ["libstd-rust-dev-wasm32", "wasi-libc"]
    absent = [package for tool, package in TOOLS.items() if not tool.exists()]
    if RUSTC.exists():
        wanted.append("rustc")
    if CLANG.exists():
        clang = llvm_version(CLANG)
        wanted += [f"clang-{clang}", f"libclang-rt-{clang}-dev-wasm32"]
    if LINKER.exists():
        wanted.append(f"lld-{llvm_version(LINKER)}")
    versions: dict[str, str] = {}
    for package in wanted:
        try:
            shown = run(["/usr/bin/dpkg-query", "-W", "-f=${db:Status-Status} ${Version}\n", package], HERE)
        except Failure:
            shown = ""
        state, _, version = (shown.splitlines() or [""])[0].partition(" ")
        if state == "installed":
            versions[package] = version
        else:
            absent.append(package)
    if absent:
        raise Failure(
            f"missing: {', '.join(absent)}\n  apt-get install {' '.join(absent)}\n"
            f"  (all that is needed: {PACKAGES}, N being clang's version)",
            2,
        )
    return versions


def crate_commands(sample: dict[str, Any], to: Path, scratch: Path) -> list[list[str]]:
    """The commands that build the crate and a sample that uses it."""
    library = scratch / f"lib{CRATE}.rlib"
    target = f"--target={BARE_TARGET}"
    return [
        [
            str(RUSTC),
            *RUST_LIBRARY,
            target,
            "--crate-type=rlib",
            f"--crate-name={CRATE}",
            "-o",
            str(library),
            CRATE_SOURCE,
        ],
        [
            str(RUSTC),
            *RUST,
            target,
            f"--crate-name={sample['name']}",
            f"--extern={CRATE}={library}",
            "-o",
            str(to),
            sample["source"].removeprefix("src/"),
        ],
    ]


def commands_for(sample: dict[str, Any], to: Path, scratch: Path) -> list[list[str]]:
    return crate_commands(sample, to, scratch) if sample["build"] == "rust-crate" else [command_for(sample, to)]


def command_for(sample: dict[str, Any], to: Path) -> list[str]:
    # The source is named relative to the working directory, so that no path gets into the module.
    source = sample["source"].removeprefix("src/")
    match sample["build"]:
        case "rust":
            return [
                str(RUSTC),
                *RUST,
                f"--target={rust_target()}",
                f"--crate-name={sample['name']}",
                "-o",
                str(to),
                source,
            ]
        case "c":
            return [str(CLANG), *C_FULL, "-o", str(to), source]
        case "c-tiny":
            return [str(CLANG), *C_TINY, "-o", str(to), source]
        case other:
            raise Failure(
                f"samples.toml: sample {sample['name']}: build = {other!r} is none of rust, rust-crate, c, c-tiny", 2
            )


def build(sample: dict[str, Any], module: Path) -> None:
    """Build the sample into the file `module`. Raises `Failure`."""
    with tempfile.TemporaryDirectory(prefix="wasm-samples-crate-") as scratch:
        for command in commands_for(sample, module, Path(scratch)):
            run(command, HERE / "src", module.parent, {"PATH": NOTHING})
