"""A lab of labgrid's own coordinator, exporters and client, with machines that boot in no time."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from limits import HANG

from hil.places.coordinator import Coordinator

BIN = Path(sys.executable).parent
LIMIT = 60.0  # seconds
STARTS = b"stub starts\r\nstub login: "
BOARD = """\
imports: [hil.labgrid]
images: {main: stub.toml}
targets:
  main:
    drivers:
      NetworkPowerDriver: {delay: 0.0}
      HilSerialDriver: {}
      HilStrategy: {}
"""
IMAGE = """\
schema = 1
name = "stub"
title = "A stub"
hypervisor = "none"
[files.kernel]
path = "kernel"
sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
[machine]
arguments = []
[[stages]]
name = "login"
marker = "stub login: "
limit = 10
[[stages]]
name = "shell"
marker = "# "
limit = 10
[console]
login = "stub login: "
"""


def until(condition, limit: float = LIMIT):
    """Wait for something that nobody announces, and return it."""
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline, f"did not happen in {limit:g} s"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def started(command: list[str], directory: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(command, cwd=directory, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def coordinating(directory: Path, address: str = "") -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A coordinator that listens, with its address: the one given, or on a port that is free."""
    log = directory / "coordinator.log"
    log.touch()
    begin = log.stat().st_size
    command = [sys.executable, "-uPm", "labgrid.remote.coordinator", "-l", address or "127.0.0.1:0"]
    with started(command, directory, log) as process:

        def listens() -> re.Match[str] | None:
            assert process.poll() is None, log.read_text()
            return re.search(r"^listening on (\S+)$", log.read_text()[begin:], re.MULTILINE)

        yield until(listens)[1], process


class Machine:
    """A power switch by HTTP, and a serial line by TCP on which a guest logs in at once.

    Switched to `resets` or `refuses` the serial server breaks.
    """

    def __init__(self) -> None:
        machine = self

        class Switch(http.server.BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                word = self.rfile.read(int(self.headers["Content-Length"]))
                if word in (b"resets", b"refuses"):
                    machine.break_line(word.decode())
                else:
                    machine.switch(word == b"1")
                self.answer(b"")

            def do_GET(self) -> None:
                self.answer(b"1" if machine.on else b"0")

            def answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.on = False
        self.resets = False
        self.boots = 0
        self._lines: list[socket.socket] = []
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Switch)
        for serve in (self._http.serve_forever, self._serve):
            threading.Thread(target=serve, daemon=True).start()

    @property
    def resources(self) -> dict[str, dict[str, object]]:
        url = f"http://127.0.0.1:{self._http.server_port}/{{index}}"
        return {
            "NetworkSerialPort": {"host": "127.0.0.1", "port": self._server.getsockname()[1], "protocol": "raw"},
            "NetworkPowerPort": {"model": "rest", "host": url, "index": 1},
        }

    def switch(self, on: bool) -> None:
        with self._lock:
            if on and not self.on:
                self.boots += 1
                for line in self._lines:
                    with contextlib.suppress(OSError):
                        line.sendall(STARTS)
            self.on = on

    def break_line(self, how: str) -> None:
        """Have the serial server reset each connection from now on, or refuse it."""
        self.resets = True
        if how == "refuses":
            self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line = self._server.accept()[0]
                if self.resets:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                    line.close()
                    continue
                with self._lock:
                    self._lines.append(line)
                    if self.on:  # it was there before we were
                        line.sendall(STARTS)
                threading.Thread(target=self._talk, args=[line], daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := line.recv(4096):
                if self.on:
                    line.sendall(b"root\r\n# " * data.count(b"\n"))

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for line in self._lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()


class Lab:
    """A coordinator, an exporter for each place, and a machine for each: box-1, box-2, ..."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack, count: int) -> None:
        self.machines = [Machine() for _ in range(count)]
        self.use(directory, stack)
        self.address, self.coordinator = stack.enter_context(coordinating(directory))
        for machine in self.machines:
            stack.callback(machine.close)
        self.exporters = [self._export(number, machine) for number, machine in enumerate(self.machines, 1)]
        tags = {"lab": "box", "board": str(directory / "stub.yaml")}
        with self.asked() as ask:
            for number in range(1, count + 1):
                ask("AddPlace", name=f"box-{number}")
                ask("SetPlaceTags", placename=f"box-{number}", tags=tags)
                ask("AddPlaceMatch", placename=f"box-{number}", pattern=f"exporter-{number}/box/*")
        with contextlib.closing(Coordinator(self.address)) as found:
            until(lambda: sum(len(one["box"]) for one in found.session.resources.values()) == 2 * count)

    def use(self, directory: Path, stack: contextlib.ExitStack) -> None:
        """Have the lab's board file and what a test writes in `directory`, and end what it starts with `stack`."""
        self.directory, self.stack = directory, stack
        for machine in self.machines:
            machine.on, machine.boots = False, 0
        (directory / "kernel").touch()
        (directory / "stub.toml").write_text(IMAGE)
        (directory / "stub.yaml").write_text(BOARD)

    @property
    def reusable(self) -> bool:
        """Whether it is as it was made, so that another test may have it."""
        parts = [self.coordinator, *self.exporters]
        broken = any(part.poll() is not None for part in parts) or any(one.resets for one in self.machines)
        return not broken and self.clean

    @contextlib.contextmanager
    def asked(self) -> Iterator[Callable[..., Any]]:
        """Calls methods of the coordinator."""
        with contextlib.closing(Coordinator(self.address)) as one:
            yield lambda method, **fields: one.run(one.call(method, **fields), LIMIT)

    @property
    def clean(self) -> bool:
        """Whether nobody has a place, nor has left anything behind."""
        with self.asked() as ask:
            places, reservations = ask("GetPlaces").places, ask("GetReservations").reservations
        return not (reservations or any(one.acquired or one.allowed or "hil_lease" in one.tags for one in places))

    def _export(self, number: int, machine: Machine) -> subprocess.Popen[bytes]:
        name = f"exporter-{number}"
        (self.directory / f"{name}.yaml").write_text(json.dumps({"box": machine.resources}))
        command = [str(BIN / "labgrid-exporter"), "-c", self.address, "-n", name, f"{name}.yaml"]
        return self.stack.enter_context(started(command, self.directory, self.directory / f"{name}.log"))

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LG_COORDINATOR": self.address, "PYTHONUNBUFFERED": "1"}

    def client(self, *arguments: str, user: str = "", check: bool = True) -> str:
        done = subprocess.run(
            [str(BIN / "labgrid-client"), *arguments],
            cwd=self.directory,
            env={**self.environment, **({"LG_USERNAME": user} if user else {})},
            timeout=HANG,
            capture_output=True,
            text=True,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def held(self) -> list[str]:
        """Who holds what, as `USER PLACE`."""
        with self.asked() as ask:
            places = ask("GetPlaces").places
        return [f"{one.acquired.partition('/')[2]} {one.name}" for one in places if one.acquired]
