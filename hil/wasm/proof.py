"""The proof that a board is alive: console, shell, agent and runner answer to one small deployment."""

from __future__ import annotations

from pathlib import PurePosixPath

from hil.errors import RunnerError
from hil.guest import Guest
from hil.wasm.module import Module
from hil.wasm.runner import MODULES, Runner

LIMIT = 10.0  # seconds; it takes some ten milliseconds
# (module (func (export "_start"))): so small that a runner that wears out hardly does by it
NOTHING = bytes.fromhex("0061736d 01000000 01040160 0000 03020100 070a01065f7374617274 0000 0a040102000b")


def prove(guest: Guest) -> None:
    """Deploy a module that does nothing; of an image without an agent only the shell is asked.

    Raises `RunnerError` where the runner does not run it, and what `Runner.run` and `Guest.run` raise.
    """
    if guest.board.manifest.agent is None:
        guest.run("true", check=True)
        return
    module = Module.raw("nothing.wasm", NOTHING)
    path = PurePosixPath(MODULES, module.name)
    octal = "".join(f"\\{byte:03o}" for byte in NOTHING)
    guest.run(f"mkdir -p {path.parent};printf '{octal}' >{path}", check=True)
    runner = Runner(guest)
    runner.assume(module, str(path))
    run = runner.run(module, limit=LIMIT, restore=False)
    if not run.good:
        raise RunnerError(
            f"the board is up, but its runner does not run a module that does nothing: {run}",
            evidence=guest.shell.console.evidence(),
        )
