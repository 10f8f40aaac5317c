"""The consoles that labgrid's users have in their environments: ours takes their place, or they are refused."""

from __future__ import annotations

import os
import pty
import time
import tty
from pathlib import Path

import pytest
from labgrid.driver import SerialDriver, ShellDriver, UBootDriver
from labgrid.strategy import ShellStrategy, UBootStrategy
from support import stub_board

from hil.board.board import Board
from hil.board.serial_driver import HilSerialDriver
from hil.errors import ConfigurationError

BOARD = """\
targets:
  main:
    resources:
{resources}
    drivers:
      ManualPowerDriver: {{}}
{drivers}
images: {{main: stub.toml}}
"""
TTY = "RawSerialPort: {port: /dev/ttyNOTHING, speed: 9600}"
UBOOT = "UBootDriver: {prompt: '=> '}"
SHELL = "ShellDriver: {prompt: '# ', login_prompt: 'login: ', username: root}"


def board(directory: Path, *drivers: str, resources: tuple[str, ...] = (TTY,)) -> Board:
    path = stub_board(directory)
    lines = {"resources": resources, "drivers": drivers}
    path.write_text(BOARD.format(**{name: "\n".join(f"      {one}" for one in text) for name, text in lines.items()}))
    return Board(str(path), snapshots=False)


@pytest.mark.parametrize(
    "resource",
    [
        TTY,
        "USBSerialPort: {match: {ID_SERIAL_SHORT: none}}",
        "NetworkSerialPort: {host: lab.invalid, port: 2001}",
        "NetworkSerialPort: {host: lab.invalid, port: 2001, protocol: raw}",
    ],
)
@pytest.mark.parametrize(
    "console", ["SerialDriver: {}", "SerialDriver: {name: uart, timeout: 5.0}", "HilSerialDriver: {}"]
)
def test_stock_drivers_read_our_console(tmp_path: Path, resource: str, console: str) -> None:
    drivers = ("UBootStrategy: {}", "ShellStrategy: {}")
    with board(tmp_path, "HilStrategy: {}", console, UBOOT, SHELL, *drivers, resources=(resource,)) as made:
        assert isinstance(made.line, HilSerialDriver)
        assert made.strategy.uboot is made.target.get_driver(UBootDriver, activate=False)
        for cls in (UBootDriver, ShellDriver, UBootStrategy, ShellStrategy):
            assert made.target.get_driver(cls, activate=False).console is made.line, cls
        assert not any(isinstance(driver, SerialDriver) for driver in made.target.drivers)


def test_ours_goes_before_a_stock_console_wherever_it_stands(tmp_path: Path) -> None:
    with board(tmp_path, "SerialDriver: {}", UBOOT, "HilSerialDriver: {}") as made:
        assert made.strategy.uboot.console is made.line


def test_the_pace_of_a_stock_driver_is_kept(tmp_path: Path) -> None:
    master, slave = pty.openpty()
    tty.setraw(slave)
    resource = f"RawSerialPort: {{port: {os.ttyname(slave)}}}"
    try:
        with board(tmp_path, "SerialDriver: {txdelay: 0.01, txchunk: 2}", resources=(resource,)) as made:
            made.line.transcripts = tmp_path
            made.target.activate(made.line)
            begin = time.monotonic()
            made.line.console.sendline("slowly")
            assert time.monotonic() - begin > 0.04
            typed = b""
            while len(typed) < 7:
                typed += os.read(master, 100)
            assert typed == b"slowly\n"
    finally:
        os.close(master)
        os.close(slave)


def test_a_serial_driver_for_control_lines_stays_as_it_is(tmp_path: Path) -> None:
    path = stub_board(tmp_path)
    path.write_text(
        """\
targets:
  main:
    resources:
    - RawSerialPort: {name: shell, port: /dev/ttyNOTHING}
    - RawSerialPort: {name: relay, port: /dev/ttyELSE}
    drivers:
    - ManualPowerDriver: {}
    - SerialDriver: {name: shell, bindings: {port: shell}}
    - SerialDriver: {name: relay, bindings: {port: relay}}
    - SerialPortDigitalOutputDriver: {signal: dtr, invert: false, bindings: {serial: relay}}
images: {main: stub.toml}
"""
    )
    with Board(str(path)) as made:
        assert (made.line.name, made.line.port.port) == ("shell", "/dev/ttyNOTHING")
        assert [driver.name for driver in made.target.drivers if isinstance(driver, SerialDriver)] == ["relay"]


@pytest.mark.parametrize(
    ("line", "drivers"),
    [
        (7, ("ExternalConsoleDriver: {cmd: cat}", UBOOT)),
        (8, (UBOOT, "FakeConsoleDriver: {}")),
        (
            9,
            ("SerialDriver: {name: stock}", "HilSerialDriver: {}", SHELL.replace("{", "{bindings: {console: stock}, ")),
        ),
        (8, ("SerialDriver: {}", "UBootDriver: {}")),
        (8, ("SerialDriver: {}", "UBootDriver: {prompt: '(=> )?'}")),
        (8, ("SerialDriver: {}", "UBootDriver: {prompt: '('}")),
    ],
)
def test_what_cannot_work_is_refused_with_its_line(tmp_path: Path, line: int, drivers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        board(tmp_path, *drivers)
    assert f"stub.yaml:{line}: " in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize("cls", ["SerialDriver", "HilSerialDriver"])
def test_one_of_several_consoles_is_chosen_by_name(tmp_path: Path, cls: str) -> None:
    text = """\
targets:
  main:
    resources:
    - RawSerialPort: {name: a, port: /dev/ttyA}
    - RawSerialPort: {name: b, port: /dev/ttyB}
    drivers:
    - ManualPowerDriver: {}
    - SerialDriver: {name: first, bindings: {port: a}}
    - SerialDriver: {name: second, bindings: {port: b}}
    - UBootDriver: {prompt: '=> ', bindings: {console: second}}
images: {main: stub.toml}
"""
    text = text.replace("SerialDriver", cls)
    path = stub_board(tmp_path)
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="first, second"):
        Board(str(path))
    path.write_text(text.replace("- UBoot", "- HilStrategy: {bindings: {line: second}}\n    - UBoot"))
    with Board(str(path)) as made:
        assert made.line.port.port == "/dev/ttyB"
        assert made.strategy.uboot.console is made.line
