"""The processes of a lab, recognised by a mark in their environment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hil.errors import InfrastructureError
from hil.host.processes import Process

MARK = "HIL_LAB"
"""The environment variable that all processes of a lab have; its value is the lab's directory."""

DEATH_LIMIT = 10.0  # seconds for killed processes to be gone (a QEMU unmaps some GB)


def marked(directory: Path) -> Iterator[Process]:
    """Yield all processes of the lab in `directory`, whatever their parents, except this one."""
    mark = f"{MARK}={directory}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        process = Process.of(int(entry.name))
        with suppress(OSError):  # it has ended, or it is another user's
            if process and mark in (entry / "environ").read_bytes().split(b"\0") and process.alive:
                yield process


def sweep(directory: Path) -> int:
    """Kill all processes of the lab in `directory`, and return their number.

    Raises `InfrastructureError` if some do not end within `DEATH_LIMIT` seconds.
    """
    limit = time.monotonic() + DEATH_LIMIT
    seen: set[Process] = set()
    while found := set(marked(directory)):
        seen |= found
        for process in found:
            process.kill()
        if stubborn := [process for process in found if not process.wait(limit - time.monotonic())]:
            pids = ", ".join(str(process.pid) for process in stubborn)
            raise InfrastructureError(
                f"processes of the lab in {directory} do not end: {pids}",
                hint="see why with ps, and try again",
            )
    return len(seen)
