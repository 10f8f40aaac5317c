"""labgrid's own tools on our boards: the stock ShellDriver, and labgrid-client with a real coordinator."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from labgrid import Environment
from labgrid.driver import ShellDriver

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "boards" / "qemu-reference.yaml"
BIN = Path(sys.executable).parent


def test_stock_shell_driver_works_on_our_console(tmp_path):
    env = Environment(str(BOARD))
    target = env.get_target("main")
    driver = target.get_driver("HilQemuDriver", activate=False)
    driver.transcripts = tmp_path
    shell = ShellDriver(
        target, name=None, prompt="# ", login_prompt="login: ", username="root", login_timeout=60, await_login_timeout=5
    )
    try:
        target.activate(driver)
        driver.on()
        target.activate(shell)
        assert shell.run_check("echo from labgrid") == ["from labgrid"]
    finally:
        env.cleanup()
    assert driver.qemu is None


@pytest.fixture
def coordinator(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [str(BIN / "labgrid-coordinator"), "-l", address]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        host, port = address.split(":")
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection((host, int(port)), 1).close()
                break
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def test_labgrid_client_drives_the_board(coordinator, tmp_path):
    assert shutil.which("labgrid-client", path=str(BIN))

    def client(*arguments):
        done = subprocess.run(
            [str(BIN / "labgrid-client"), *arguments],
            cwd=tmp_path,
            env={**os.environ, "LG_COORDINATOR": coordinator, "HIL_TRANSCRIPTS": str(tmp_path)},
            timeout=90,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    client("-p", "qemu-reference", "create")
    client("-p", "qemu-reference", "acquire")
    client("-c", str(BOARD), "power", "on")
    assert "Transitioning into state shell" in client("-c", str(BOARD), "-s", "shell", "power", "get")
    raw = max(tmp_path.glob("*.raw"), key=lambda path: path.stat().st_size)
    assert b"reference login: " in raw.read_bytes()
