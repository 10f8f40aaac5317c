"""U-Boot's part of a boot: labgrid's own drivers over our console, against a U-Boot that follows a script."""

from __future__ import annotations

import contextlib
import hashlib
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attr
import pytest
from labgrid import Target
from labgrid.driver import Driver, TFTPProviderDriver
from labgrid.factory import target_factory
from labgrid.protocol import PowerProtocol
from labgrid.resource import TFTPProvider
from labgrid.resource.remote import RemoteTFTPProvider
from support import QUICK

from hil.board import tftp, uboot
from hil.board.board import Board
from hil.board.diagnosis import NOTHING
from hil.console import LineClosed
from hil.errors import BootError, ConfigurationError, InfrastructureError
from hil.image import manifest, store

FILES = {"kernel": b"k" * 3000, "tree": b"t" * 10}
IMAGE = """\
schema = 1
name = "image"
title = "An image"
hypervisor = "none"
{files}
[machine]
arguments = []
{load}
[[stages]]
name = "kernel"
marker = "kernel starts"
limit = 10
[[stages]]
name = "shell"
marker = "# "
limit = 10
"""
BOARD = """\
imports: [hil.labgrid]
images: {{main: image.toml}}
targets:
  main:
    resources:
    - NetworkSerialPort: {{host: 127.0.0.1, port: {port}, protocol: raw}}
    - TFTPProvider: {{internal: '{tftp}/', external: 'prefix/'}}
    drivers:
      ScriptedPowerDriver: {{}}
      HilSerialDriver: {{}}
      TFTPProviderDriver: {{}}
      UBootDriver: {{prompt: '=> ', init_commands: [dhcp], boot_command: go, login_timeout: {limit}}}
      HilStrategy: {{load: {{kernel: '${{loadaddr}}'}}}}
"""
FRAMED = re.compile(r"echo '(....)''(.*?)'; (.*); echo \"\$\?\"; echo '")
POWER: list[Callable[[bool], None]] = []


@target_factory.reg_driver
@attr.s(eq=False)
class ScriptedPowerDriver(Driver, PowerProtocol):  # type: ignore[misc]
    """Tells the script."""

    def on(self) -> None:
        POWER[-1](True)

    def off(self) -> None:
        POWER[-1](False)

    def cycle(self) -> None:
        self.off()
        self.on()


class Script:
    """U-Boot on a TCP line: `answers` are what its commands print and end with, `boot` what the boot command brings."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[str, int]] = {"dhcp": ("DHCP client bound", 0)}
        for name, data in FILES.items():
            self.answers[f"prefix/{name}"] = (f"Loading: *#\ndone\nBytes transferred = {len(data)} (0 hex)", 0)
        self.banner = "U-Boot 2023.01\r\nHit any key to stop autoboot: 2 "
        self.prompt = "\r\n=> "
        self.boot = "Starting kernel ...\r\nkernel starts\r\n# "
        self.commands: list[str] = []
        self.switched: list[bool] = []
        self.on_command: Callable[[str, socket.socket], bool] = lambda command, line: False
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._line: socket.socket | None = None
        self._connected = threading.Event()
        self.switched_at: list[float] = []
        self.typed: list[str] = []
        self.stale = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        POWER.append(self.switch)

    def switch(self, on: bool) -> None:
        self.switched.append(on)
        self.switched_at.append(time.monotonic())
        if on:
            assert self._connected.wait(QUICK)
        if self._line is not None:
            self._line.sendall(self.banner.encode() if on else self.stale)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._line, _ = self._server.accept()
                self._connected.set()
                with contextlib.suppress(OSError):
                    for typed in self._line.makefile("r", newline="\n"):
                        self._answer(typed.rstrip("\n"), self._line)

    def _answer(self, typed: str, line: socket.socket) -> None:
        self.typed.append(typed)
        line.sendall(typed.encode() + b"\r\n")  # the echo
        if framed := FRAMED.match(typed):
            marker, command = framed[1] + framed[2], framed[3]
            self.commands.append(command)
            if self.on_command(command, line):
                return
            said, status = self.answers[command.split()[-1]]
            text = f"{marker}\n{said}\n{status}\n{marker}"
            line.sendall(text.replace("\n", "\r\n").encode() + self.prompt.encode())
        elif typed.startswith("echo '"):  # labgrid's first question
            line.sendall(typed[6:].replace("'", "").encode() + self.prompt.encode())
        elif typed:
            self.commands.append(typed)
            line.sendall(self.boot.encode())
        else:
            line.sendall(self.prompt.encode())

    def close(self) -> None:
        POWER.pop()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        if self._line is not None:
            with contextlib.suppress(OSError):
                self._line.shutdown(socket.SHUT_RDWR)
            self._line.close()
        self._thread.join(QUICK)


@pytest.fixture
def script() -> Iterator[Script]:
    made = Script()
    yield made
    made.close()


def write_image(directory: Path, load: str = "") -> None:
    files = ""
    for name, data in FILES.items():
        (directory / name).write_bytes(data)
        files += f'[files.{name}]\npath = "{name}"\nsha256 = "{hashlib.sha256(data).hexdigest()}"\n'
    (directory / "image.toml").write_text(IMAGE.format(files=files, load=load))


@pytest.fixture
def path(tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    write_image(tmp_path, '[[machine.load]]\nfile = "tree"\naddress = 0x5000\n')
    board = tmp_path / "board.yaml"
    board.write_text(BOARD.format(limit=int(QUICK), port=script.port, tftp=tmp_path / "tftp"))
    return board


@pytest.fixture
def impatient(path: Path) -> Iterator[Board]:
    path.write_text(path.read_text().replace(f"login_timeout: {int(QUICK)}", "login_timeout: 2"))
    with Board(str(path)) as made:
        yield made


@pytest.fixture
def board(path: Path) -> Iterator[Board]:
    with Board(str(path)) as made:
        yield made


def test_the_stages_begin_with_uboot_s_and_each_file_s(board: Board, script: Script, tmp_path: Path) -> None:
    for _ in range(2):
        script.commands.clear()
        report = board.boot()
        assert [one.name for one in report.stages] == ["U-Boot", "tftp kernel", "tftp tree", "kernel", "shell"]
        assert script.commands == [
            "dhcp",
            "tftpboot ${loadaddr} prefix/kernel",
            "tftpboot 0x5000 prefix/tree",
            "go",
        ]
        seconds = [one.seconds for one in report.stages]
        assert seconds == sorted(seconds)
        transcript = board.console.transcript
        for stage in report.stages[:3]:
            assert transcript.read(stage.offset - 3, stage.offset) == b"=> "
        assert transcript.read(0, report["kernel"].offset).endswith(b"kernel starts")
    assert script.switched == [False, True, False, True]
    assert (tmp_path / "tftp" / "kernel").resolve() == tmp_path / "kernel"
    assert board.target.get_driver("UBootDriver", activate=False).get_status() == 1


def test_what_was_on_the_line_before_power_on_is_not_heard(path: Path, script: Script) -> None:
    path.write_text(path.read_text().replace("HilStrategy: {", "HilStrategy: {rest: 0.3, "))
    with Board(str(path)) as made:
        made.boot()
        script.typed.clear()
        script.stale = b"last words\r\n=> "
        made.boot()
        assert script.typed[0] == "", "autoboot was not stopped, for an old prompt was taken for one"
    assert min(on - off for off, on in zip(script.switched_at[::2], script.switched_at[1::2], strict=True)) >= 0.3


def fails(board: Board, kind: type[Exception], match: str) -> Any:
    with pytest.raises(kind, match=match) as caught:
        board.boot()
    assert POWER, "the script is still there"
    return caught.value


def test_a_loader_that_does_not_come_is_not_the_image_s_fault(impatient: Board, script: Script) -> None:
    script.banner, script.prompt = "", ""
    error = fails(impatient, InfrastructureError, r"'=> '.* 2 s")
    assert error.stage == "U-Boot"
    assert not isinstance(error, BootError)
    assert script.switched[-1] is False


def test_a_line_without_a_byte_is_told(impatient: Board, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script, "_answer", lambda typed, line: None)
    script.banner = ""
    fails(impatient, InfrastructureError, NOTHING)


def test_a_board_that_resets_in_a_loop_does_not_wait_for_ever(
    impatient: Board, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """labgrid's driver stops autoboot whenever it is told of it, without looking at its limit."""
    monkeypatch.setattr(uboot, "GRACE", 0.5)
    monkeypatch.setattr(uboot, "SLACK", 0.0)
    monkeypatch.setattr(script, "_answer", lambda typed, line: line.sendall(script.banner.encode()))
    fails(impatient, InfrastructureError, r" 2 s")


def test_a_first_command_that_fails_is_told_and_the_next_boot_begins_at_the_prompt(
    board: Board, script: Script
) -> None:
    script.answers["dhcp"] = ("BOOTP broadcast 1\nRetry count exceeded; starting again", 1)
    error = fails(board, InfrastructureError, "'dhcp'.*init_commands.*: Retry count exceeded")
    assert error.stage == "U-Boot"
    script.answers["dhcp"] = ("bound", 0)
    script.commands.clear()
    board.boot()
    assert script.commands[0] == "dhcp", "the driver took itself to be at the prompt"


@pytest.mark.parametrize(
    ("said", "status", "kind", "told"),
    [
        ("TFTP error: 'File not found' (1)", 1, InfrastructureError, "kernel.*File not found"),
        ("Unknown command 'tftpboot' - try 'help'", 1, ConfigurationError, "Unknown command"),
        ("Bytes transferred = 2999 (0 hex)", 0, InfrastructureError, "2999 .*kernel.* 3000"),
        ("Bytes transferred = 3000 (0 hex)\nchecksum failed", 1, InfrastructureError, "checksum failed"),
        ("done", 0, InfrastructureError, "kernel.*: done"),
        ("", 1, InfrastructureError, "kernel"),
    ],
)
def test_a_file_that_does_not_come_whole_is_told(
    board: Board, script: Script, said: str, status: int, kind: type[Exception], told: str
) -> None:
    script.answers["prefix/kernel"] = (said, status)
    error = fails(board, kind, told)
    assert error.stage == "tftp kernel"
    assert error.evidence.lines


def test_a_server_that_does_not_answer_is_told(board: Board, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uboot, "SLACK", 0.5)

    def hangs(command: str, line: socket.socket) -> bool:
        if "kernel" in command:
            line.sendall(b"Loading: *\x08T T T T ")
        return "kernel" in command

    script.on_command = hangs
    fails(board, InfrastructureError, r"in 1 s.*T T T")


def test_a_board_that_falls_silent_in_a_transfer_is_not_waited_for(
    board: Board, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uboot, "QUIET", 0.5)
    script.on_command = lambda command, line: "kernel" in command
    begin = time.monotonic()
    assert fails(board, InfrastructureError, "`tftpboot ").stage == "tftp kernel"
    assert time.monotonic() - begin < QUICK


def test_an_answer_without_its_frame_is_garbled(board: Board, script: Script) -> None:
    def garbles(command: str, line: socket.socket) -> bool:
        if "kernel" in command:
            line.sendall(b"Lo\xff\r\n=> ")
        return "kernel" in command

    script.on_command = garbles
    assert fails(board, InfrastructureError, "U-Boot").stage == "tftp kernel"


def test_a_line_that_ends_is_told_with_its_stage(board: Board, script: Script) -> None:
    def ends(command: str, line: socket.socket) -> bool:
        line.shutdown(socket.SHUT_RDWR)
        return True

    script.on_command = ends
    assert fails(board, LineClosed, "U-Boot").stage == "U-Boot"


def test_a_boot_command_that_comes_back_to_the_prompt_ends_the_wait(board: Board, script: Script) -> None:
    script.boot = "Bad Linux ARM64 Image magic!\r\n=> "
    error = fails(board, BootError, r"tftp tree .*'=> '.*'Bad Linux ARM64")
    assert error.stage == "kernel"


def test_a_board_that_starts_over_is_told(board: Board, script: Script) -> None:
    script.boot = f"kernel starts\r\nPanic\r\n{script.banner}"
    assert fails(board, BootError, r"'stop autoboot'").stage == "shell"


def test_arrows_in_what_boots_are_no_prompt(board: Board, script: Script) -> None:
    script.boot = "a => b\r\n" * 300 + "kernel starts\r\n" + "x" * 300 + "=> c\r\n# "
    assert board.boot()["shell"]


def test_what_asks_for_a_password_is_for_the_board_file(board: Board, script: Script) -> None:
    script.banner = "enter Password:"
    fails(board, ConfigurationError, "password")


def test_whatever_else_labgrid_s_driver_raises_is_told_with_its_stage(path: Path) -> None:
    path.write_text(path.read_text().replace("boot_command: go", "boot_command: go, autoboot: '('"))
    with Board(str(path)) as board:
        error = fails(board, InfrastructureError, "unterminated subpattern")
    assert error.stage == "U-Boot"


def test_staging_that_fails_leaves_the_power_alone(board: Board, script: Script, tmp_path: Path) -> None:
    (tmp_path / "tftp").mkdir()
    (tmp_path / "tftp" / "kernel").touch()
    fails(board, InfrastructureError, r"kernel.* localhost:.*tftp/: .*not a symlink")
    assert True not in script.switched


def test_without_tftp_uboot_loads_by_itself(path: Path, script: Script) -> None:
    text = path.read_text().replace("      TFTPProviderDriver: {}\n", "")
    path.write_text(text)
    with Board(str(path)) as made:
        fails(made, ConfigurationError, "`load`.*UBootDriver.*TFTPProviderDriver")
    path.write_text(re.sub(r"HilStrategy: .*", "HilStrategy: {}", text))
    with Board(str(path)) as made:
        assert [one.name for one in made.boot().stages] == ["U-Boot", "kernel", "shell"]
        assert script.commands == ["dhcp", "go"]


def test_labgrid_can_export_a_target_without_uboot(path: Path) -> None:
    text = path.read_text().replace("      TFTPProviderDriver: {}\n", "")
    path.write_text(re.sub(r"UBootDriver: .*\n", "UBootDriver: {prompt: x}\n", re.sub("HilStrategy: .*", "", text)))
    with Board(str(path)) as made:
        assert None not in made.strategy.prepare_export()


@pytest.mark.parametrize(
    ("load", "told"),
    [
        ({"nothing": 0}, "'nothing'"),
        ({"kernel": "0x1000; reset"}, "'kernel'"),
        ({"kernel": True}, "'kernel'"),
        ({"kernel": None}, "'kernel'"),
        ({"kernel": 0x4FFF}, "kernel .*tree"),
    ],
)
def test_what_cannot_be_loaded_is_told(tmp_path: Path, load: dict[str, Any], told: str) -> None:
    write_image(tmp_path, '[[machine.load]]\nfile = "tree"\naddress = 0x5000\n')
    image = store.open(manifest.load(tmp_path / "image.toml"))
    assert image is not None
    with pytest.raises(ConfigurationError, match=told):
        tftp.boot_files(image, load)


@pytest.mark.parametrize("host", ["localhost", "elsewhere.invalid"])
def test_what_an_exporter_of_this_host_serves_is_staged_without_ssh(
    tmp_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LG_PROXY", raising=False)
    write_image(tmp_path)
    served = tmp_path / "served"
    served.mkdir()
    target = Target("main")
    RemoteTFTPProvider(target, None, host=host, internal=f"{served}/", external="there/")
    driver = TFTPProviderDriver(target, None)
    asked: list[str] = []
    monkeypatch.setattr("labgrid.util.managedfile.sshmanager.open", lambda host: asked.append(host) or {}["no"])
    wanted = (tftp.BootFile("kernel", tmp_path / "kernel", 3000, "0x1000"),)
    if host == "localhost":
        assert tftp.stage(driver, wanted) == {"kernel": "there/kernel"}
        assert (served / "kernel").read_bytes() == FILES["kernel"]
        monkeypatch.setenv("LG_PROXY", "gateway")  # then localhost is the gateway
    with pytest.raises(KeyError):
        tftp.stage(driver, wanted)
    assert asked == [host]


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    target = Target("main")
    TFTPProvider(target, None, internal=f"{tmp_path}/served/", external="")
    driver = TFTPProviderDriver(target, None)
    wanted = []
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "kernel").touch()
        wanted.append(tftp.BootFile(name, tmp_path / name / "kernel", 0, "0x0"))
    with pytest.raises(ConfigurationError, match="kernel"):
        tftp.stage(driver, tuple(wanted))
