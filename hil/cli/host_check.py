"""`hil doctor`: the requirements of this project, checked on this machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hil import slow
from hil.errors import HilError
from hil.host import tools

SETUP = "run ./bootstrap setup"
# command and the oldest version that works, where one is known
TOOLS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("qemu-system-aarch64", (7, 2)),
    *((tool, ()) for tool in ("mmdebstrap", "dtc", "lz4", "aarch64-linux-gnu-gcc", "qemu-aarch64", "cc")),
    *((tool, ()) for tool in ("sigrok-cli", "ser2net")),
)


@dataclass(frozen=True)
class Requirement:
    """One requirement: whether it is met, what was found, and what to do if it is not met."""

    name: str
    good: bool
    found: str
    remedy: str = ""


def run() -> list[Requirement]:
    """Check all requirements; never raises."""
    return [*_python(), *_tools(), _serial(), *_report(), *_images(), _priority()]


def _python() -> Iterator[Requirement]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Requirement("Python", sys.version_info >= (3, 11), version, "use Python 3.11 or later")
    for package in ("pytest", "labgrid", "pexpect", "qemu.qmp", "allure-pytest"):
        found = _installed(package)
        yield Requirement(package, True, found) if found else Requirement(package, False, "not installed", SETUP)


def _tools() -> Iterator[Requirement]:
    for command, oldest in TOOLS:
        path = tools.find(command)
        remedy = f"{tools.install_hint(command)}, or {SETUP}"
        if path is None:
            yield Requirement(command, False, "not in PATH", remedy)
            continue
        numbers = re.search(r"\d+(?:\.\d+)+", _output([path, "--version"]))
        found = tuple(map(int, numbers[0].split("."))) if numbers else ()
        good = not oldest or found >= oldest
        needed = f"install {'.'.join(map(str, oldest))} or later"
        yield Requirement(command, good, f"{numbers[0] if numbers else 'version unknown'} ({path})", needed)


def _serial() -> Requirement:
    """Check that labgrid's fork of pyserial is the `serial` package: both install it, and the last one wins."""
    upstream = _installed("pyserial")
    fork = _installed("pyserial-labgrid")
    good = fork is not None and upstream is None
    found = f"pyserial-labgrid {fork or 'missing'}" + (f" beside pyserial {upstream}" if upstream else "")
    return Requirement("serial", good, found, "pip uninstall pyserial, then reinstall pyserial-labgrid")


def _report() -> Iterator[Requirement]:

    yield _try("Node.js", lambda: _output([str(slow.report_build.node()), "--version"]).strip())
    command = slow.report_build.REPORTS_DIR / "node_modules" / "allure" / "cli.js"
    yield Requirement("allure", command.exists(), str(command) if command.exists() else "not installed", SETUP)


def _images() -> Iterator[Requirement]:

    def state(name: str) -> str:
        return slow.image_store.state(slow.manifest.find(name))

    for name in slow.manifest.available():
        yield _try(f"image {name}", state, name)


def _priority() -> Requirement:
    """Report whether the console's reader may have real-time priority, which is optional."""
    try:
        policy = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, *policy)
    except OSError:
        return Requirement("real-time priority", True, "not permitted: stamps have longer tails on a loaded host")
    return Requirement("real-time priority", True, "permitted")


def _try(name: str, look: Callable[..., str], *arguments: str) -> Requirement:
    try:
        return Requirement(name, True, look(*arguments))
    except HilError as error:
        return Requirement(name, False, error.message, error.hint or SETUP)


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
