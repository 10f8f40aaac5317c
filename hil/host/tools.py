"""Programs that are installed beside the framework: where they are, how to install them, bounded runs."""

from __future__ import annotations

import errno
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hil.errors import InfrastructureError
from hil.host import packages, processes
from hil.host.digests import Identity

_log = logging.getLogger(__name__)
_TAIL = 15  # lines of output in an error
_GRACE = 10.0  # seconds between SIGTERM and SIGKILL


def find(tool: str) -> str | None:
    """Return the path of `tool`, also in the directories of the system's services; None if it is missing."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def install_hint(*tools: str) -> str:
    """Return the command that installs `tools`, names in the table of `hil.host.packages`, on this machine."""
    system = packages.distribution()
    found = {name: system.package(known) if (known := packages.tool(name)) else name for name in tools}
    if lacking := [name for name, package in found.items() if not package]:
        return f"{system.name} has no package of {', '.join(lacking)} that is known to work"
    return system.install(found.values())


def missing(tool: str) -> InfrastructureError:
    """Return the error for a `tool` that is not installed."""
    return InfrastructureError(f"the tool {tool} is not installed", hint=install_hint(Path(tool).name))


def version(tool: str) -> str:
    """Return the first line of `TOOL --version`; a file that is unchanged is run once a process."""
    if (path := shutil.which(tool)) is None:
        raise missing(tool)
    with Path(path).open("rb") as file:
        identity = Identity.of(file.fileno())
    if (known := _versions.get((path, identity))) is not None:
        return known
    found = _version(tool)
    if identity.settled:
        _versions[path, identity] = found
    return found


_versions: dict[tuple[str, Identity], str] = {}


def _version(tool: str) -> str:
    lines = run([tool, "--version"], limit=30).splitlines()
    # lz4 underlines its name with terminal codes
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[0]).strip() if lines else "unknown"


def run(
    command: Sequence[str],
    *,
    limit: float,
    directory: Path | None = None,
    data: bytes | None = None,
    environment: dict[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
) -> str:
    """Run `command` for at most `limit` seconds and return its output (both streams).

    `data` is its standard input, `environment` extends this process' environment, `on_line` is called with each
    line at once. The command and its children end with this function, also after an exception. Raises
    `InfrastructureError` for a tool that is missing, fails or exceeds `limit`; `OSError` for a full disk.
    """
    tool = command[0]
    if shutil.which(tool) is None:
        raise missing(tool)
    process = subprocess.Popen(
        processes.tied(command),
        cwd=directory,
        env={**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0", **(environment or {})},
        stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    begin = time.monotonic()
    deadline = begin + limit
    alarm = threading.Timer(limit, processes.signal_group, (process.pid, signal.SIGTERM))
    alarm.daemon = True
    try:
        alarm.start()  # waits for its thread: Ctrl-C may come here
        if process.stdin and data is not None:
            # no deadlock: the tools read a small input completely before they write
            with process.stdin:
                process.stdin.write(data)
        for raw in process.stdout:
            lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
            if on_line:
                on_line(lines[-1])
        status = process.wait()
    except BrokenPipeError:
        status = process.wait()
    finally:
        alarm.cancel()
        processes.end_group(process, _GRACE)
        process.stdout.close()
        log_command(command, begin)
    if time.monotonic() > deadline:
        raise InfrastructureError(f"{tool} did not end within {limit:g} s{_last(lines)}", hint="try again")
    if status:
        text = "\n".join(lines)
        if re.search(r"No space left on device|Disk quota exceeded|enough free space", text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tool)
        no_library = re.search(r"\.h: No such file|cannot find (-lc\b|crt1\.o)", text)
        hint = install_hint(packages.HEADERS if tool == "cc" else packages.LIBRARY) if no_library else None
        raise InfrastructureError(f"{tool} failed with status {status}{_last(lines)}", hint=hint)
    return "\n".join(lines)


def log_command(command: Sequence[str], begin: float) -> None:
    """Log a command that has run since `begin` of the monotonic clock; less prominently one that asks for a version."""
    level = logging.DEBUG if command[-1] == "--version" else logging.INFO
    _log.log(level, "%s: %.1f s", shlex.join(command), time.monotonic() - begin)


def _last(lines: list[str]) -> str:
    return ":\n" + "\n".join(f"  | {line}" for line in lines[-_TAIL:]) if lines else " and printed nothing"
