"""Samples that are too large for the tree: built on first use by their language's toolchain, then kept in the cache."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from hil.errors import ConfigurationError, MissingToolchain
from hil.host import progress
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.host.locks import lock_within

NEEDED = 512 * MIB  # for the scratch files of a compiler
BUILD_LIMIT = 1000.0  # seconds; wasm_samples/build has shorter limits of its own
MISSING = 2  # its exit status for a missing toolchain


def built(directory: Path, file: str, source: str, language: str) -> Path:
    """Return the module `file` of the samples in `directory`, built from `source` if the cache does not hold it.

    The cache distinguishes sources, scripts of the language and versions of its toolchain. Raises `MissingToolchain`
    with the missing packages, `ConfigurationError` for a source that does not compile.
    """
    versions = _build(directory, language, "--versions")
    parts = [directory / source, *sorted(path for path in (directory / "languages" / language).rglob("*"))]
    digest = hashlib.sha256(versions.encode())
    for path in parts:
        if path.is_file():
            digest.update(f"\0{path.name}\0".encode() + path.read_bytes())
    cached = cache_root() / "samples" / digest.hexdigest()[:16] / file
    if cached.is_file():
        return cached
    with disk(cached.parent, NEEDED), (cached.parent / "lock").open("w") as lock:
        lock_within(lock, BUILD_LIMIT, lambda: progress.current().step(f"waiting for another build of {file}"))
        if not cached.is_file():
            with tempfile.TemporaryDirectory(dir=cached.parent) as scratch, progress.timed(f"building {file}"):
                _build(directory, language, "--into", scratch)
                (Path(scratch) / file).replace(cached)
    return cached


def _build(directory: Path, language: str, *options: str) -> str:
    """Run the samples' `build` for `language` and return its output."""
    command = [sys.executable, str(directory / "build"), language, *options]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=BUILD_LIMIT
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{language}: {command[1]} did not end within {BUILD_LIMIT:g} s") from error
    if done.returncode == 0:
        return done.stdout
    reason = done.stderr.strip().removeprefix(f"wasm_samples/build: {language}: ")
    if done.returncode == MISSING:
        raise MissingToolchain(
            f"the toolchain of {language} is not at hand: {reason}",
            hint=f"Install it; `wasm_samples/build {language} --into DIR` shows whether it is complete.",
        )
    raise ConfigurationError(f"cannot build the samples in {language}: {reason}")
