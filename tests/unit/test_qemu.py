"""A real QEMU process: watched, spoken to, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import QUICK, children, gone, held, no_more_than, until

from hil.console import Console, LineClosed, Transcript
from hil.errors import ConfigurationError, InfrastructureError
from hil.qemu.monitor import Monitor
from hil.qemu.process import Qemu

EMULATOR = "qemu-system-aarch64"
NONE = [EMULATOR, "-machine", "none"]
STOPPED = [EMULATOR, "-machine", "virt", "-S"]


def pids(qemu: Qemu) -> tuple[int, int]:
    """The keeper and its child."""
    (child,) = children(qemu._keeper.pid)
    return qemu._keeper.pid, child


@pytest.fixture
def qemu(tmp_path: Path) -> Iterator[Qemu]:
    made = Qemu(NONE, log=tmp_path / "qemu.log", oldest="7.2")
    yield made
    made.kill()
    os.close(made.console_port)


def test_a_machine_runs_answers_and_ends(qemu: Qemu) -> None:
    keeper, child = pids(qemu)
    assert qemu.running
    assert qemu.exit_reason(0.0) == ""
    assert qemu.monitor.execute("query-status")["status"]
    assert qemu.monitor.execute("query-version")["qemu"]["major"] == qemu.monitor.version[0]
    assert qemu.version.count(".") == 2
    qemu.kill()
    assert not qemu.running
    assert gone(keeper)
    assert gone(child)
    assert qemu.exit_reason() == "QEMU was switched off"
    qemu.kill()


def test_a_refused_command_is_told(qemu: Qemu) -> None:
    with pytest.raises(InfrastructureError, match="'no-such-command'"):
        qemu.monitor.execute("no-such-command")
    with pytest.raises(InfrastructureError, match="'device_del'"):
        qemu.monitor.execute("device_del", {"id": "nothing"})
    assert qemu.running


def test_a_closed_monitor_refuses_all_commands(qemu: Qemu) -> None:
    qemu.kill()
    for ask in (lambda: qemu.monitor.execute("query-status"), qemu.stop, qemu.go_on):
        with pytest.raises(InfrastructureError, match="monitor"):
            ask()


def test_a_killed_machine_is_noticed_at_once_on_line_and_monitor(qemu: Qemu, tmp_path: Path) -> None:
    child = pids(qemu)[1]
    port = os.dup(qemu.console_port)
    with Console(port, Transcript.create(tmp_path, "q"), explain_end=qemu.exit_reason) as console:
        threading.Timer(0.1, os.kill, (child, signal.SIGKILL)).start()
        begin = time.monotonic()
        with pytest.raises(LineClosed, match="SIGKILL"):
            console.wait_for(b"never", timeout=60)
        assert time.monotonic() - begin < 60
    assert not qemu.running
    with pytest.raises(InfrastructureError, match="monitor"):
        qemu.monitor.execute("query-status")


def test_a_command_under_way_ends_with_the_machine(qemu: Qemu) -> None:
    child = pids(qemu)[1]
    os.kill(child, signal.SIGSTOP)
    threading.Timer(0.1, os.kill, (child, signal.SIGKILL)).start()
    begin = time.monotonic()
    with pytest.raises(InfrastructureError, match="'query-status'"):
        qemu.monitor.execute("query-status", timeout=60)
    assert time.monotonic() - begin < 60


def test_a_monitor_that_does_not_answer_is_not_waited_for(qemu: Qemu) -> None:
    child = pids(qemu)[1]
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(InfrastructureError, match=r"'query-status' in 0\.2 s"):
        qemu.monitor.execute("query-status", timeout=0.2)
    begin = time.monotonic()
    qemu.kill()
    assert gone(child)
    assert time.monotonic() - begin < QUICK


def test_a_machine_that_ends_itself_leaves_its_status_and_words(tmp_path: Path) -> None:
    before = held()
    with pytest.raises(InfrastructureError, match=r"status 1\b.*machine type"):
        Qemu([EMULATOR, "-machine", "nonsense"], log=tmp_path / "qemu.log", oldest="7.2")
    until(lambda: no_more_than(before))
    assert "machine type" in (tmp_path / "qemu.log").read_text()


@pytest.mark.parametrize("arguments", [["--no-such-option"], ["-kernel", "/nothing", "-machine", "virt"]])
def test_wrong_arguments_are_told_with_what_qemu_said(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(InfrastructureError, match=r"no-such-option|/nothing") as caught:
        Qemu([EMULATOR, *arguments], log=tmp_path / "qemu.log", oldest="7.2")
    assert str(tmp_path / "qemu.log") in str(caught.value)


def test_a_missing_emulator_is_told(tmp_path: Path) -> None:
    before = held()
    with pytest.raises(ConfigurationError, match=r"qemu-system-vax .*\n.*apt-get install"):
        Qemu(["qemu-system-vax"], log=tmp_path / "qemu.log", oldest="7.2")
    assert no_more_than(before)


def test_an_emulator_that_cannot_be_run_is_told(tmp_path: Path) -> None:
    broken = tmp_path / "qemu-broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o755)
    with pytest.raises(InfrastructureError, match="status 127\\b.*qemu-broken"):
        Qemu([str(broken)], log=tmp_path / "qemu.log", oldest="7.2")


def test_an_emulator_that_is_too_old_is_told_and_ended(tmp_path: Path) -> None:
    before = held()
    with pytest.raises(ConfigurationError, match=r"version \d+\.\d+\.\d+;.* 99\.0"):
        Qemu(NONE, log=tmp_path / "qemu.log", oldest="99.0")
    until(lambda: no_more_than(before))


@pytest.mark.parametrize("oldest", ["7", "7.2", "7.2.0"])
def test_versions_are_compared_by_their_numbers(tmp_path: Path, oldest: str) -> None:
    made = Qemu(NONE, log=tmp_path / "qemu.log", oldest=oldest)
    made.kill()
    os.close(made.console_port)


def test_many_machines_leave_nothing_behind(tmp_path: Path) -> None:
    def once() -> None:
        made = Qemu(NONE, log=tmp_path / "qemu.log", oldest="7.2")
        made.kill()
        os.close(made.console_port)

    once()
    before = held()
    for _ in range(5):
        once()
    assert no_more_than(before)


OWNER = """
import sys
from pathlib import Path
from hil.qemu.process import Qemu
qemu = Qemu(["qemu-system-aarch64", "-machine", "none"], log=Path(sys.argv[1]), oldest="7.2")
child = open(f"/proc/{qemu._keeper.pid}/task/{qemu._keeper.pid}/children").read().split()[0]
print(qemu._keeper.pid, child, flush=True)
qemu.exit_reason(60)
"""


@pytest.mark.parametrize("victim", ["owner", "keeper", "owner interrupted"])
def test_no_machine_outlives_its_owner_or_keeper(tmp_path: Path, victim: str) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "qemu.log")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert owner.stdout is not None
        keeper, child = map(int, owner.stdout.readline().split())
        assert not gone(child)
        if victim == "owner interrupted":
            os.killpg(owner.pid, signal.SIGINT)  # as a terminal's Ctrl-C
        else:
            os.kill(owner.pid if victim == "owner" else keeper, signal.SIGKILL)
        until(lambda: gone(child) and gone(keeper))
    finally:
        owner.kill()
        owner.communicate()


def test_an_interrupted_start_leaves_no_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = held()

    def interrupted(sock: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("hil.qemu.process.Monitor", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Qemu(NONE, log=tmp_path / "qemu.log", oldest="7.2")
    until(lambda: no_more_than(before))


# aarch64: `for (;;) *(char *)0x9000000 = 'x';`, the UART of QEMU's machine virt
FLOOD = bytes.fromhex("0120a1d2030f805223000039ffffff17")


def test_a_machine_that_prints_at_once_does_not_silence_its_monitor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host the monitor is connected late; a socket that nobody reads holds 278 bytes sent one at a time."""

    class Late(Monitor):
        def __init__(self, sock: socket.socket) -> None:
            time.sleep(1)
            super().__init__(sock)

    monkeypatch.setattr("hil.qemu.process.Monitor", Late)
    kernel = tmp_path / "flood.bin"
    kernel.write_bytes(FLOOD)
    machine = [EMULATOR, "-machine", "virt", "-cpu", "cortex-a53", "-kernel", str(kernel)]
    made = Qemu(machine, log=tmp_path / "qemu.log", oldest="7.2")
    try:
        assert made.monitor.execute("query-status")["status"] == "prelaunch"
        with Console(os.dup(made.console_port), Transcript.create(tmp_path, "q")) as console:
            made.power_on()
            console.wait_for(b"x" * 1000, timeout=60)
            assert made.monitor.execute("query-status")["status"] == "running"
    finally:
        made.abandon()


GREETING = b'{"QMP": {"version": {"qemu": {"major": 9}}, "capabilities": []}}\r\n'


@pytest.mark.parametrize(
    "said",
    [b"", b"hello\n", b"{}\n", b"[1]\n", b"\xff\xfe\n", b'{"QMP": 1}\n', b"{" * 100_000 + b"\n", GREETING, None],
    ids=["nothing", "words", "empty", "list", "binary", "number", "deep", "no answer", "end"],
)
def test_a_monitor_that_does_not_come_up_is_the_test_bed_s(monkeypatch: pytest.MonkeyPatch, said: bytes | None) -> None:
    monkeypatch.setattr("hil.qemu.monitor.CONNECT_LIMIT", 0.2)
    before = held()
    ours, theirs = socket.socketpair()
    with theirs:
        if said is None:
            theirs.close()
        else:
            threading.Thread(target=theirs.sendall, args=(said,), daemon=True).start()
        with pytest.raises(InfrastructureError, match="monitor"):
            Monitor(ours)
    ours.close()
    until(lambda: no_more_than(before))


def test_a_greeting_without_a_version_is_the_test_bed_s() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(GREETING)
    answers = threading.Thread(target=lambda: theirs.sendall(reply(theirs.recv(4096))))
    answers.start()
    monitor = Monitor(ours)
    with pytest.raises(InfrastructureError, match="version"):
        _ = monitor.version
    answers.join()
    theirs.close()
    monitor.close()


def reply(request: bytes) -> bytes:
    return json.dumps({"return": {}, "id": json.loads(request).get("id")}).encode() + b"\r\n"


@pytest.mark.parametrize("answer", [b"x\n", b"{}\n", b'{"return": 1}\n', b'{"error": 5}\n', None])
def test_a_monitor_that_goes_wrong_is_the_test_bed_s(answer: bytes | None) -> None:
    """A command's answer that is none; each of them is an error of another kind in the library."""
    ours, theirs = socket.socketpair()
    whole = GREETING.replace(b'"major": 9', b'"major": 9, "minor": 0, "micro": 0')

    def play() -> None:
        with theirs:
            theirs.sendall(whole)
            theirs.sendall(reply(theirs.recv(4096)))
            theirs.recv(4096)
            if answer is not None:
                theirs.sendall(answer)
                theirs.recv(4096)

    threading.Thread(target=play, daemon=True).start()
    monitor = Monitor(ours)
    with pytest.raises(InfrastructureError, match="query-status"):
        monitor.execute("query-status", timeout=0.5)
    with pytest.raises(InfrastructureError, match="monitor"):
        monitor.execute("query-status", timeout=0.5)
    monitor.close()
    ours.close()


def test_a_silent_emulator_is_told_with_what_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.qemu.monitor.CONNECT_LIMIT", 0.3)
    before = held()
    silent = tmp_path / "qemu-silent"
    silent.write_text("#!/bin/sh\nkill -STOP $$\n")
    silent.chmod(0o755)
    with pytest.raises(InfrastructureError, match="signal") as caught:
        Qemu([str(silent)], log=tmp_path / "qemu.log", oldest="7.2")
    assert str(tmp_path / "qemu.log") in str(caught.value)
    until(lambda: no_more_than(before))
