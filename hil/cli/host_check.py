"""The requirements of each purpose, checked on this machine."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hil import slow
from hil.errors import HilError
from hil.host import extras, packages, tools
from hil.host.packages import PURPOSES, Distribution, Tool

LIMIT = 20.0  # seconds, of one probe
PACKAGES = ("pytest", "labgrid", "pexpect", "qemu.qmp", "allure-pytest", "numpy", "pydantic")


@dataclass(frozen=True)
class Requirement:
    """One requirement: whether it is met, what was found, and what to do if it is not met.

    `package` is the system's package to install; empty for what the package manager cannot do.
    """

    name: str
    good: bool
    found: str
    remedy: str = ""
    package: str = ""


@dataclass(frozen=True)
class Purpose:
    """The requirements of a purpose, and the commands that install what is missing."""

    name: str
    title: str
    requirements: tuple[Requirement, ...]
    remedies: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether all requirements are met."""
        return all(requirement.good for requirement in self.requirements)

    @property
    def packages(self) -> list[str]:
        """The system's packages to install."""
        return [each.package for each in self.requirements if not each.good and each.package]


def run(names: Sequence[str] = ()) -> list[Purpose]:
    """Check what all purposes need, then the purposes `names`, all of them without names; never raises `HilError`."""
    system = packages.distribution()
    checked = [_purpose(system, "python", "Python and its packages", _python())]
    for name in names or PURPOSES:
        needed = [*_system(system, name), *_extra(name), *(_allure() if name == "report" else ())]
        if name == "emulate":
            needed += [*_images(), _priority()]
        checked.append(_purpose(system, name, PURPOSES[name], needed))
    return checked


def _purpose(system: Distribution, name: str, title: str, needed: Iterator[Requirement] | list[Requirement]) -> Purpose:
    requirements = tuple(needed)
    lacking = [requirement for requirement in requirements if not requirement.good]
    remedies = dict.fromkeys(requirement.remedy for requirement in lacking if not requirement.package)
    purpose = Purpose(name, title, requirements, tuple(remedies))
    return replace(purpose, remedies=(system.install(purpose.packages), *remedies)) if purpose.packages else purpose


def _python() -> Iterator[Requirement]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Requirement("Python", sys.version_info >= (3, 11), version, "use Python 3.11 or later")
    for package in PACKAGES:
        found = _installed(package)
        yield Requirement(package, bool(found), found or "not installed", f"pip install {package}")
    # labgrid's fork of pyserial is the package `serial`, as pyserial is, and the one installed last wins
    upstream, fork = _installed("pyserial"), _installed("pyserial-labgrid")
    found = f"pyserial-labgrid {fork or 'missing'}" + (f" beside pyserial {upstream}" if upstream else "")
    remedy = "pip uninstall pyserial, then pip install --force-reinstall pyserial-labgrid"
    yield Requirement("serial", bool(fork) and not upstream, found, remedy)


def _system(system: Distribution, purpose: str) -> Iterator[Requirement]:
    for tool in packages.TOOLS:
        if purpose not in tool.purposes or (tool.name in packages.COMPILING and not slow.lockstep.needs_compiler()):
            continue
        package = system.package(tool)
        remedy = "" if package else f"{tool.name}: {system.name} has no package of it that is known to work"
        found = _file(tool) if tool.files or tool.name == packages.LIBRARY else tools.find(tool.name) or ""
        if not found:
            yield Requirement(tool.name, False, "not found", remedy, package)
            continue
        if not tool.oldest:
            yield Requirement(tool.name, True, found)
            continue
        numbers = re.search(r"\d+(?:\.\d+)+", _output([found, "--version"]))
        version = tuple(map(int, numbers[0].split("."))) if numbers else ()
        needed = f"{tool.name}: install {'.'.join(map(str, tool.oldest))} or later"
        shown = f"{numbers[0] if numbers else 'version unknown'} ({found})"
        yield Requirement(tool.name, version >= tool.oldest, shown, needed)


def _file(tool: Tool) -> str:
    """Return the path of the file that `tool` is; empty if there is none."""
    if tool.name == packages.LIBRARY:
        # GCC prints the bare name of a file that it does not find
        found = _output(["aarch64-linux-gnu-gcc", "-print-file-name=libc.a"]).strip()
        return found if Path(found).is_absolute() else ""
    paths = [Path(file) for file in tool.files]
    if not all(path.is_absolute() for path in paths):
        directories = _output(["qemu-system-aarch64", "-L", "help"]).split()
        paths = [Path(directory) / path for directory in directories for path in paths]
    return next((str(path) for path in paths if path.is_file()), "")


def _extra(purpose: str) -> Iterator[Requirement]:
    lacking = extras.missing(purpose) if purpose in extras.EXTRAS else []
    for package in extras.EXTRAS.get(purpose, {}).values():
        found = _installed(package) or "installed"
        good = package not in lacking
        yield Requirement(package, good, found if good else "not installed", extras.command(purpose))


def _allure() -> Iterator[Requirement]:
    yield _try("allure", lambda: str(slow.generator.modules().parent))


def _images() -> Iterator[Requirement]:
    def state(name: str) -> str:
        return slow.image_store.state(slow.manifest.find(name))

    for name in slow.manifest.available():
        yield _try(f"image {name}", functools.partial(state, name))


def _priority() -> Requirement:
    """Report whether the console's reader may have real-time priority, which is optional."""
    try:
        policy = os.sched_getscheduler(0), os.sched_getparam(0)
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, *policy)
    except (OSError, AttributeError):
        return Requirement("real-time priority", True, "not permitted: stamps have longer tails on a loaded host")
    return Requirement("real-time priority", True, "permitted")


def _try(name: str, look: Callable[[], str]) -> Requirement:
    try:
        return Requirement(name, True, look())
    except HilError as error:
        return Requirement(name, False, error.message, error.hint or f"{name}: {error.message}")


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
