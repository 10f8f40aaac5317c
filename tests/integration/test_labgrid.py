"""labgrid's own tools on our boards: the stock ShellDriver, and labgrid-client with a real coordinator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

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
