# SPDX-License-Identifier: Apache-2.0
"""What the builders of the samples share: errors, tools, facts about this system, files that appear whole."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
COMPILE_SECONDS = 180
CLEAN = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}  # no other toolchain earlier in PATH, no flags of the user


class Failure(Exception):
    """A failed step: a message for people, and the exit status for programs."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


def run(
    command: list[str],
    cwd: Path,
    scratch: Path | None = None,
    more: Mapping[str, str] | None = None,
    seconds: int = COMPILE_SECONDS,
) -> str:
    """Run a tool in a clean environment with `more` variables and return its output.

    Raises `Failure` with the tool's last lines. Status 2 of the tool, by which a language's `build` reports a missing
    toolchain, is the status of the failure.
    """
    environment = {**CLEAN, **(more or {}), "TMPDIR": str(scratch or "/tmp")}
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failure(f"{command[0]} did not end within {seconds} s: {' '.join(command)}") from None
    except OSError as error:
        raise Failure(f"cannot run {command[0]}: {error.strerror}", 2) from None
    lines = done.stderr.strip().splitlines()[-12:]
    if done.returncode == 2:
        raise Failure("\n".join(lines).removeprefix("build: "), 2)
    if done.returncode:
        tail = "\n".join(f"  {line}" for line in lines)
        raise Failure(f"{' '.join(command)}\nfailed with status {done.returncode}:\n{tail}")
    return done.stdout


def system() -> str:
    """Return this system as samples.toml calls it, such as debian-12."""
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        lines = []
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return "-".join(fields.get(key, "unknown").strip('"') for key in ("ID", "VERSION_ID"))


def architecture() -> str:
    """Return this machine's architecture as Debian calls it, elsewhere as the kernel does."""
    dpkg = "/usr/bin/dpkg"
    return run([dpkg, "--print-architecture"], HERE).strip() if Path(dpkg).exists() else platform.machine()


def replace(path: Path, content: bytes) -> None:
    """Put a file in place in one step, or leave the old one."""
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(content)
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
