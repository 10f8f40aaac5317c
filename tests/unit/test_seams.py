"""What the libraries beneath a board raise is an error of ours, with the one who has to act."""

from __future__ import annotations

import os
import pty
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
import serial
from labgrid.binding import StateError
from labgrid.driver import ExecutionError
from labgrid.exceptions import NoResourceFoundError
from support import QUICK, Wire, stub_board

from hil.board.board import Board
from hil.console import LineClosed, LineTimeout
from hil.errors import ConfigurationError, InfrastructureError
from hil.plugin.origins import origin_of

BOARD = """\
targets:
  main:
    resources:
      RawSerialPort: {{port: {port}}}
    drivers:
      ExternalPowerDriver: {{cmd_on: "sh -c 'echo no such outlet; exit 3'", cmd_off: "true"}}
images: {{main: stub.toml}}
"""
THEIRS = [
    ExecutionError("x", stdout=["y"]),
    StateError("x"),
    NoResourceFoundError("x"),
    serial.SerialException("x"),
    termios.error(5, "x"),
    OSError("x"),
    subprocess.CalledProcessError(1, "x", output=b"y\r\nx\r\n"),
    subprocess.CalledProcessError(1, "x", output=b" \n"),
    subprocess.CalledProcessError(1, "x", output="y\nx\n"),
    pexpect.EOF("x"),
    pexpect.TIMEOUT("x"),
    RuntimeError("x"),
]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """A board on a tty, whose switch fails to switch it on."""
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path))
    master, slave = pty.openpty()
    tty.setraw(slave)
    path = stub_board(tmp_path)
    path.write_text(BOARD.format(port=os.ttyname(slave)))
    with Board(str(path)) as made:
        yield made
    os.close(master)
    os.close(slave)


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_switch_that_fails_is_told_with_what_it_said(board: Board) -> None:
    with pytest.raises(InfrastructureError, match="status 3.*no such outlet") as failed:
        board.boot()
    assert origin_of(failed.value, on_board=True) == "infrastructure"


@pytest.mark.parametrize("way", ["on", "off", "cycle", "reset"])
@pytest.mark.parametrize("active", [True, False])
def test_a_test_s_own_hand_on_the_power_meets_our_errors(board: Board, way: str, active: bool) -> None:
    if active:
        board.target.activate(board.power)
        board.power.cmd_off = "/nonexistent/switch"
    with pytest.raises(InfrastructureError):
        getattr(board.power, way)()


@pytest.mark.parametrize("error", THEIRS, ids=repr)
@pytest.mark.parametrize("seam", ["activate the power", "activate the line", "switch"])
def test_a_boot_meets_our_errors(board: Board, monkeypatch: pytest.MonkeyPatch, error: Exception, seam: str) -> None:
    target, name = {
        "activate the power": (type(board.power), "on_activate"),
        "activate the line": (type(board.line), "on_activate"),
        "switch": (board.power, "off"),
    }[seam]
    monkeypatch.setattr(target, name, failing(error))
    with pytest.raises(InfrastructureError) as failed:
        board.boot()
    assert "x" in failed.value.message


@pytest.mark.parametrize("error", [error for error in THEIRS if isinstance(error, OSError | termios.error)], ids=repr)
def test_opening_a_port_meets_our_errors(board: Board, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr("hil.board.serial_driver.serial.Serial", failing(error))
    with pytest.raises(InfrastructureError, match="serial line"):
        board.target.activate(board.line)


@pytest.mark.parametrize("error", THEIRS, ids=repr)
def test_closing_a_board_meets_our_errors(board: Board, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    board.target.activate(board.power)
    with monkeypatch.context() as patch:
        patch.setattr(type(board.power), "on_deactivate", failing(error))
        with pytest.raises(InfrastructureError, match="x"):
            board.close()


def test_pexpect_s_errors_are_ours_too(wire: Wire) -> None:
    for way in (wire.console.expect, wire.console.expecter.expect_exact):
        with pytest.raises(LineTimeout, match="never") as waited:
            way("never", timeout=0.01)
        assert isinstance(waited.value, pexpect.TIMEOUT)
        assert waited.value.evidence
    wire.cut()
    with pytest.raises(LineClosed) as ended:
        wire.console.expect("never", timeout=QUICK)
    assert isinstance(ended.value, pexpect.EOF)
    assert origin_of(ended.value, on_board=True) == "infrastructure"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RawSerialPort: {{port: {port}}}", "NetworkPowerPort: {{model: nothing, host: x, index: 1}}"),
        ("RawSerialPort: {{port: {port}}}", "RawSerialPort: {{}}"),
        ('cmd_off: "true"', 'cmd_off: "true", delay: much'),
        ("targets:", "imports: [missing.py]\ntargets:"),
    ],
)
def test_what_labgrid_cannot_make_is_the_board_file_s_fault(tmp_path: Path, old: str, new: str) -> None:
    path = stub_board(tmp_path)
    text = BOARD.replace(old, new).replace(
        "ExternalPowerDriver", "NetworkPowerDriver" if "model" in new else "External"
    )
    path.write_text(text.format(port="/dev/ttyNOTHING").replace("External:", "ExternalPowerDriver:"))
    with pytest.raises(ConfigurationError, match=r"stub\.yaml"):
        Board(str(path))
