"""Leaks of this process: resources that a fault made the framework keep."""

from __future__ import annotations

import gc
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

SETTLE = 3.0  # seconds for threads and processes that are ending


def open_resources() -> dict[str, int]:
    """Return the numbers of file descriptors, threads and child processes of this process, garbage aside."""
    gc.collect()
    pid = os.getpid()
    children: list[str] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread has ended meanwhile
            children += task.read_text().split()
    return {
        "file descriptors": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "threads": threading.active_count(),
        "child processes": len(children),
    }


def leaked(before: dict[str, int]) -> str:
    """Return the resources that were not open `before` and stay open for `SETTLE` seconds; empty for none."""
    deadline = time.monotonic() + SETTLE
    while True:
        more = {name: count - before[name] for name, count in open_resources().items() if count > before[name]}
        if not more or time.monotonic() > deadline:
            return ", ".join(f"{count} {name}" for name, count in more.items())
        time.sleep(0.05)
