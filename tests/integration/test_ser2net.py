"""Serial ports behind a real ser2net, started as labgrid's exporter starts it."""

from __future__ import annotations

import contextlib
import os
import pty
import shutil
import socket
import statistics
import subprocess
import threading
import time
import tty

import pytest
from labgrid import Target
from labgrid.resource import NetworkSerialPort
from limits import soonest

from hil.board.serial_driver import HilSerialDriver
from hil.console import LineClosed
from hil.errors import InfrastructureError

ALL = bytes(range(256))
LIMIT = 60.0  # seconds
PROMPT = b"\r\n# "


class Port:
    """A pty, ser2net on its one end, and a driver of ours on ser2net; `master` is the board's end."""

    def __init__(self, accepter: str, protocol: str, path):
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.number = number = probe.getsockname()[1]
        binary = shutil.which("ser2net", path=f"{os.environ['PATH']}:/usr/sbin")
        assert binary, "ser2net is not installed; ./bootstrap does that"
        lines = (
            f"connection: &con01#  accepter: {accepter},127.0.0.1,{number}",
            f"  connector: serialdev(nouucplock=true),{os.ttyname(self._slave)},115200n81,local",
            "  options:",
            "    max-connections: 10",
        )
        command = [binary, "-d", "-n", *(word for line in lines for word in ("-Y", line))]
        with (path / f"ser2net-{number}.log").open("wb") as log:
            self.server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.target = Target("main")
        NetworkSerialPort(self.target, None, host="127.0.0.1", port=number, protocol=protocol)
        self.driver = HilSerialDriver(self.target, None)

    def open(self):
        """Activate the driver, which waits until ser2net listens."""
        self.target.activate(self.driver)
        return self.driver.console

    def close(self):
        self.target.cleanup()
        self.server.kill()
        self.server.wait()
        os.close(self.master)
        os.close(self._slave)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path))
    with contextlib.ExitStack() as stack:

        def make(accepter="telnet(rfc2217,mode=server),tcp", protocol="rfc2217"):
            port = Port(accepter, protocol, tmp_path)
            stack.callback(port.close)
            return port

        yield make


def read(master, size):
    got = b""
    while len(got) < size:
        got += os.read(master, size - len(got))
    return got


def send(master, data):
    view = memoryview(data)
    while view:
        view = view[os.write(master, view) :]


def exchange(console, master) -> float:
    """Seconds from a typed command to the prompt after it, the board answering at once."""
    begin = time.monotonic()
    console.write(b"true\n")
    read(master, 5)
    os.write(master, b"true" + PROMPT)
    console.wait_for(PROMPT, timeout=LIMIT)
    return time.monotonic() - begin


def test_every_byte_passes_both_ways(serve):
    port = serve()
    console = port.open()
    send(port.master, ALL * 8 + b"END")
    match = console.wait_for(b"END", timeout=LIMIT)
    assert console.transcript.read(0, match.start) == ALL * 8
    console.write(ALL * 8)
    assert read(port.master, 2048) == ALL * 8


def test_59_kilobytes_of_output_come_in_a_third_of_a_second(serve):
    port = serve()
    console = port.open()

    def once() -> float:
        data = os.urandom(59_000) + b"END!"
        sender = threading.Thread(target=send, args=(port.master, data))
        start, begin = console.position, time.monotonic()
        sender.start()
        match = console.wait_for(b"END!", timeout=LIMIT)
        took = time.monotonic() - begin
        sender.join(LIMIT)
        assert console.transcript.read(start, match.end) == data
        return took

    assert soonest(once, 0.3) < 0.3


def test_rfc2217_adds_less_than_a_millisecond_to_raw_tcp(serve):
    ports = [serve(), serve("tcp", "raw")]
    consoles = [port.open() for port in ports]

    def difference() -> float:
        times = [[], []]
        for _ in range(60):
            for index, port in enumerate(ports):
                times[index].append(exchange(consoles[index], port.master))
        # the lower quartile: what the machine does besides is in the upper ones
        ours, raw = (statistics.quantiles(sample)[0] for sample in times)
        return ours - raw

    assert soonest(difference, 0.001) < 0.001


def test_a_killed_ser2net_ends_the_line_at_once(serve):
    port = serve()
    console = port.open()
    port.server.kill()
    with pytest.raises(LineClosed, match="serial server has ended"):  # a time-out is another error
        console.wait_for(b"never", timeout=LIMIT)


def test_a_server_without_rfc2217_is_told_from_one_with(serve):
    port = serve("telnet,tcp")
    with pytest.raises(InfrastructureError, match="refuses control of the serial port"):
        port.open()
