"""The directories of a module in the guest: unpacked before a deployment, fetched and removed after it."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hil.errors import GuestError
from hil.guest import CommandTimeout, Guest, Result
from hil.guest.shell import quote
from hil.text import printable_line
from hil.wasm.preopens import Directory, unpacked

OUTPUTS_MAX = 32 << 20  # bytes of the archive of all files that a module leaves; the agent takes 16 MiB of them
RATE = 256 << 10  # bytes per second between guest and runner, at least
AGENT_PREFIX = "wasmedge_emit: files of the module: "
NOT_RECEIVED = 248  # exit status of the reference image's agent
UNPACK_LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class Outputs:
    """The files that a module left in its writable directories, or the problem for which they are unknown.

    `files` has them by the path that the module has for them, `parts` by the directory's number and the path in it.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    parts: Mapping[int, Mapping[str, bytes]] = field(default_factory=dict)
    problem: str = ""


NONE = Outputs()


def places_below(root: str, directories: Sequence[Directory]) -> list[str]:
    """Return the directory of the guest for each directory of the module."""
    return [posixpath.join(root, str(number)) for number in range(len(directories))]


def transfer_time(directories: Sequence[Directory]) -> float:
    """Return the time in seconds that the agent may take to hand over the directories and to receive them again."""
    size = sum(directory.size for directory in directories)
    return (size + (OUTPUTS_MAX if any(directory.writable for directory in directories) else 0)) / RATE


def unpack(guest: Guest, root: str, archives: Sequence[str | None]) -> None:
    """Make the directories below `root`, which is emptied before, from the archives at these paths of the guest.

    Raises `GuestError` if the guest has no room.
    """
    steps = [f"rm -rf {root}"]
    for number, archive in enumerate(archives):
        place = f"{root}/{number}"
        steps.append(f"mkdir -p {place}")
        if archive:
            steps.append(f"tar -xf {quote([archive])} -C {place}")
    done = guest.run("&&".join(steps), timeout=UNPACK_LIMIT)
    if done.status:
        raise GuestError(
            f"the files for the module were not unpacked in {root} of the guest: {done.text.strip()[-300:]}",
            hint="Check that the guest has room, and tar.",
            evidence=guest.shell.console.evidence(),
        )


def fetch(
    guest: Guest, root: str, directories: Sequence[Directory], result: Result | CommandTimeout, why: str
) -> Outputs:
    """Return the files that the module left, after the agent has ended with `result`; remove the directories.

    `why` is the reason for which the directories in the guest are not what the module left; empty if they are.
    """
    writable = [str(number) for number, directory in enumerate(directories) if directory.writable]
    if isinstance(result, CommandTimeout):
        return Outputs(problem=why or printable_line(result.message)) if writable else NONE
    problem = why if writable else ""
    if writable and result.status == NOT_RECEIVED:
        unsealed = result.text.strip().rpartition("\n")[0]
        problem = printable_line(unsealed.rpartition("\n")[2].removeprefix(AGENT_PREFIX) or "the agent failed")
    archive = f"{root}/files.tar"
    try:
        if writable and not problem:
            guest.run(f"tar -cf {archive} -C {root} {' '.join(writable)}", timeout=UNPACK_LIMIT, check=True)
            parts = unpacked(guest.get(archive, limit=OUTPUTS_MAX), directories)
            files = {
                posixpath.join(directories[number].at, name): data
                for number, part in sorted(parts.items())
                for name, data in sorted(part.items())
            }
            return Outputs(files, parts)
    except (GuestError, ValueError) as error:
        problem = str(error)
    finally:
        guest.run(f"rm -rf {root}", timeout=UNPACK_LIMIT)
    return Outputs(problem=problem)
