"""A lab in a box: labgrid's own coordinator, exporter and client, ser2net, and QEMUs that start with U-Boot."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from labgrid import Target
from labgrid.driver import NetworkPowerDriver, TFTPProviderDriver
from labgrid.resource import NetworkPowerPort, NetworkSerialPort, TFTPProvider

from hil.board.serial_driver import HilSerialDriver
from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError
from hil.lab import Lab, take_down
from hil.lab.processes import MARK, marked

BIN = Path(sys.executable).parent
LIMIT = 300.0  # seconds
SOON = 60.0
PROMPT = b"\r\n=> "


@pytest.fixture(autouse=True)
def transcripts(tmp_path, monkeypatch):
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))


@pytest.fixture
def directory(tmp_path):
    # longer than the path of a socket may be, and with what means something to QEMU, to templates and to YAML
    path = tmp_path / ("deep" * 25) / "a, {{b}}: #c"
    yield path
    take_down(path)


@pytest.fixture
def target():
    target = Target("main")
    yield target
    target.cleanup()


def client(lab, *arguments, place="box-1") -> str:
    done = subprocess.run(
        [str(BIN / "labgrid-client"), "-p", place, *arguments],
        env={**os.environ, "LG_COORDINATOR": lab.coordinator},
        timeout=LIMIT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def hil(*arguments, status=0) -> str:
    done = CliRunner().invoke(main, ["lab", *arguments])
    assert done.exit_code == status, done.output
    return done.output


def board(lab, place="box-1"):
    return next(board for board in lab.status().boards if board.place == place)


def listeners(address) -> set[str]:
    """The addresses at which somebody listens on the port of `address`."""
    port = f"{int(address.split(':')[1]):04X}"
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    found = [row[1].split(":")[0] for row in rows if row[1].endswith(f":{port}") and row[3] == "0A"]
    return {".".join(str(byte) for byte in reversed(bytes.fromhex(one[-8:]))) for one in found}


def until(condition, limit=SOON):
    deadline = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def console(target, lab, protocol):
    """The console of box-1, which somebody has acquired."""
    host, port = board(lab).serial.split(":")
    NetworkSerialPort(target, None, host=host, port=int(port), protocol=protocol)
    driver = HilSerialDriver(target, None)
    target.activate(driver)
    return driver.console


def power(target, lab):
    NetworkPowerPort(
        target,
        None,
        model="rest",
        host=json.loads((lab.directory / "lab.json").read_text())["boards"]["box-1"]["power"],
        index=1,
    )
    driver = NetworkPowerDriver(target, None, delay=0.1)
    target.activate(driver)
    return driver


def interrupt(line):
    line.wait_for(b"Hit any key to stop autoboot", timeout=LIMIT)
    line.write(b"\n")
    line.wait_for(PROMPT, timeout=LIMIT)


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def test_the_road_from_the_power_switch_to_a_file_over_tftp(directory, target, tmp_path):
    with Lab.up(1, baud=115200, directory=directory) as lab:
        found = board(lab)
        assert (found.acquired, found.power, found.serial, found.ser2net, found.qemu) == ("", "off", "", None, None)
        client(lab, "acquire")
        shown = client(lab, "show")
        assert re.search(r"tags:.*board=qemu-uboot.*lab=box", shown)
        assert "box/box-1/TFTPProvider/TFTPProvider" in shown  # not a remote one
        found = board(lab)
        assert "/" in found.acquired
        assert listeners(lab.coordinator) == listeners(found.serial) == {"127.0.0.1"}
        assert found.ser2net
        line = console(target, lab, "rfc2217")
        client(lab, "power", "on")
        assert "is on" in client(lab, "power", "get")
        interrupt(line)
        line.write(b"printenv\n")
        start = line.position
        printed = line.wait_for(b" bytes\r\n", timeout=LIMIT)
        bits = (printed.end - start) * 10
        took = (printed.time_ns - line.transcript.time_at(start)) / 1e9
        assert bits / 115200 * 0.7 < took  # what the serial server holds together comes together
        # as in any lab, but without SSH
        (tmp_path / "hello").write_bytes(b"hello, box")
        TFTPProvider(target, None, internal=str(directory / "tftp" / "box-1") + "/", external="")
        provider = TFTPProviderDriver(target, None)
        target.activate(provider)
        name = provider.stage(str(tmp_path / "hello"))
        line.write(b"setenv autoload no; dhcp; tftpboot 0x50000000 " + name.encode() + b"\n")
        line.wait_for(b"Bytes transferred = 10 ", timeout=LIMIT)
        # the end of its QEMU is a power cut that nobody asked for
        kill(board(lab).qemu)
        until(lambda: "is off" in client(lab, "power", "get"))
        switch = power(target, lab)
        switch.on()
        line.wait_for(b"U-Boot 20", timeout=LIMIT)
        switch.cycle()
        line.wait_for(b"U-Boot 20", timeout=LIMIT)
        assert switch.get()
        client(lab, "release")
        until(lambda: board(lab).ser2net is None)
        assert board(lab).qemu
    assert not list(marked(directory))
    assert not (directory / "tftp").exists()
    assert (tmp_path / "hello").exists()


def test_parts_that_die_stay_dead_and_the_rest_goes_on(directory):
    with Lab.up(2, directory=directory) as lab:
        client(lab, "acquire")
        client(lab, "power", "on")
        qemu, ser2net = board(lab).qemu, board(lab).ser2net
        kill(lab.status().parts["exporter"].pid)
        until(lambda: not list(Path("/proc").glob(f"{ser2net}/environ")))
        status = lab.status()
        assert status.dead == ("exporter",)
        assert board(lab).qemu == qemu
        assert (
            json.loads(hil("status", "--json", "--directory", str(directory), status=1))["parts"][2]["state"] == "dead"
        )
        kill(status.parts["coordinator"].pid)
        until(lambda: "coordinator" in lab.status().dead)
        assert board(lab).qemu == qemu
        # whatever kills the supervisor ends all
        kill(status.parts["supervisor"].pid)
        until(lambda: not list(marked(directory)))
        assert set(lab.status().dead) == {"supervisor", "coordinator", "exporter"}


def test_raw_lines_of_two_labs_beside_each_other(tmp_path, target):
    one, two = tmp_path / "one", tmp_path / "two"
    try:
        with Lab.up(1, serial="raw", directory=one) as lab:
            printed = hil("up", "1", "--directory", str(two))
            assert lab.coordinator not in printed
            assert "export LG_COORDINATOR=127.0.0.1:" in printed
            assert "is up in" in hil("up", "1", "--directory", str(two), status=2)
            client(lab, "acquire")
            line = console(target, lab, "raw")
            switch = power(target, lab)
            switch.on()
            interrupt(line)
            other = Lab.find(two)
            kill(other.status().parts["supervisor"].pid)
            until(lambda: not list(marked(two)))
            left = subprocess.Popen(["sleep", "60"], env={MARK: str(two)})
            assert "export" in hil("up", "1", "--directory", str(two))  # what a crash has left does not matter
            assert left.wait(SOON) == -signal.SIGKILL
            line.write(b"version\n")
            line.wait_for(b"U-Boot 20", timeout=LIMIT)
            assert "ended" in hil("down", "--directory", str(two))
            assert not list(marked(two))
            assert "no lab was running" in hil("down", "--directory", str(two))
            assert "no lab is up" in hil("status", "--directory", str(two), status=2)
            assert switch.get()
    finally:
        take_down(one)
        take_down(two)


def test_a_lab_ends_with_its_owner(directory):
    script = "import sys, pathlib, hil.lab; lab = hil.lab.Lab.up(1, directory=pathlib.Path(sys.argv[1])); print('up'); input()"
    pipe = subprocess.PIPE
    owner = subprocess.Popen([sys.executable, "-uc", script, str(directory)], stdin=pipe, stdout=pipe)
    with owner:
        assert owner.stdout.readline() == b"up\n"
        assert len(list(marked(directory))) == 3
        owner.kill()
    until(lambda: not list(marked(directory)))
    until(lambda: not (directory / "lab.json").exists())


def test_what_does_not_come_up_says_why(directory, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InfrastructureError, match=rf"coordinator .*status 1(.|\n)*:{port}"):
            Lab.up(1, directory=directory, port=port)
    assert not list(marked(directory))
    with pytest.raises(ConfigurationError, match=str(directory)):
        Lab.find(directory)
    assert "coordinator.log" in {path.name for path in directory.iterdir()}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").touch()
    with pytest.raises(ConfigurationError, match=str(tmp_path)):
        Lab.up(1, directory=tmp_path / "home")
