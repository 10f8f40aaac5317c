"""The health check of a board: one small deployment verifies that console, shell, agent and runner respond."""

from __future__ import annotations

from pathlib import PurePosixPath

from hil.errors import RunnerError
from hil.guest import Guest
from hil.guest.shell import quote
from hil.image.manifest import AgentFacts
from hil.wasm.module import Module
from hil.wasm.runner import MODULES, Runner

ENTROPY = 32  # bytes; the kernel's generator has a seed of this size
LIMIT = 10.0  # seconds; the deployment takes about ten milliseconds
# (module (func (export "_start"))): small enough to cause no noticeable runner wear
NOTHING = bytes.fromhex("0061736d 01000000 01040160 0000 03020100 070a01065f7374617274 0000 0a040102000b")


def check_health(guest: Guest) -> None:
    """Deploy a module that does nothing; without an agent run `true` in the shell.

    Before a machine is saved also wait until the runner is ready for the next deployment. Otherwise each restored
    machine would have to prepare for it first.

    Raises `RunnerError` if the runner does not execute the module, and as `Runner.run` and `Guest.run`.
    """
    agent = guest.board.manifest.agent
    if agent is None:
        guest.run("true", check=True)
        return
    module = Module.raw("nothing.wasm", NOTHING)
    path = PurePosixPath(MODULES, module.name)
    octal = "".join(f"\\{byte:03o}" for byte in NOTHING)
    prepared = guest.run(f"mkdir -p {path.parent} && printf '{octal}' >{path}{_entropy(guest, agent)}")
    runner = Runner(guest)
    guest.modules[module.sha256] = str(path)
    run = runner.run(module, limit=LIMIT, restore=False)
    if not run.good or prepared.status:
        cause = f"; its upload: {prepared.text.strip()}" if prepared.status else ""
        raise RunnerError(
            f"the board is up, but its runner does not execute a module that does nothing: {run}{cause}",
            evidence=guest.shell.console.evidence(),
        )
    if agent.hello_option is not None and guest.board.savable:
        guest.run(quote([agent.command, agent.hello_option]), timeout=LIMIT)


def _entropy(guest: Guest, agent: AgentFacts) -> str:
    """Return the end of a command that feeds the board fresh entropy; empty in virtual time.

    Without it all boards restored from one snapshot draw the same random bytes, as they must in virtual time.
    """
    if agent.entropy_option is None or guest.board.virtual is not None:
        return ""
    option = agent.entropy_option.format(hex=guest.shell.console.token(ENTROPY))
    return f" && {quote([agent.command, option])}"
