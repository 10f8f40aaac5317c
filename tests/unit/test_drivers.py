"""Our labgrid drivers on labgrid's own resources, and labgrid's drivers on ours."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from labgrid import Target
from labgrid.driver import ShellDriver
from labgrid.protocol import ConsoleProtocol
from labgrid.resource import NetworkSerialPort, RawSerialPort
from labgrid.strategy import StrategyError
from support import QUICK, children, held, no_more_than, stub_board, until

from hil.board.board import Board
from hil.board.protocol import HilConsoleProtocol
from hil.board.serial_driver import HilSerialDriver
from hil.console import LineClosed
from hil.errors import BootError, ConfigurationError, InfrastructureError
from hil.faults.proxy import Tap


@pytest.fixture(autouse=True)
def transcripts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    return tmp_path / "transcripts"


@pytest.fixture
def serial_line() -> Iterator[tuple[HilSerialDriver, int]]:
    """A driver on a pty, and the pty's other end."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    target = Target("main")
    RawSerialPort(target, None, port=os.ttyname(slave), speed=115200)
    driver = HilSerialDriver(target, None)
    yield driver, master
    target.cleanup()
    os.close(master)
    os.close(slave)


@pytest.fixture
def tcp_line() -> Iterator[Callable[[str], tuple[HilSerialDriver, socket.socket]]]:
    """Makes a driver on a TCP port, and the listening end."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(QUICK)
    targets: list[Target] = []

    def make(protocol: str) -> tuple[HilSerialDriver, socket.socket]:
        target = Target("main")
        targets.append(target)
        NetworkSerialPort(target, None, host="127.0.0.1", port=server.getsockname()[1], protocol=protocol)
        return HilSerialDriver(target, None), server

    yield make
    for target in targets:
        target.cleanup()
    server.close()


def test_a_serial_port_is_set_up_read_and_written(serial_line: tuple[HilSerialDriver, int], transcripts: Path) -> None:
    driver, master = serial_line
    with pytest.raises(InfrastructureError, match="serial line"):
        driver.console  # noqa: B018
    driver.target.activate(driver)
    assert termios.tcgetattr(driver.console._port)[5] == termios.B115200
    os.write(master, b"any \x00\xff byte\r\n")
    assert driver.console.wait_for(b"\xff byte\r\n", timeout=QUICK).end == 13
    driver.sendline("typed")
    assert os.read(master, 100) == b"typed\n"
    driver.sendcontrol("c")
    assert os.read(master, 100) == b"\x03"
    assert [path.name.split("-")[0] for path in transcripts.glob("*.raw")] == ["main"]
    driver.target.deactivate(driver)
    with pytest.raises(InfrastructureError, match="serial line"):
        driver.console  # noqa: B018


@pytest.mark.parametrize("tapped", [False, True])
def test_a_tty_is_opened_again_and_again(serial_line: tuple[HilSerialDriver, int], tapped: bool) -> None:
    driver, master = serial_line
    if tapped:
        driver.tap = Tap()
    before = held()
    for number in range(3):
        driver.target.activate(driver)
        os.write(master, b"boot %d\r\n" % number)
        driver.console.wait_for(b"boot %d\r\n" % number, timeout=QUICK)
        driver.target.deactivate(driver)
        assert no_more_than(before)


def test_a_line_whose_reader_does_not_start_is_let_go(
    serial_line: tuple[HilSerialDriver, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver, _ = serial_line
    before = held()
    with monkeypatch.context() as patch:
        patch.setattr("hil.host.processes.sys.executable", "/nonexistent")
        with pytest.raises(InfrastructureError):
            driver.target.activate(driver)
    assert no_more_than(before)
    driver.target.activate(driver)


def test_labgrid_s_calls_work_on_it(serial_line: tuple[HilSerialDriver, int]) -> None:
    driver, master = serial_line
    driver.target.activate(driver)
    assert isinstance(driver, ConsoleProtocol)
    with pytest.raises(pexpect.TIMEOUT):
        driver.read(timeout=0.05)
    os.write(master, b"value=42 rest")
    index, before, match, after = driver.expect(["never", r"value=(\d+)"], timeout=QUICK)
    assert (index, before, match[1], after) == (1, b"", b"42", b"value=42")
    assert driver.read(timeout=QUICK, max_size=3) == b" re"
    assert driver.read(timeout=QUICK) == b"st"
    assert driver.settle(0.05, timeout=QUICK)


def test_a_port_that_is_not_there_is_told() -> None:
    target = Target("main")
    RawSerialPort(target, None, port="/dev/ttyNOTHING", speed=115200)
    driver = HilSerialDriver(target, None)
    with pytest.raises(InfrastructureError, match=r"/dev/ttyNOTHING: "):
        target.activate(driver)


def test_a_line_over_tcp(tcp_line: Callable[[str], tuple[HilSerialDriver, socket.socket]]) -> None:
    driver, server = tcp_line("raw")
    driver.target.activate(driver)
    far, _ = server.accept()
    with far:
        far.sendall(b"login: ")
        driver.console.wait_for(b"login: ", timeout=QUICK)
        driver.console.sendline("root")
        assert far.recv(100) == b"root\n"
    with pytest.raises(LineClosed):
        driver.console.wait_for(b"never", timeout=QUICK)


def test_a_server_that_is_not_there_is_told(tcp_line: Callable[[str], tuple[HilSerialDriver, socket.socket]]) -> None:
    driver, server = tcp_line("raw")
    server.close()
    with pytest.raises(InfrastructureError, match=r"127\.0\.0\.1:\d+: .*refused"):
        driver.target.activate(driver)


def test_labgrid_s_own_shell_driver_works_on_our_console(tmp_path: Path) -> None:
    """A real shell that asks for a name first, served over TCP, as labgrid's users have it."""
    master, slave = pty.openpty()
    login = "stty -echo; printf 'login: '; read name; stty echo; export PS1='root@stub# '; exec dash -i"
    process = subprocess.Popen(
        ["sh", "-c", login], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=tmp_path
    )
    os.close(slave)
    target = Target("main")
    RawSerialPort(target, None, port="/dev/null", speed=115200)  # bound, and replaced below
    near, far = socket.socketpair()

    def copy(read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
        try:
            while data := read():
                write(data)
        except OSError:
            pass

    threads = [
        threading.Thread(target=copy, args=(lambda: os.read(master, 4096), far.sendall), daemon=True),
        threading.Thread(target=copy, args=(lambda: far.recv(4096), lambda data: os.write(master, data)), daemon=True),
    ]
    driver = HilSerialDriver(target, None)
    driver._connect = near.detach  # type: ignore[method-assign]
    shell = ShellDriver(target, None, prompt=r"root@stub# ", login_prompt="login: ", username="root")
    try:
        for thread in threads:
            thread.start()
        target.activate(shell)
        assert shell.run_check("echo one; echo two") == ["one", "two"]
        assert shell.run("sh -c 'exit 7'")[2] == 7
    finally:
        process.kill()
        process.wait()
        target.cleanup()
        far.close()
        for thread in threads:
            thread.join(QUICK)
        os.close(master)


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with Board(str(stub_board(tmp_path))) as made:
        yield made


def test_a_board_boots_to_its_shell_and_again(board: Board, tmp_path: Path) -> None:
    for number in (1, 2):
        report = board.boot()
        assert [stage.name for stage in report.stages] == ["start", "login", "shell"]
        assert (report.board, report.image, board.boots) == ("stub", "stub", number)
        assert board.up
        assert board.power.get()
        assert board.qemu.running
    board.off()
    assert not board.up
    assert not board.power.get()
    with pytest.raises(InfrastructureError, match="off"):
        board.console  # noqa: B018


def test_a_power_cycle_gives_a_new_line(board: Board) -> None:
    board.boot()
    first = board.console
    board.power.cycle()
    assert board.console is not first
    assert first.ended
    board.console.wait_for(b"stub login: ", timeout=QUICK)
    same = board.console
    board.power.on()
    assert board.console is same, "on is nothing when it is on"


def test_a_dead_machine_is_not_up(board: Board) -> None:
    board.boot()
    board.qemu.monitor.execute("quit")
    with pytest.raises(LineClosed, match="QEMU .*status 0"):
        board.console.wait_for(b"never", timeout=QUICK)
    assert not board.up
    board.boot()
    assert board.up


def test_a_boot_that_fails_leaves_the_board_off(board: Board, tmp_path: Path) -> None:
    manifest = tmp_path / "stub.toml"
    manifest.write_text(manifest.read_text().replace('"# "\nlimit = 20', '"never"\nlimit = 0.2'))
    before = children(os.getpid())
    with pytest.raises(BootError, match="'shell'"):
        board.boot()
    assert not board.up
    assert not board.power.get()
    until(lambda: set(children(os.getpid())) <= set(before))


def test_what_qemu_says_when_it_does_not_start_is_told(board: Board, tmp_path: Path) -> None:
    manifest = tmp_path / "stub.toml"
    manifest.write_text(manifest.read_text().replace("cortex-a53", "cortex-x99"))
    with pytest.raises(InfrastructureError, match=r"QEMU.*cortex-x99"):
        board.boot()


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('["-machine"', '["-nonsense", "-machine"', "nonsense"),
        ("[machine]\n", '[machine]\nemulator = "qemu-system-vax"\n', "not installed"),
        ("[machine]\n", '[machine]\nemulator_version = "99.0"\n', "needs 99.0 or later"),
        ('"stub.bin"', '"nothing.bin"', "there is no file"),
    ],
)
def test_an_image_that_cannot_be_started_is_told(board: Board, tmp_path: Path, old: str, new: str, told: str) -> None:
    manifest = tmp_path / "stub.toml"
    manifest.write_text(manifest.read_text().replace(old, new))
    with pytest.raises((ConfigurationError, InfrastructureError), match=told):
        board.boot()
    assert not board.up


def test_unknown_states_are_refused(board: Board) -> None:
    with pytest.raises(StrategyError, match="off and shell"):
        board.strategy.transition("on")


def test_the_steps_of_a_boot_are_on_labgrid_s_bus(board: Board) -> None:
    from labgrid.step import steps

    seen: list[str] = []

    def note(event: object) -> None:
        if event.data.get("state") == "start":  # type: ignore[attr-defined]
            seen.append(event.step.title)  # type: ignore[attr-defined]

    steps.subscribe(note)
    try:
        board.boot()
    finally:
        steps.unsubscribe(note)
    assert [title for title in seen if title.startswith("stage ")] == ["stage start", "stage login", "stage shell"]


def test_arguments_of_the_driver_reach_qemu(tmp_path: Path) -> None:
    path = stub_board(tmp_path)
    path.write_text(path.read_text().replace("Driver: {}", "Driver: {arguments: [-name, here]}"))
    with Board(str(path)) as board:
        board.boot()
        assert board.qemu.command[board.qemu.command.index("-name") :][:2] == ("-name", "here")


def test_many_power_cycles_leave_nothing_behind(board: Board) -> None:
    board.boot()
    board.off()
    before = held()
    for _ in range(5):
        board.boot()
        board.off()
    assert no_more_than(before)
    assert isinstance(board.line, HilConsoleProtocol)
