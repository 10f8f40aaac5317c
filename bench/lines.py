"""Lines to measure on: a real shell on a pty, taken as it is, through a second pty or over TCP; labgrid's drivers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import shutil
import socket
import subprocess
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from labgrid import Target
from labgrid.driver import SerialDriver, ShellDriver
from labgrid.resource import NetworkSerialPort, SerialPort

from hil.console import Console, Transcript
from hil.faults import Faults, relay
from hil.guest.shell import Shell
from hil.image.manifest import ConsoleFacts

FACTS = ConsoleFacts(foreign=(r"\[ *\d+\.\d{6}\] .*",))
PRINTK = "[    3.{n:06}] random: fast init done\r\n"
PATIENCE = 3.0  # seconds of labgrid's waits; its own 30 s would take the afternoon


class Terminal:
    """An interactive dash on a pty; `home` is where it is, `master` the far end of its line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True, exist_ok=True)
        self.master, slave = pty.openpty()
        self._relays: list[subprocess.Popen[bytes]] = []
        self._held: list[int | socket.socket] = []
        self.process = subprocess.Popen(
            [shutil.which("dash") or "sh", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=home,
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PS1": "# ", "TERM": "vt100"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  so that ^C interrupts
        )
        os.close(slave)
        seen = b""
        while b"# " not in seen:  # a shell that is still starting would die of ^C
            seen += os.read(self.master, 4096)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        for one in self._relays:
            one.kill()
            one.wait()
        for held in (*self._held, self.master):
            if isinstance(held, int):
                os.close(held)
            else:
                held.close()

    def port(self) -> int:
        """The line itself, to be closed by who takes it."""
        return os.dup(self.master)

    def path(self) -> str:
        """The line as a device: a second pty, with the fault proxy's process between the two."""
        master, slave = pty.openpty()
        tty.setraw(slave)
        self._held.append(slave)  # a pty without a user is an ended line
        self._bridge(master)
        return os.ttyname(slave)

    def tcp(self) -> tuple[int, Callable[[], None]]:
        """The line as a TCP port of this machine, as ser2net has it; to be called once somebody has connected."""
        listener = socket.create_server(("127.0.0.1", 0))

        def accept() -> None:
            with listener:
                far, _ = listener.accept()
            far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._bridge(far.detach())

        return listener.getsockname()[1], accept

    def disturb(self, *, received: Faults | None = None, sent: Faults | None = None) -> None:
        """From now on, what becomes of the bytes between device, or TCP port, and shell."""
        told = {"received": received, "sent": sent}
        faults = {name: asdict(one) for name, one in told.items() if one is not None}
        self._control.sendall(json.dumps({"seed": 0, "set": faults}).encode() + b"\n")

    def _bridge(self, far: int) -> None:
        self._control, theirs = socket.socketpair()
        self._held.append(self._control)
        self.disturb()
        for fd in (self.master, far):
            os.set_blocking(fd, False)
        fds = (self.master, far, theirs.fileno())
        command = [sys.executable, "-I", "-S", str(Path(relay.__file__)), *map(str, fds)]
        self._relays.append(subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL))
        os.close(far)
        theirs.close()


def opened(device: str) -> int:
    return os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)


def connected(port: int) -> int:
    link = socket.create_connection(("127.0.0.1", port))
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link.detach()


@contextlib.contextmanager
def ours(port: int, directory: Path, facts: ConsoleFacts = FACTS) -> Iterator[Shell]:
    """Our shell on the line `port`, which is taken over."""
    transcript = Transcript.create(directory, "bench")
    try:
        with Console(port, transcript) as console:
            yield Shell(console, facts)
    finally:
        transcript.close()


def labgrid_serial(where: str | int) -> SerialDriver:
    """labgrid's own driver, active, on a device or a TCP port."""
    target = Target("bench")
    if isinstance(where, str):
        SerialPort(target, name=None, port=where, speed=115200)
    else:
        NetworkSerialPort(target, name=None, host="127.0.0.1", port=where, protocol="raw")
    driver = SerialDriver(target, name=None)
    target.activate(driver)
    return driver


def labgrid_shell(serial: SerialDriver, limit: float = PATIENCE) -> ShellDriver:
    """labgrid's own shell on it, active; none of its waits is longer than `limit` seconds."""
    expect = serial.expect

    def impatient(pattern: Any, timeout: float = -1) -> Any:
        return expect(pattern, timeout=min(timeout, limit) if timeout >= 0 else limit)

    shell = ShellDriver(
        serial.target, name=None, prompt="# ", login_prompt="login: ", username="root", await_login_timeout=1
    )
    serial.expect = impatient
    serial.target.activate(shell)
    return shell
