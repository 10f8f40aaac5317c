"""The outside programs that a build needs, and the disk: bounded, and with errors that help."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hil.errors import InfrastructureError

DEBIAN_PACKAGES = {
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "aarch64-linux-gnu-readelf": "binutils-aarch64-linux-gnu",
    "dtc": "device-tree-compiler",
    "lz4": "lz4",
    "mmdebstrap": "mmdebstrap",
    "qemu-aarch64": "qemu-user",
}
"""Tools of the build and the Debian packages they are in."""

MIB = 1 << 20
_TAIL = 15
_LIBRARY = "libc6-dev-arm64-cross"  # the cross compiler only recommends it


def version(tool: str) -> str:
    """Return the first line of `TOOL --version`."""
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
    """Run `command` for at most `limit` seconds and return what it printed (both streams).

    `data` is its standard input, `environment` is added to ours, `on_line` sees each line as it comes.
    InfrastructureError says which tool is missing, failed or hung, with its last lines. Whatever ends
    this function ends the command and its children, too.
    """
    tool = command[0]
    if shutil.which(tool) is None:
        package = DEBIAN_PACKAGES.get(tool, tool)
        raise InfrastructureError(f"the tool {tool} is missing", hint=f"apt-get install {package}")
    process = subprocess.Popen(
        tied(command),
        cwd=directory,
        env={**os.environ, "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0", **(environment or {})},
        stdin=subprocess.PIPE if data is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[str] = []
    try:
        with _alarm(process, limit) as expired:
            if process.stdin and data is not None:
                # small inputs to tools that read all before they write: no dead lock
                with process.stdin:
                    process.stdin.write(data)
            assert process.stdout is not None
            for raw in process.stdout:
                lines.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
                if on_line:
                    on_line(lines[-1])
            status = process.wait()
    except BrokenPipeError:
        status = process.wait()
    finally:
        _end(process)
    if expired.is_set():
        raise InfrastructureError(f"{tool} did not end within {limit:g} s{_last(lines)}", hint="try again")
    if status:
        text = "\n".join(lines)
        if re.search(r"No space left on device|Disk quota exceeded|enough free space", text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), tool)
        no_library = re.search(r"\.h: No such file|cannot find (-lc\b|crt1\.o)", text)
        raise InfrastructureError(
            f"{tool} failed with status {status}{_last(lines)}",
            hint=f"apt-get install {_LIBRARY}" if no_library else None,
        )
    return "\n".join(lines)


def tied(command: Sequence[str]) -> list[str]:
    """The command so that it dies with who starts it, kill -9 included, where util-linux's setpriv is there."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--", *command] if setpriv else [*command]


@contextmanager
def disk(directory: Path, needed: int, variable: str = "XDG_CACHE_HOME") -> Iterator[None]:
    """Turn what the disk does to us below `directory`, above all being full, into an InfrastructureError.

    `needed` is the space in bytes that the work takes; it is looked for first. `variable` is the
    environment's that moves `directory`.
    """
    hint = f"free some space, or set {variable} to a directory with {needed // MIB} MiB free"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        free = shutil.disk_usage(directory).free
        if free < needed:
            raise InfrastructureError(
                f"not enough space in {directory}: {free // MIB} MiB free, {needed // MIB} MiB needed", hint=hint
            )
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise InfrastructureError(
                f"cannot use {error.filename or directory}: {error.strerror}",
                hint=f"check {directory}, or set {variable} to another directory",
            ) from error
        raise InfrastructureError(
            f"the disk of {directory} became full: about {needed // MIB} MiB are needed", hint=hint
        ) from error


@contextmanager
def _alarm(process: subprocess.Popen[bytes], limit: float) -> Iterator[threading.Event]:
    expired = threading.Event()

    def ring() -> None:
        expired.set()
        _signal(process, signal.SIGTERM)

    timer = threading.Timer(limit, ring)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        _signal(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
    # children that outlived it, and itself if it ignored the first signal
    _signal(process, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _last(lines: list[str]) -> str:
    return ":\n" + "\n".join(f"  | {line}" for line in lines[-_TAIL:]) if lines else " and printed nothing"
