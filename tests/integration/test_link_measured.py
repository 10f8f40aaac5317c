"""The link as it is measured: a real shell behind a real ser2net, near and far, paced and not; and under QEMU."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import socket
import subprocess
import sys
import termios
import threading
import time
from fcntl import ioctl
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from labgrid import Target
from labgrid.resource import NetworkSerialPort
from limits import HANG
from test_ser2net import LIMIT, Port

from hil import ms, p50
from hil.board.serial_driver import HilSerialDriver
from hil.cli import main
from hil.guest import Guest
from hil.image.manifest import ConsoleFacts
from hil.measure import link
from hil.measure.board_clocks import BoardClocks
from hil.measure.checking import BoundsNotKept
from hil.measure.series import Series

ROOT = Path(__file__).resolve().parents[2]
RFC2217 = "telnet(rfc2217,mode=server),tcp"  # as labgrid's exporter has it
BYTES_A_SECOND = 11520


def pump(source, sink, rate=0):
    """Copy until the source ends; at `rate` bytes a second, as a UART of 115200 baud would."""
    with contextlib.suppress(OSError):
        while data := os.read(source, 4096):
            due = time.monotonic()
            for at in range(0, len(data), 8 if rate else 4096):
                piece = data[at : at + (8 if rate else 4096)]
                due += len(piece) / rate if rate else 0.0
                time.sleep(max(0.0, due - time.monotonic()))
                os.write(sink, piece)


def start(*copied):
    for arguments in copied:
        threading.Thread(target=pump, args=arguments, daemon=True).start()


@contextlib.contextmanager
def shell(port, rate=0):
    """A shell on a tty at the board's end of `port`."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["/bin/sh", "-i"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"PATH": os.environ["PATH"], "PS1": "# "},
        start_new_session=True,
        preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(slave)
    start((master, os.dup(port.master), rate), (os.dup(port.master), os.dup(master), rate))
    try:
        yield
    finally:
        process.kill()
        process.wait()
        os.close(master)


@contextlib.contextmanager
def tunnel(port):
    """The number of a local port that leads to ser2net's, as one that SSH forwards."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", port.number))
                for one in (near, far):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                near, far = near.detach(), far.detach()
                start((near, far), (far, near))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        server.close()


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Makes guests: `make(accepter, protocol)`; `far` through a tunnel, `rate` bytes a second."""
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path))
    with contextlib.ExitStack() as stack:

        def guest(accepter, protocol, *, far=False, rate=0):
            port = Port(accepter, protocol, tmp_path)
            stack.callback(port.close)
            console = port.open()
            stack.enter_context(shell(port, rate))
            console.wait_for(b"# ", timeout=LIMIT)  # a shell that is still starting would die of ^C
            line = port.driver
            if far:
                port.target.cleanup()
                number = stack.enter_context(tunnel(port))
                target = Target("far")
                stack.callback(target.cleanup)
                NetworkSerialPort(target, None, host="127.0.0.1", port=number, protocol=protocol)
                line = HilSerialDriver(target, None)
                target.activate(line)
            facts = SimpleNamespace(console=ConsoleFacts(), name="none")
            board = SimpleNamespace(
                line=line, console=line.console, manifest=facts, report=None, virtual=None, origin=None, dirty=None
            )
            return Guest(board)

        yield guest


@pytest.mark.parametrize(("accepter", "protocol"), [(RFC2217, "rfc2217"), ("tcp", "raw"), ("tcp(nodelay=true)", "raw")])
def test_a_server_that_is_reached_directly_holds_nothing_back(make, accepter, protocol) -> None:
    found = link.of(guest := make(accepter, protocol))
    assert (found.transport.kind, found.transport.baud, found.held) == (protocol, 115200, 0.0)
    assert 0 < found.floor <= found.median < 0.3
    assert found.rate > 2 * BYTES_A_SECOND, "nobody paces it"
    assert found.hints == ()
    assert link.of(guest) is found, "once for a line"


@pytest.mark.parametrize(("accepter", "protocol"), [(RFC2217, "rfc2217"), ("tcp", "raw")])
def test_a_server_without_nodelay_behind_a_tunnel_is_named_and_bounds_finer_than_it_refused(
    make, accepter, protocol
) -> None:
    guest = make(accepter, protocol, far=True)
    found = link.of(guest)
    assert 0.038 < found.held < 0.060
    assert "tcp(nodelay=true)" in found.facts["link hint"]
    clock = BoardClocks(guest).console()
    assert clock.floor >= found.held
    assert str(found) in clock.remark
    series = Series("tick", "a line", [0.001] * 100, clock)
    with pytest.raises(BoundsNotKept, match="INCONCLUSIVE: p50 is .*, limit 100 ms") as caught:
        series.check(p50 <= 100 * ms)
    assert caught.value.checks[0].undecidable
    assert series.check(p50 <= 1000 * ms)[0].outcome == "pass"


@pytest.mark.parametrize(
    ("accepter", "protocol"), [(f"{RFC2217}(nodelay=true)", "rfc2217"), ("tcp(nodelay=true)", "raw")]
)
def test_nodelay_mends_it(make, accepter, protocol) -> None:
    found = link.of(make(accepter, protocol, far=True))
    assert (found.held, found.hints) == (0.0, ())


def test_a_line_of_115200_baud_is_measured_as_one(make) -> None:
    for _ in range(4):  # a busy host can only make it slower
        found = link.of(make(RFC2217, "rfc2217", rate=BYTES_A_SECOND))
        if found.rate > 0.5 * BYTES_A_SECOND:
            break
    assert 0.5 * BYTES_A_SECOND < found.rate < 1.1 * BYTES_A_SECOND
    assert 0.0035 < found.floor < 0.1, "45 bytes alone take 3.9 ms"


def test_a_slow_line_is_told(make) -> None:
    found = link.of(make(RFC2217, "rfc2217", rate=BYTES_A_SECOND / 2))
    assert "11.52 kB/s of 115200 baud" in found.facts["link hint"]


SUITE = """
import pytest
from hil import p50, us, Series
from hil.measure.board_clocks import BoardClocks
from hil.measure.decision import decide

pytestmark = pytest.mark.board

def test_one(guest):
    assert guest.run("true").status == 0

def test_a_bound_finer_than_the_link(guest, measure):
    clock = BoardClocks(guest).console()
    assert "emulated: floor" in clock.remark
    series = Series("tick", "a line", [1e-6] * 100, clock)
    assert decide(p50 <= 10 * us, series).outcome == "inconclusive"
    measure.derived(series)
"""


@pytest.mark.parametrize("clock", ["real", pytest.param("virtual", marks=pytest.mark.slow)])
def test_a_run_tells_of_its_link_except_in_virtual_time(tmp_path, clock) -> None:
    suite = tmp_path / "test_suite.py"
    suite.write_text(SUITE if clock == "real" else SUITE.partition("def test_a_bound")[0])
    results, report = tmp_path / "results.jsonl", tmp_path / "allure"
    options = ["--board", "qemu-reference", "--clock", clock, "--hil-results", results, "--alluredir", report]
    options += ["--hil-transcripts", tmp_path / "transcripts"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml"]
    run = subprocess.run(
        [*command, "--rootdir", tmp_path, *options, suite], cwd=tmp_path, text=True, capture_output=True, timeout=HANG
    )
    assert run.returncode == 0, run.stdout + run.stderr
    environment = (report / "environment.properties").read_text()
    typed = "".join(path.read_text() for path in tmp_path.glob("transcripts/*/*.tsv"))
    assert typed
    if clock == "virtual":
        assert "link of" not in run.stdout
        assert "link." not in environment
        assert "': link'" not in typed
        return
    assert run.stdout.count("link of qemu-reference: emulated: floor") == 1
    assert "link.floor = " in environment
    assert "link.rate = " in environment
    assert "links = link of qemu-reference: emulated: floor" in environment
    assert typed.count("': link'") == link.EXCHANGES, "once a session"
    header = json.loads(results.read_text().splitlines()[0])
    assert header["facts"]["link"] == "emulated"


def test_the_command_line_tells_of_it(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path))
    ran = CliRunner().invoke(main, ["link", "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["transport"]["kind"] == "emulated"
    assert 0 < told["floor"] <= told["median"] < 1
