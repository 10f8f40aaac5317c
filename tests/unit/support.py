"""Lines to test on: a socket with our hand at the far end, and a pty with a real shell behind a meddling relay."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import json
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hil.console import Console, Transcript

QUICK = 60.0  # seconds: far beyond what anything here needs, and the end of every wait


def until(condition: Callable[[], object], limit: float = QUICK) -> None:
    """Wait for something that nobody announces."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {limit:g} s"
        select.select([], [], [], 0.005)


def arrived(console: Console, size: int) -> None:
    """Wait until so many bytes of a line are in its transcript, without reading them."""

    def complete() -> bool:
        console.transcript.refresh()
        return console.transcript.size >= size

    until(complete)


def gone(pid: int) -> bool:
    """Whether a process has ended, be it as a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def held() -> tuple[int, int, int]:
    """How many file descriptors, threads and children this process has, garbage aside."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children(os.getpid()))


def no_more_than(before: tuple[int, int, int]) -> bool:
    """Whether nothing is held that was not `before`; what earlier tests had left may have gone meanwhile."""
    return all(now <= then for now, then in zip(held(), before, strict=True))


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread has ended meanwhile
            found += map(int, task.read_text().split())
    return found


@dataclass
class Wire:
    """A console and the far end of its line."""

    console: Console
    far: socket.socket

    def cut(self) -> None:
        with contextlib.suppress(OSError):  # a thread may be reading it
            self.far.shutdown(socket.SHUT_RDWR)
        self.far.close()

    def close(self) -> None:
        self.console.close()
        self.console.transcript.close()
        self.cut()


def make_wire(directory: Path, **options: object) -> Wire:
    near, far = socket.socketpair()
    transcript = Transcript.create(directory, "wire")
    return Wire(Console(near.detach(), transcript, **options), far)  # type: ignore[arg-type]


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    made = make_wire(tmp_path)
    yield made
    made.close()


@dataclass
class ShellLine:
    """A real shell on a pty. What passes the relay can be changed: `to_us` and `to_shell`, bytes to bytes."""

    console: Console
    process: subprocess.Popen[bytes]
    home: Path
    to_us: Callable[[bytes], bytes] = lambda data: data
    to_shell: Callable[[bytes], bytes] = lambda data: data
    threads: list[threading.Thread] = field(default_factory=list)

    def typed(self) -> list[str]:
        """What was sent to the shell, in order: the only part of the index that no late answer of the shell moves."""
        entries = [one.split("\t", 2) for one in self.console.transcript.index_path.read_text().splitlines()]
        return [json.loads(text) for _, kind, text in entries if kind == ">"]


@contextlib.contextmanager
def shell_line(
    directory: Path, command: list[str] | None = None, *, environment: dict[str, str] | None = None
) -> Iterator[ShellLine]:
    home = directory / "home"
    home.mkdir(exist_ok=True)
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command or [shutil.which("dash") or "sh", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=home,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "# ", "TERM": "vt100", **(environment or {})},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  so that ^C interrupts
    )
    os.close(slave)
    wired = make_wire(directory)
    line = ShellLine(wired.console, process, home)
    ours, far = os.dup(master), wired.far

    def outwards() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(master, 4096):
                far.sendall(line.to_us(data))
        wired.cut()

    def inwards() -> None:
        with contextlib.suppress(OSError):
            while data := far.recv(4096):
                data = line.to_shell(data)
                while data:
                    data = data[os.write(ours, data) :]

    line.threads = [threading.Thread(target=run, daemon=True) for run in (outwards, inwards)]
    for thread in line.threads:
        thread.start()
    try:
        if command is None:  # a shell that is still starting would die of ^C
            wired.console.wait_for(b"# ", timeout=QUICK)
        yield line
    finally:
        for pid in session(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        tty_end(master, ours, wired, line)


def session(leader: int) -> Iterator[int]:
    """The processes of the session that `leader` leads, itself among them: a shell gives each of its jobs a group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[3]) == leader:
                yield int(stat.parent.name)


def tty_end(master: int, ours: int, wired: Wire, line: ShellLine) -> None:
    wired.close()
    for thread in line.threads:
        thread.join(QUICK)
        assert not thread.is_alive()
    os.close(master)
    os.close(ours)


@pytest.fixture
def tty_shell(tmp_path: Path) -> Iterator[ShellLine]:
    with shell_line(tmp_path) as line:
        yield line


class FakeShell:
    """The far end of a wire: answers each framed command with the bytes that `script` makes of its mark.

    The mark of a command is what a real shell would print, without the brackets: `@MARK<` and `@MARK>`.
    """

    FRAME = re.compile(rb"_h (\d+) x?\d+x? '.*?\n|echo (?:'@'|@)(\S+?)=(?:\$_n=\$_s|0=)@", re.S)

    def __init__(self, far: socket.socket) -> None:
        self.script: Callable[[bytes], bytes] = lambda mark: b"@%s<\n@%s>0@\n" % (mark, mark)
        self.received = bytearray()
        self.last = b"0=0"
        self._far = far
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        pending = b""
        with contextlib.suppress(OSError):
            while data := self._far.recv(65536):
                self.received += data
                pending += data
                while found := self.FRAME.search(pending):
                    pending = pending[found.end() :]
                    self._far.sendall(self._framed(found[1]) if found[1] else self._answer(found[2]))

    def _answer(self, mark: bytes) -> bytes:
        return b"@%s=%s@\n" % (mark.replace(b'"', b""), self.last)

    def _framed(self, number: bytes) -> bytes:
        nonces = re.findall(rb'echo "@([0-9a-f]+)\.\$1<"', bytes(self.received))
        mark = nonces[-1] + b"." + number
        answer = self.script(mark)
        if b"@%s<" % mark in answer:  # it knows the last command that it began, and its status if it ended
            self.last = number + (b"=0" if b"@%s>" % mark in answer else b"=")
        return answer


@pytest.fixture
def fake_shell(wire: Wire) -> Iterator[FakeShell]:
    fake = FakeShell(wire.far)
    yield fake
    wire.cut()
    fake.thread.join(QUICK)


# A bare-metal program for QEMU's virt machine: prints "stub login: ", and "root", a line end and "# "
# for every line feed that it reads. From: mov x1, #0x09000000; adr x2, text; print it; poll the PL011.
STUB = bytes.fromhex(
    "0120a1d282010010431440386300003423000039fdffff17241840b9e4ff2737230040397f28007181ffff5422010010f6ffff17"
    "73747562207374617274730d0a0d0a73747562206c6f67696e3a2000726f6f740d0a232000"
)
# The same, but it waits for the UART's interrupt instead of polling, which would keep a processor of the host busy: wfi,
# by way of the GICv2 of one processor.
IDLE_STUB = bytes.fromhex(
    "0120a1d20500a1d226008052a60000b946008052a60401b9a5404091e61f8052a60400b926008052a60000b9060a8052263800b9c201001043"
    "14403863000034230000b9fdffff17241840b9640020367f2003d5fdffff17230040b97f28007141ffff5422010010f4ffff17"
    "73747562207374617274730d0a0d0a73747562206c6f67696e3a2000726f6f740d0a232000"
)
STUB_IMAGE = """\
schema = 1
name = "stub"
title = "A stub"
hypervisor = "none"
[files.kernel]
path = "stub.bin"
sha256 = "{sha256}"
[machine]
arguments = ["-machine", "virt", "-cpu", "cortex-a53", "-kernel", "{{kernel}}"]
[[stages]]
name = "start"
marker = "stub starts"
limit = 20
[[stages]]
name = "login"
marker = "stub login: "
limit = 20
[[stages]]
name = "shell"
marker = "# "
limit = 20
[console]
login = "stub login: "
"""
STUB_BOARD = """\
imports: [hil.labgrid]
images: {main: stub.toml}
targets:
  main:
    drivers:
      HilQemuDriver: {}
      HilStrategy: {}
"""

UNUSED_BOARD = "targets: {main: {drivers: {}}}"
"""A board file for runs in which no test opens a board."""

UNCHECKED = "from hil.plugin.session import Session\nSession._check_health = lambda session, board: None\n"
"""A conftest for runs on the stub, which has no shell to check."""


def stub_board(directory: Path, program: bytes = IDLE_STUB) -> Path:
    """A board whose machine boots to something like a prompt in a fraction of a second."""
    (directory / "stub.bin").write_bytes(program)
    (directory / "stub.toml").write_text(STUB_IMAGE.format(sha256=hashlib.sha256(program).hexdigest()))
    (directory / "stub.yaml").write_text(STUB_BOARD)
    return directory / "stub.yaml"
