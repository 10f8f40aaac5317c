"""The commands of the documentation, from the README on, each as a shell takes it; what is not run says why there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import ROOT, Block, blocks
from limits import HANG, WITH_LABGRID

from hil import Clock, Series
from hil.lab import take_down
from hil.measure import results

LABGRID = "labgrid-client"
SLOW = {"docs/plain-linux.md"}  # the README's `hil run` on the board of test_plain_linux.py, whose first boot is slow
TO_RUN = [
    pytest.param(block, marks=pytest.mark.slow if block.page in SLOW else [], id=f"{block.page}:{block.line}")
    for block in blocks()
    if not block.language and any(not command.not_run for command in block.commands)
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the commands use, with the results of a short run, figures and a transcript."""
    copy = tmp_path_factory.mktemp("docs")
    unused = shutil.ignore_patterns("__pycache__", "node_modules", "results", "transcripts", "nights")
    for name in ("bench", "boards", "docs", "hil", "images", "reports", "suites", "wasm_samples"):
        shutil.copytree(ROOT / name, copy / name, ignore=unused)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    (copy / "PLAN.toml").write_text(
        'limit = 1\n[[job]]\nname = "smoke"\nsuites = ["smoke"]\nboards = ["qemu-reference"]\n'
    )
    boot, fault = (ROOT / "tests" / "recordings" / "boot.raw").read_bytes(), b"FAULT\r\n"
    (copy / "boot.raw").write_bytes(boot + fault)
    (copy / "boot.tsv").write_text(f"0\t<\t{len(boot)}\n9600000000\t<\t{len(fault)}\n9600000001\t!\teof\n")
    series = Series("response time", "x.wasm", [n * 1e-3 for n in range(1, 41)], Clock("guest counter", 1e-8))
    results.write(copy / "results.jsonl", series, ())
    _shell(copy, "pytest suites/smoke --alluredir allure")
    return copy


def _shell(directory: Path, script: str) -> str:
    """Run a script of commands, of which none may fail."""
    environment = {
        **os.environ,
        **WITH_LABGRID,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(directory),  # before the installed one, whose directories stay as they are
        "XDG_RUNTIME_DIR": str(directory),
        "XDG_DATA_HOME": str(directory / "data"),
    }
    done = subprocess.run(
        ["bash", "-ec", script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}"
    return done.stdout


def _filled_in(block: Block, text: str) -> str:
    """The command with our files for its placeholders."""
    results = "allure" if block.page == "docs/reports.md" else "results.jsonl"
    file = "results.jsonl" if block.page == "docs/timing-results.md" else "boot.raw"
    text = re.sub(r"\bRESULTS\b", results, text)
    return re.sub(r"\bFILE\b(\.\.\.)?", file, text)


@pytest.mark.parametrize("block", TO_RUN)
def test_the_commands_of_a_block_run(block, checkout):
    script = "\n".join(_filled_in(block, command.text) for command in block.commands if not command.not_run)
    try:
        printed = _shell(checkout, script)
    finally:
        take_down(checkout / "hil-lab")
    if LABGRID in script:
        assert "power for place box-1 is on" in printed, printed
