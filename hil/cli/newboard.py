"""`hil board new`: a board file from options, or from questions at the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.markup import escape

from hil import slow
from hil.board.selection import is_path
from hil.cli import candidates
from hil.cli.common import out, print_error
from hil.errors import ConfigurationError, HilError
from hil.host import files, project

T = TypeVar("T")
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


def check_name(name: str) -> str:
    """Return `name`. Raises `ConfigurationError` for a text that is no board's name."""
    if not NAME.fullmatch(name) or is_path(name):
        hint = f"choose one that matches {NAME.pattern}, without .yaml"
        raise ConfigurationError(f"{name!r} is not a board's name", hint=hint)
    return name


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
    if place is not None and (power or serial or tftp):
        raise ConfigurationError("--power, --serial and --tftp cannot be combined with --place")
    switch = slow.draft.power_switch(power) if power else None  # what is given, before all questions
    port = slow.draft.serial_port(serial) if serial else None
    chosen = slow.manifest.find(image) if image else None
    files = slow.draft.boot_files(load)
    resources: list[slow.draft.Resource] = []
    if place is not None:
        resources = _of_place(place, coordinator)
    elif not (power or serial or tftp):

        def of_place(name: str) -> tuple[str, list[slow.draft.Resource]]:
            return name, _of_place(name, coordinator) if name else []

        place, resources = ask("--place", "Place in the lab (empty: none)", of_place, "")
    if place:
        for resource in resources:
            out.print(f"[dim]{escape(f'{place} has {resource.cls} {resource.name}')}[/]")
    else:
        question = "Serial port (/dev/..., HOST:PORT or raw:HOST:PORT)"
        resources = [
            switch or ask("--power", "Power switch (MODEL:HOST:INDEX)", slow.draft.power_switch),
            port or ask("--serial", question, slow.draft.serial_port),
        ]
        resources += [slow.draft.tftp_server(tftp)] if tftp is not None else []
    if chosen is None:
        question = f"Image ({', '.join(slow.manifest.available())})"
        chosen = ask("--image", question, slow.manifest.find, "reference")
    if uboot is None:
        given = bool(prompt or boot_command or load)
        uboot = given or ask("--uboot or --no-uboot", "Does U-Boot start it? (y/n)", yes, "n")

    def draft(by_uboot: slow.draft.Uboot | None = None) -> str:
        return slow.draft.draft(
            chosen.name, resources, place=place or None, uboot=by_uboot, power_off_delay=POWER_OFF_DELAY
        )

    def files_of(words: str) -> dict[str, int | str]:
        found = slow.draft.boot_files(words.split())
        draft(slow.draft.Uboot("", "", found))  # there must be a server for them
        return found

    if not uboot:
        return draft()
    if not load and (prompt is None or boot_command is None):
        question = "Files to load (FILE=ADDRESS, more after a space; empty: none)"
        files = ask("--load", question, files_of, "")
    prompt = prompt or ask("--prompt", "U-Boot's prompt (a regular expression)", str, "=> ")
    boot_command = boot_command or ask("--boot-command", "U-Boot's command that boots", str, "run bootcmd")
    return draft(slow.draft.Uboot(prompt, boot_command, files))


def ask(flag: str, question: str, convert: Callable[[str], T], default: str | None = None) -> T:
    """Return the user's answer by `convert`; ask again after its error. Without a terminal the default counts.

    Raises `ConfigurationError` without terminal and default.
    """
    if not on_terminal():
        if default is None:
            raise ConfigurationError(f"{flag} is missing, and there is no terminal for a question", hint=f"give {flag}")
        return convert(default)
    while True:
        answer: str = click.prompt(question, default=default, show_default=bool(default))
        try:
            return convert(answer)
        except HilError as error:
            print_error(error)


def on_terminal() -> bool:
    """Whether there is a user who can answer questions."""
    return sys.stdin.isatty()


def yes(answer: str) -> bool:
    """Return whether the answer is yes. Raises `ConfigurationError` for one that is neither yes nor no."""
    if answer.lower() not in ("y", "yes", "n", "no"):
        raise ConfigurationError(f"{answer!r} is neither y nor n")
    return answer.lower().startswith("y")


def _of_place(name: str, coordinator: str | None) -> list[slow.draft.Resource]:
    """Return the resources of the place. Raises `HilError` for one that no board can be made of."""
    with closing(slow.coordinator.Coordinator(slow.selector.address(coordinator))) as connection:
        resources = slow.draft.of_place(connection, name)
    slow.draft.draft("any", resources, place=name)
    return resources


def write(path: Path, text: str) -> None:
    """Check that the text is a valid board file, and write it atomically."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as new:
            new.write_text(text, "utf-8")
            slow.boardfile.environment(new)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}", hint="choose another place") from error
