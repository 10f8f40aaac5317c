"""Processes of pytest that begin with its imports done."""

from __future__ import annotations

import multiprocessing
import os
import select
import sys
import time
from collections.abc import Sequence
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from limits import HANG, WITH_LABGRID

ROOT = Path(__file__).resolve().parents[2]
LOAD = [] if any(point.value == "hil.plugin" for point in entry_points(group="pytest11")) else ["-p", "hil.plugin"]
"""The options that load the plugin where it is not installed."""
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(
    [
        "pytest",
        "allure_pytest.plugin",
        "labgrid.pytestplugin",
        "hil.labgrid",
        "hil.measure.measure",
        "hil.history.ingest",
    ]
)


class PytestProcess:
    """A process as of `python -m pytest` in `directory`, which leads a session of its own; `terminal` is its output."""

    def __init__(
        self, directory: Path, *arguments: str, env: dict[str, str | None] | None = None, terminal: bool = False
    ) -> None:
        """None in `env` takes a variable away; labgrid's plugin is loaded, whose import is done."""
        self._output, end = map(Connection, os.openpty()) if terminal else FORKING.Pipe(duplex=False)
        given = os.environ | WITH_LABGRID | {"PYTHONPATH": str(ROOT)} | (env or {})
        environment = {name: value for name, value in given.items() if value is not None}
        self._process = FORKING.Process(target=_main, args=(str(directory), arguments, environment, end), daemon=True)
        self._process.start()
        end.close()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def finish(self) -> str:
        """Wait until it and those that it started end, and return what they printed; kill it if it hangs."""
        output = b""
        deadline = time.monotonic() + HANG
        while select.select([self._output], [], [], max(0, deadline - time.monotonic()))[0]:
            try:
                data = os.read(self._output.fileno(), 65536)
            except OSError:  # the end of a terminal
                data = b""
            if not data:
                self._process.join()
                break
            output += data
        else:
            self._process.kill()
        return output.decode("utf-8", "replace")


def _main(directory: str, arguments: Sequence[str], environment: dict[str, str], output: Connection) -> None:
    os.setsid()
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [directory, *environment["PYTHONPATH"].split(os.pathsep)]
    sys.exit(pytest.main([*arguments]))
