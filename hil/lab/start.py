"""The start of a lab: its plan is checked, its supervisor started."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from hil.errors import ConfigurationError, InfrastructureError
from hil.host.progress import shown
from hil.image import ensure, manifest
from hil.lab import machine
from hil.lab.processes import MARK

LOOPBACK = "127.0.0.1"
SERIAL = ("rfc2217", "raw")
START_LIMIT = 180.0  # seconds for a lab to come up on a busy machine
OUTPUT = "supervisor.log"


def check(count: int, serial: str, listen: str, insecure: bool) -> None:
    """Check the options of a lab. Raises `ConfigurationError`."""
    if count < 1:
        raise ConfigurationError(f"a lab cannot have {count} boards", hint="give at least one")
    if serial not in SERIAL:
        raise ConfigurationError(f"serial lines cannot be served as {serial}", hint=f"choose {' or '.join(SERIAL)}")
    try:
        address = ipaddress.IPv4Address(listen)
    except ValueError:
        raise ConfigurationError(f"{listen} is not an IPv4 address", hint=f"the default is {LOOPBACK}") from None
    if address.is_unspecified:
        raise ConfigurationError(
            f"{listen} means all addresses of this host; places need one that their users can reach",
            hint="give that address",
        )
    if not (address.is_loopback or insecure):
        raise ConfigurationError(
            f"{listen} can be reached from other hosts, and a lab does not authenticate: whoever reaches it controls "
            "coordinator, power switch and consoles",
            hint="stay on loopback and use SSH, see docs/lab.md; in a trusted network add --insecure",
        )


def commands(count: int, image: str) -> dict[str, list[str]]:
    """Return the machines' command lines by place, relative to the lab's directory."""
    with shown(sys.stderr) as progress:
        files = ensure(manifest.find(image), progress)
    names = [f"box-{number}" for number in range(1, count + 1)]
    # relative, because the path of a socket must be short
    return {name: machine.command(files, tftp=Path("tftp", name), serial=Path(f"{name}.line")) for name in names}


def start(directory: Path, lock: int) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """Start the supervisor, which keeps `lock` open; return it and the link to it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LG_")}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    ours, theirs = socket.socketpair()
    with theirs, (directory / OUTPUT).open("wb") as log:
        command = [sys.executable, "-P", "-m", "hil.lab.supervisor", str(directory), str(theirs.fileno())]
        supervisor = subprocess.Popen(
            command,
            env={**environment, MARK: str(directory), "PYTHONPATH": path},
            pass_fds=[theirs.fileno(), lock],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C at the terminal must not end the lab
        )
    return supervisor, ours


def await_ready(link: socket.socket, directory: Path) -> None:
    """Wait until the lab is ready. Raises `InfrastructureError` with the cause of a failure."""
    link.settimeout(START_LIMIT)
    log = directory / OUTPUT
    try:
        with link.makefile("rb") as answers:
            answer = answers.readline()
    except TimeoutError:
        raise InfrastructureError(f"the lab is not ready within {START_LIMIT:g} s", hint=f"see {log}") from None
    if not answer:
        last = "".join(f"\n  | {line}" for line in log.read_text("utf-8", "replace").splitlines()[-12:])
        raise InfrastructureError(f"the lab's supervisor has ended{last}", hint=f"see {log}")
    if failed := json.loads(answer).get("failed"):
        raise InfrastructureError(failed, hint=json.loads(answer)["hint"])
