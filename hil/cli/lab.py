"""`hil lab`: a lab of emulated boards on this machine, with labgrid's coordinator and exporter."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import PATH, as_json, err, json_option, out, show
from hil.cli.verbosity import level, working

directory_option = click.option(
    "--directory",
    type=PATH,
    metavar="DIR",
    shell_complete=candidates.directories,
    help="The directory of its state, logs and TFTP files [in XDG_RUNTIME_DIR or ~/.cache].",
)


@click.group()
def lab() -> None:
    """A lab of emulated boards on this machine, used like a lab of real boards."""


@lab.command("up")
@click.argument("count", metavar="N", type=click.IntRange(min=1))
@click.option("--serial", type=click.Choice(["rfc2217", "raw"]), default="rfc2217")
@click.option(
    "--baud",
    type=click.IntRange(min=300),
    metavar="RATE",
    help="Limit the speed of the serial lines, for example to 115200.",
)
@click.option(
    "--image",
    default="reference",
    metavar="NAME",
    shell_complete=candidates.images,
    help="The image of the boards.",
)
@directory_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The coordinator's port; 0: any free one.")
@click.option("--listen", default="127.0.0.1", metavar="ADDRESS", help="The address on which it listens.")
@click.option("--insecure", is_flag=True, help="Permit an address that others reach; they can then control the lab.")
@click.option(
    "--foreground", is_flag=True, help="Stay in the foreground; the lab ends with this command, also at Ctrl-C."
)
def lab_up(count: int, directory: Path | None, foreground: bool, **options: Any) -> None:
    """Start a lab of N boards at the places box-1 to box-N, switched off.

    The standard output is for a shell: eval "$(hil lab up 3)".
    """
    with working():
        box = slow.Lab.up(count, directory=directory, stay=not foreground, **options)
    out.print(f"export LG_COORDINATOR={box.coordinator}")
    where = "" if directory is None else f" --directory {directory}"
    for line in (
        f"a lab of {count} in {box.directory}; then, for example:",
        f"  pytest suites -m board -n {count} --board +lab=box",
        "  labgrid-client -p box-1 acquire",
        f"  hil lab status{where}",
        f"  hil lab down{where}",
    ):
        if level() >= 0:
            err.print(escape(line))
    if foreground:
        with box, suppress(KeyboardInterrupt):
            box.wait()


@lab.command("status")
@directory_option
@json_option
def lab_status(directory: Path | None, json_: bool) -> None:
    """Print the lab's parts and boards. The exit status is 1 if one of its parts has died."""
    status = slow.Lab.find(directory).status()
    parts = [
        {"part": name, "pid": process.pid, "state": "runs" if process.alive else "dead"}
        for name, process in status.parts.items()
    ]
    boards = [vars(board) for board in status.boards]
    if json_:
        facts = {"directory": status.lab.directory, "coordinator": status.lab.coordinator}
        as_json({**facts, "parts": parts, "boards": boards})
    else:
        out.print(f"coordinator {status.lab.coordinator}, directory {escape(str(status.lab.directory))}")
        show(parts, False)
        show([{key: value or "-" for key, value in board.items()} for board in boards], False)
    raise SystemExit(1 if status.dead else 0)


@lab.command("down")
@directory_option
def lab_down(directory: Path | None) -> None:
    """Stop the lab and all its processes, also if its supervisor is dead. The logs stay."""
    count = slow.take_down(directory)
    out.print(f"{count} processes ended" if count else "no lab was running")
