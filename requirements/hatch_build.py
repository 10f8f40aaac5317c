"""Build hook of the wheel: adds the compiled preload library of virtual time, and the platform's tag.

The machine is that of this host, or `HIL_WHEEL_MACHINE` (x86_64, aarch64) with a cross compiler of that name. Without
a compiler the wheel is for any platform, and the library is compiled on first use.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("hil/qemu/lockstep.c")
FLAGS = ("-shared", "-fPIC", "-O2", "-fvisibility=hidden", "-Wl,--build-id=none")
MACHINES = ("x86_64", "aarch64")
LIMIT = 120  # seconds


class LockstepHook(BuildHookInterface[Any]):
    """Compiles `hil/qemu/lockstep.c` into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the library and the tag to a wheel; an editable one compiles on first use."""
        machine = os.environ.get("HIL_WHEEL_MACHINE", platform.machine())
        native = machine == platform.machine()
        compiler = shutil.which("cc" if native else f"{machine}-linux-gnu-gcc")
        if version == "editable" or machine not in MACHINES or platform.system() != "Linux":
            return
        if compiler is None:
            if not native:
                raise SystemExit(f"there is no cross compiler {machine}-linux-gnu-gcc")
            return
        self._directory = tempfile.TemporaryDirectory()
        made = Path(self._directory.name) / f"lockstep-{machine}.so"
        command = [compiler, *FLAGS, "-o", str(made), SOURCE.name]
        subprocess.run(command, check=True, timeout=LIMIT, cwd=Path(self.root, SOURCE).parent)
        build_data["force_include"][str(made)] = str(SOURCE.with_name(made.name))
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-manylinux_2_{_glibc(made)}_{machine}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the compiled library."""
        if hasattr(self, "_directory"):
            self._directory.cleanup()


def _glibc(library: Path) -> int:
    """Return the minor number of the newest glibc 2.x whose symbols the library needs; at least 17, as manylinux."""
    return max(17, *(int(number) for number in re.findall(rb"GLIBC_2\.(\d+)", library.read_bytes())))
