"""A stand-in for the agent, which does whatever the module says, behind a real shell."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import ShellLine, shell_line

from hil.board.protocol import Transport
from hil.guest import Guest
from hil.image.manifest import AgentFacts, ConsoleFacts
from hil.wasm import Module, Runner
from hil.wasm import runner as runner_module

# The module's file is Python: it has write() for its output and ends with end(verdict, code, reason)
AGENT = r"""#!PYTHON -IS
import os, signal, sys, time, zlib
from urllib.parse import quote
options = {}
env, dirs = [], {}
words = sys.argv[1:]
while words and words[0].startswith("--"):
    name, _, value = words.pop(0).partition("=")
    if name == "--env":
        env.append(value)
    elif name == "--dir":
        guest, at, mode = value.rsplit(":", 2)
        dirs[at] = (guest, mode)
    else:
        options[name] = value
path, arguments = words[0], words[1:]
output = b""
line = lambda text: os.write(1, b"[2026-11-23 12:00:00.000] " + text + b"\r\n")
def write(data):
    global output
    output += data
    os.write(1, data)
def end(verdict="exited", code=0, reason="", status=None):
    line(b"[info] execution success, exit code:%d" % code if verdict == "exited"
         else b"[info] execution failed:" + reason.encode())
    seal = (f"hil-seal v=1 nonce={options.get('--seal')} verdict={verdict} code={code} reason={quote(reason)} "
            f"bytes={len(output)} crc32={zlib.crc32(output):08x} transfer=10 run=125 hz=62500")
    if "--seal" in options:
        print(seal, f"sum={zlib.crc32(seal.encode()):08x}", sep=" ", flush=True)
    sys.exit(code if status is None else status)
def abort(number, _):
    line(b"[info] execution failed:aborted")
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGINT, abort)
source = open(path).read()
line(b"[info] executing wasm file")
exec(source)
"""
SEALING = AgentFacts(seal_option="--seal={nonce}", limit_option="--limit={ms}", samples="samples")
GIVING = SEALING.model_copy(
    update={"env_option": "--env={name}={value}", "dir_option": "--dir={guest}:{module}:{mode}", "files_limit": 1000}
)
RUNNER_LINES = (r"\[2026-11-23 12:00:00\.000\] .*", "Assertion failed: .*")
PLAIN = AgentFacts(newline="\r\n", faults=("(?P<reason>Assertion failed: .*)",), samples="samples")


@pytest.fixture
def line(tmp_path: Path) -> Iterator[ShellLine]:
    with shell_line(tmp_path) as made:
        install(made)
        yield made


def install(line: ShellLine) -> None:
    agent = line.home / "wasmedge_emit"
    agent.write_text(AGENT.replace("PYTHON", sys.executable))
    agent.chmod(0o755)


def make(line: ShellLine, facts: AgentFacts | None = SEALING) -> Runner:
    manifest = SimpleNamespace(
        name="stand-in",
        agent=facts,
        pins=None,
        analogue=None,
        can=None,
        console=ConsoleFacts(foreign=(r"\[ *\d+\.\d{6}\] .*", "partition: .*"), runner=RUNNER_LINES),
    )
    board: Any = SimpleNamespace(
        name="board",
        console=line.console,
        manifest=manifest,
        dirty=None,
        image=lambda: SimpleNamespace(digest="d"),
        origin=Path("boot.raw"),
        report=None,
        emulated=False,
        virtual=None,
        untouched=False,
        unchanged=contextlib.nullcontext,
        line=SimpleNamespace(transport=Transport("serial", "/dev/ttyUSB9", 115200), tap=None),
    )
    guest = Guest(board)
    guest.run(f"PATH={line.home}:$PATH", check=True)
    return Runner(guest)


@pytest.fixture
def runner(line: ShellLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))
    return make(line)


def module(code: str, name: str = "m.wasm") -> Module:
    return Module.raw(name, code.encode())
