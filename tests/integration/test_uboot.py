"""From power-on through U-Boot and TFTP to a verdict, over labgrid's own power, U-Boot and TFTP drivers.

The board is a machine under QEMU behind an HTTP power switch and a serial server, each a few lines here. Its
environment is one as labgrid's users have it.
"""

from __future__ import annotations

import contextlib
import http.server
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hil.board.board import Board
from hil.errors import BootError, InfrastructureError
from hil.guest import Guest
from hil.host.processes import tied
from hil.host.progress import shown
from hil.image import ensure, manifest
from hil.lab import machine
from hil.wasm import Module, Runner
from hil.wasm.verdict import exited

ROOT = Path(__file__).parents[2]
BOARD = """\
imports: [hil.labgrid]
images: {{main: {root}/images/reference.toml}}
targets:
  main:
    resources:
    - NetworkPowerPort: {{model: rest, host: 'http://127.0.0.1:{power}/{{index}}', index: 0}}
    - NetworkSerialPort: {{host: 127.0.0.1, port: {serial}, protocol: raw}}
    - TFTPProvider: {{internal: '{tftp}', external: ''}}
    drivers:
      NetworkPowerDriver: {{}}
      SerialDriver: {{}}
      TFTPProviderDriver: {{}}
      HilStrategy:
        load: {{xen: 0x40400000, xen.dtb: 0x48000000}}
      UBootDriver:
        prompt: '=> '
        init_commands:
        - setenv netretry no
        - setenv autoload no
        - dhcp
        boot_command: booti 0x40400000 - 0x48000000
      ShellDriver: {{prompt: '# ', login_prompt: 'login: ', username: root}}
      UBootStrategy: {{}}
"""


class Bench:
    """A board without an image in it, as it stands in a lab."""

    def __init__(self, directory: Path) -> None:
        self.tftp, self._line = directory / "tftp", directory / "line"
        self.tftp.mkdir()
        with shown(sys.stderr) as progress:
            self._image = ensure(manifest.find("reference"), progress)
        self._log = (directory / "qemu.log").open("wb")
        self._qemu: subprocess.Popen[bytes] | None = None
        self._machines = socket.socket(socket.AF_UNIX)
        self._machines.bind(str(self._line))
        self._machines.listen()
        self._users = socket.create_server(("127.0.0.1", 0))
        self._stop, self._stopping = socket.socketpair()
        bench = self

        class Switch(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"1" if bench.on else b"0")

            def do_PUT(self) -> None:
                bench.switch(self.rfile.read(int(self.headers["Content-Length"])) == b"1")
                self._answer(b"")

            def _answer(self, body: bytes) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._switch = http.server.HTTPServer(("127.0.0.1", 0), Switch)  # one thread, which QEMU is tied to
        self._threads = [threading.Thread(target=run) for run in (self._switch.serve_forever, self._serve)]
        for thread in self._threads:
            thread.start()
        self.ports = {"power": self._switch.server_port, "serial": self._users.getsockname()[1]}

    @property
    def on(self) -> bool:
        return self._qemu is not None and self._qemu.poll() is None

    def switch(self, on: bool) -> None:
        if self._qemu is not None and not on:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        elif on and not self.on:
            command = machine.command(self._image, tftp=self.tftp, serial=self._line)
            self._qemu = subprocess.Popen(tied(command), stdout=self._log, stderr=self._log)

    def _serve(self) -> None:
        """A serial server: one machine, one user, what nobody takes is lost."""
        ends: dict[socket.socket, socket.socket | None] = {self._machines: None, self._users: None}
        while True:
            for ready in select.select([self._stopping, *ends, *filter(None, ends.values())], [], [])[0]:
                if ready is self._stopping:
                    for end in filter(None, ends.values()):
                        end.close()
                    return
                if ready in ends:
                    if old := ends[ready]:
                        old.close()
                    ends[ready] = ready.accept()[0]
                    continue
                mine = next(listener for listener, end in ends.items() if end is ready)
                other = ends[self._users if mine is self._machines else self._machines]
                data = b""
                with contextlib.suppress(OSError):
                    data = ready.recv(1 << 16)
                if not data:
                    ready.close()
                    ends[mine] = None
                elif other is not None:
                    with contextlib.suppress(OSError):
                        other.sendall(data)

    def close(self) -> None:
        self.switch(False)
        self._switch.shutdown()
        self._stop.close()
        for thread in self._threads:
            thread.join()
        for one in (self._switch, self._machines, self._users, self._stopping, self._log):
            (one.server_close if one is self._switch else one.close)()


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    made = Bench(tmp_path)
    yield made
    made.close()


def board_file(bench: Bench, directory: Path) -> str:
    path = directory / "uboot.yaml"
    path.write_text(BOARD.format(root=ROOT, tftp=bench.tftp, **bench.ports))
    return str(path)


@pytest.mark.slow  # test_docs.py boots a board of the lab the same way to its shell; the next test has the error paths
def test_from_power_on_through_uboot_and_tftp_to_a_verdict(bench, tmp_path):
    with Board(board_file(bench, tmp_path), transcripts=tmp_path) as board:
        report = board.boot()
        names = [stage.name for stage in report.stages]
        loaded = ["xen", "xen.dtb", "guest.dtb", "partition.dtb", "kernel", "guest.initramfs", "partition.initramfs"]
        assert names[:8] == ["U-Boot", *(f"tftp {name}" for name in loaded)]
        assert names[8:] == [stage.name for stage in board.manifest.stages]
        times = [stage.seconds for stage in report.stages]
        assert times == sorted(times)
        assert times[0] > 0
        console = board.console.transcript
        for stage in report.stages[:8]:
            assert console.read(stage.offset - 3, stage.offset) == b"=> ", stage
        done = Runner(Guest(board)).run(Module.load(ROOT / "wasm_samples" / "hello.wasm"))
        assert done.verdict == exited(0)
        assert done.lines == ["hello, sel4", "1+2-3*4 = -9"]

        (bench.tftp / "kernel").unlink()
        (bench.tftp / "kernel").touch()
        with pytest.raises(InfrastructureError, match="cannot stage kernel .* not a symlink"):
            board.boot()
        assert not bench.on


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (("0x40400000 -", "0x48000000 -"), BootError, r"stage 'guest kernel' .*tftp .*the loader is back .*[Mm]agic"),
        (
            ("external: ''", "external: elsewhere/"),
            InfrastructureError,
            "did not load xen .*TFTP error: 'File not found'",
        ),
        (
            ("- setenv autoload no", "- dhpc"),
            InfrastructureError,
            "command 'dhpc', one of init_commands, failed: Unknown command",
        ),
    ],
)
def test_what_uboot_cannot_load_or_start_is_told_at_once(bench, tmp_path, change, error, told):
    path = Path(board_file(bench, tmp_path))
    path.write_text(path.read_text().replace(*change))
    begin = time.monotonic()
    with Board(str(path)) as board, pytest.raises(error, match=told):
        board.boot()
    assert not bench.on
    assert time.monotonic() - begin < 50, "U-Boot itself gives up then"
