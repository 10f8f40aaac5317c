"""Build hook of the wheel: adds the compiled preload library of virtual time, the compiled probe, and the tag.

The machine is that of this host, or `HIL_WHEEL_MACHINE` (x86_64, aarch64) with a cross compiler of that name. What this
host has no compiler for is left out, and compiled on first use; without the library the wheel is for any platform.
"""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY, LIBRARY_SOURCES = Path("hil/qemu/lockstep.py"), Path("hil/qemu/preload")
PROBE = Path("hil/measure/probe.py")
MACHINES = ("x86_64", "aarch64")
LIMIT = 120  # seconds


class CompilingHook(BuildHookInterface[Any]):
    """Compiles `hil/qemu/preload` and `hil/measure/probe.c` into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library, the probe and the tag to a wheel; an editable one compiles on first use."""
        machine = os.environ.get("HIL_WHEEL_MACHINE", platform.machine())
        if version == "editable" or machine not in MACHINES or platform.system() != "Linux":
            return
        self._directory = tempfile.TemporaryDirectory()
        native = machine == platform.machine()
        compiler = shutil.which("cc" if native else f"{machine}-linux-gnu-gcc")
        if compiler is None and not native:
            raise SystemExit(f"there is no cross compiler {machine}-linux-gnu-gcc")
        if compiler is not None:
            name, sources = f"lockstep-{machine}.so", sorted(Path(self.root, LIBRARY_SOURCES).glob("*.c"))
            made = self._compile(compiler, LIBRARY, sources, name, "-Wl,--build-id=none")
            build_data["force_include"][str(made)] = str(LIBRARY_SOURCES / name)
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-manylinux_2_{_glibc(made)}_{machine}"
        if (compiler := shutil.which("aarch64-linux-gnu-gcc")) is not None:
            made = self._compile(compiler, PROBE, [PROBE.with_suffix(".c")], "probe-aarch64", "-Iimages/reference")
            build_data["force_include"][str(made)] = str(PROBE.with_name(made.name))

    def _compile(self, compiler: str, module: Path, sources: Sequence[Path], name: str, *options: str) -> Path:
        """Compile `sources` with the flags that `module` uses."""
        made = Path(self._directory.name) / name
        flags = _constant(Path(self.root, module), "FLAGS")
        # names relative to the root, which keep paths of this host out of the file
        names = [os.path.relpath(Path(self.root, source), self.root) for source in sources]
        command = [compiler, *flags, *options, "-o", str(made), *names]
        subprocess.run(command, check=True, timeout=LIMIT, cwd=self.root)
        return made

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what was compiled."""
        if hasattr(self, "_directory"):
            self._directory.cleanup()


def _constant(module: Path, name: str) -> Any:
    """Return the constant `name` of a module that cannot be imported here."""
    for node in ast.parse(module.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return eval(compile(ast.Expression(node.value), str(module), "eval"), {"__builtins__": {}})
    raise SystemExit(f"{module} has no {name}")


def _glibc(library: Path) -> int:
    """Return the minor number of the newest glibc 2.x whose symbols the library needs; at least 17, as manylinux."""
    return max(17, *(int(number) for number in re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())))
