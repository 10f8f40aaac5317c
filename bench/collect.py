"""How long pytest needs to start and collect the suites, beside pytest without any of our suites."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]


def seconds(*arguments: str) -> float:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, env=env, check=False, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


def main(rounds: int) -> None:
    bare = statistics.median(seconds("--version") for _ in range(rounds))
    suites = statistics.median(seconds("suites") for _ in range(rounds))
    print(f"pytest and its plugins alone {bare:.2f} s, collecting the suites {suites:.2f} s (bound 1.5 s)")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
