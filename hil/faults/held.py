"""What this process holds, to see whether a fault made the framework leak."""

from __future__ import annotations

import gc
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

SETTLE = 3.0  # seconds for threads and processes that are ending


def held() -> dict[str, int]:
    """How many file descriptors, threads and child processes this process has, garbage aside."""
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
    """What is held now and was not `before`; empty where there is nothing. What is ending gets time for it."""
    deadline = time.monotonic() + SETTLE
    while True:
        more = {what: count - before[what] for what, count in held().items() if count > before[what]}
        if not more or time.monotonic() > deadline:
            return ", ".join(f"{count} {what}" for what, count in more.items())
        time.sleep(0.05)
