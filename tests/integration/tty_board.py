"""A board on a local tty: a real shell behind a pty, whose power labgrid's ExternalPowerDriver switches.

Run as a script it is the board. The shell has a /tmp and processes of its own, so that what is done in it neither meets
what other boards do nor outlives it. In a chroot, where that is not permitted, it uses the /tmp that is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import select
import signal
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "wrought-iron"
BOARD = """\
imports: [hil.labgrid]
images: {{main: tty.toml}}
targets:
  main:
    resources:
      RawSerialPort: {{port: {directory}/tty, speed: 115200}}
    drivers:
      ExternalPowerDriver: {{cmd_on: {directory}/switch on, cmd_off: {directory}/switch off}}
      SerialDriver: {{}}
      ShellDriver: {{prompt: '# ', login_prompt: 'tty login: ', username: root}}
      ShellStrategy: {{}}
"""
IMAGE = """\
schema = 1
name = "tty"
title = "A shell on a tty"
hypervisor = "none"
[files.agent]
path = "wasmedge_emit"
sha256 = "{sha256}"
[machine]
arguments = []
[[stages]]
name = "firmware"
marker = "Starting"
limit = 20
[[stages]]
name = "login"
marker = "tty login: "
limit = 20
[[stages]]
name = "password"
marker = "Password: "
limit = 20
[[stages]]
name = "shell"
marker = "# "
limit = 20
[console]
login = "tty login: "
password = "{password}"
[agent]
"""
SWITCH = """\
#!/bin/sh
cd {directory} && echo "$1" >power && read _ <done
"""
AGENT = """\
#!/bin/sh
[ "$(head -c 4 "$1" | od -An -tx1)" = " 00 61 73 6d" ] || { echo "$1 is no module"; exit 1; }
echo "[2026-01-01 00:00:00.000] [info] executing wasm file"
case $1 in *hello.wasm) echo 'hello, sel4'; echo '1+2-3*4 = -9';; *endless.wasm) exec sleep 100;; esac
echo "[2026-01-01 00:00:00.000] [info] execution success, exit code:0"
"""
# the password is echoed, as by a login that does not switch that off
GUEST = """\
{empty} && mkdir /tmp/bin && cp wasmedge_emit /tmp/bin && cd /tmp || exit
echo Starting
printf 'tty login: '; read name
printf 'Password: '; read word
[ "$name $word" = "root $0" ] || exit
PATH=/tmp/bin:$PATH PS1='# ' ENV= exec {shell}
"""
NAMESPACES = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
USERS = ["--user", "--map-root-user"] if os.getuid() else []  # root needs none, and gets none in a chroot
FRESH, SHARED = "mount -t tmpfs tmpfs /tmp", "rm -rf /tmp/bin /tmp/hil /tmp/data"


@contextlib.contextmanager
def tty_board(directory: Path, shell: str = "dash -i") -> Iterator[Path]:
    """The board file of a board that is off; it ends with the context."""
    agent = directory / "wasmedge_emit"
    agent.write_text(AGENT)
    agent.chmod(0o755)
    digest = hashlib.sha256(AGENT.encode()).hexdigest()
    (directory / "tty.toml").write_text(IMAGE.format(sha256=digest, password=PASSWORD))
    (directory / "tty.yaml").write_text(BOARD.format(directory=directory))
    switch = directory / "switch"
    switch.write_text(SWITCH.format(directory=directory))
    switch.chmod(0o755)
    with subprocess.Popen([sys.executable, __file__, str(directory), shell], stdout=subprocess.PIPE) as board:
        assert board.stdout is not None
        try:
            assert board.stdout.readline() == b"ready\n"
            yield directory / "tty.yaml"
        finally:
            board.terminate()


class Machine:
    """The guest and its tty; `cut` pulls the adapter out and plugs it in again."""

    def __init__(self, directory: Path, shell: str) -> None:
        self._tty = directory / "tty"
        own = [*NAMESPACES, *USERS]
        self._alone = subprocess.run([*own, "true"], stderr=subprocess.DEVNULL).returncode == 0
        guest = GUEST.format(shell=shell, empty=FRESH if self._alone else SHARED)
        self._command = [*(own if self._alone else []), "sh", "-c", guest, PASSWORD]
        self._guest = 0
        self._console = -1
        self._typed = self._shown = b""  # on the way to the guest, and from it
        self._plug()

    def _plug(self) -> None:
        self._line, self._port = pty.openpty()
        tty.setraw(self._port)
        os.set_blocking(self._line, False)
        self._tty.unlink(missing_ok=True)
        self._tty.symlink_to(os.ttyname(self._port))

    def cut(self) -> None:
        os.close(self._line)
        os.close(self._port)
        self._plug()

    def on(self) -> None:
        self.off()
        self._guest, self._console = pty.fork()
        if self._guest == 0:
            os.execvp(self._command[0], self._command)
        os.set_blocking(self._console, False)

    def off(self) -> None:
        if self._guest:
            os.kill(self._guest, signal.SIGKILL)
            os.waitpid(self._guest, 0)
            os.close(self._console)
        self._guest, self._console = 0, -1
        self._typed = self._shown = b""

    def end(self) -> None:
        self.off()
        if not self._alone:
            subprocess.run(SHARED, shell=True)  # noqa: S602

    def run(self, power: int) -> None:
        """Copy between guest and tty until there is something to read from `power`."""
        while True:
            on = self._console >= 0
            # neither side gives what the other one does not take yet
            readers = [power] + [self._line] * (not self._typed) + [self._console] * (on and not self._shown)
            writers = [self._line] * bool(self._shown) + [self._console] * (on and bool(self._typed))
            readable, writable, _ = select.select(readers, writers, [])
            if power in readable:
                return
            if self._line in readable:
                typed = os.read(self._line, 4096)
                self._typed = typed if on else b""
            if self._line in writable:
                self._shown = self._shown[os.write(self._line, self._shown) :]
            if self._console in writable:
                self._typed = self._typed[os.write(self._console, self._typed) :]
            if self._console in readable:
                try:
                    self._shown = os.read(self._console, 4096)
                except OSError:  # the guest has ended
                    self.off()


def main(directory: Path, shell: str) -> None:
    os.chdir(directory)
    os.mkfifo("power")
    os.mkfifo("done")
    power, done = (os.open(name, os.O_RDWR) for name in ("power", "done"))
    machine = Machine(directory, shell)
    print("ready", flush=True)
    try:
        while True:
            machine.run(power)
            getattr(machine, os.read(power, 64).decode().strip())()
            os.write(done, b"\n")
    finally:
        machine.end()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    main(Path(sys.argv[1]), sys.argv[2])
