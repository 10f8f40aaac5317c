"""`hil board new`: a board file from options, or from questions at the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from hil import slow
from hil.board.selection import is_path
from hil.cli import candidates
from hil.cli.common import out
from hil.errors import ConfigurationError
from hil.host import files, project

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
POWER_OFF_DELAY = 3.0  # seconds without power, enough for the capacitors of most boards


OPTIONS = (
    click.option(
        "--place", shell_complete=candidates.places, help="A place of the coordinator; its resources are the board's."
    ),
    click.option("--coordinator", metavar="HOST[:PORT]", help="The coordinator's address [LG_COORDINATOR]."),
    click.option("--power", metavar="MODEL:HOST:INDEX", help="Without a place: a power switch that labgrid supports."),
    click.option("--serial", metavar="PORT", help="Without a place: /dev/..., HOST:PORT (RFC 2217) or raw:HOST:PORT."),
    click.option("--tftp", metavar="DIRECTORY", help="Without a place: the directory of this host's TFTP server."),
    click.option("--image", metavar="NAME", shell_complete=candidates.images, help="The image that it boots."),
    click.option("--uboot/--no-uboot", "uboot", default=None, help="Whether U-Boot starts it."),
    click.option("--prompt", help="U-Boot's prompt, a regular expression."),
    click.option("--boot-command", help="U-Boot's command that boots the loaded image."),
    click.option("--load", metavar="FILE=ADDRESS", multiple=True, help="A file of the image that U-Boot loads."),
)
"""The options of a new board, which `drafted` takes."""


def board_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a new board."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@click.command("new")
@click.argument("name")
@board_options
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def board_new(name: str, force: bool, **options: Any) -> None:
    """Write boards/NAME.yaml, or the file NAME if it ends in .yaml. On a terminal, ask for missing options."""
    path = Path(name) if name.endswith(".yaml") else project.current().own("boards")[0] / f"{name}.yaml"
    check_name(path.stem)
    if path.exists() and not force:
        raise ConfigurationError(f"{path} exists", hint="give --force to overwrite it, or choose another name")
    write(path, drafted(**options))
    board = name if name.endswith(".yaml") else path.stem
    out.print(
        f"{escape(str(path))} is written. Check it, then boot the board:\n  hil board boot --board {escape(board)}\n"
        "See docs/adding-a-board.md. Once it works, write into its first line what was proven."
    )


def check_name(name: str) -> None:
    """Raise `ConfigurationError` for a text that is no board's name."""
    if not NAME.fullmatch(name) or is_path(name):
        hint = f"choose one that matches {NAME.pattern}, without .yaml"
        raise ConfigurationError(f"{name!r} is not a board's name", hint=hint)


def drafted(
    *,
    place: str | None,
    coordinator: str | None,
    power: str | None,
    serial: str | None,
    tftp: str | None,
    image: str | None,
    uboot: bool | None,
    prompt: str | None,
    boot_command: str | None,
    load: Sequence[str],
) -> str:
    """Return the text of a board file by the options; on a terminal, ask for missing ones."""
    if place is None and not (power or serial):
        place = _ask("--place", "Place in the lab (empty: none)", "") or None
    if place is not None:
        if power or serial or tftp:
            raise ConfigurationError("--power, --serial and --tftp cannot be combined with --place")
        resources = _of_place(place, coordinator)
        for resource in resources:
            out.print(f"[dim]{escape(f'{place} has {resource.cls} {resource.name}')}[/]")
    else:
        resources = [
            slow.draft.power_switch(power or _ask("--power", "Power switch (MODEL:HOST:INDEX)")),
            slow.draft.serial_port(serial or _ask("--serial", "Serial port (/dev/..., HOST:PORT or raw:HOST:PORT)")),
        ]
        resources += [slow.draft.tftp_server(tftp)] if tftp is not None else []
    chosen = slow.manifest.find(
        image or _ask("--image", f"Image ({', '.join(slow.manifest.available())})", "reference")
    )
    if uboot is None:
        given = bool(prompt or boot_command or load)
        uboot = given or _ask("--uboot or --no-uboot", "Does U-Boot start it? (y/n)", "n").lower().startswith("y")
    by_uboot = _uboot(prompt, boot_command, load) if uboot else None
    return slow.draft.draft(chosen.name, resources, place=place, uboot=by_uboot, power_off_delay=POWER_OFF_DELAY)


def _ask(flag: str, question: str, default: str | None = None) -> str:
    """Return the user's answer; without a terminal the default. Raises `ConfigurationError` without either."""
    if sys.stdin.isatty():
        answer: str = click.prompt(question, default=default, show_default=bool(default))
        return answer
    if default is None:
        raise ConfigurationError(f"{flag} is missing, and there is no terminal for a question", hint=f"give {flag}")
    return default


def _of_place(name: str, coordinator: str | None) -> list[slow.draft.Resource]:
    with closing(slow.coordinator.Coordinator(slow.selector.address(coordinator))) as connection:
        return slow.draft.of_place(connection, name)


def _uboot(prompt: str | None, boot_command: str | None, load: Sequence[str]) -> slow.draft.Uboot:
    if not load and (prompt is None or boot_command is None):
        load = _ask("--load", "Files to load (FILE=ADDRESS, more after a space; empty: none)", "").split()
    files = slow.draft.boot_files(load)  # before further questions
    return slow.draft.Uboot(
        prompt or _ask("--prompt", "U-Boot's prompt (a regular expression)", "=> "),
        boot_command or _ask("--boot-command", "U-Boot's command that boots", "run bootcmd"),
        files,
    )


def write(path: Path, text: str) -> None:
    """Check that the text is a valid board file, and write it atomically."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as new:
            new.write_text(text, "utf-8")
            slow.boardfile.environment(new)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}", hint="choose another place") from error
