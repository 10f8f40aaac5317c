"""labgrid's stock ShellDriver on our boards; test_docs.py has labgrid-client."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from labgrid import Environment
from labgrid.driver import ShellDriver

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "boards" / "qemu-reference.yaml"
BIN = Path(sys.executable).parent


@pytest.mark.slow  # a cold boot; test_tty_board.py has the stock ShellDriver at work on another board
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
