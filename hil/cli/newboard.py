"""`hil board new`: a board file by asking, or by flags."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from hil.cli.common import out
from hil.errors import ConfigurationError
from hil.host import files

if TYPE_CHECKING:
    from hil.board.draft import Resource, Uboot

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
REST = 3.0  # seconds without power, enough for the capacitors of most boards


@click.command("new")
@click.argument("name")
@click.option("--place", help="A place of the coordinator's, which knows what the board has.")
@click.option("--coordinator", metavar="HOST[:PORT]", help="Where that is; else LG_COORDINATOR says.")
@click.option("--power", metavar="MODEL:HOST:INDEX", help="Without a place: a power switch of labgrid's models.")
@click.option("--serial", metavar="PORT", help="Without a place: /dev/..., HOST:PORT (RFC 2217) or raw:HOST:PORT.")
@click.option("--tftp", metavar="DIRECTORY", help="Without a place: what a TFTP server on this host serves.")
@click.option("--image", metavar="NAME", help="What it boots.")
@click.option("--uboot/--no-uboot", "uboot", default=None, help="Whether U-Boot starts it.")
@click.option("--prompt", help="U-Boot's, a regular expression.")
@click.option("--boot-command", help="What boots the image once it is loaded.")
@click.option("--load", metavar="FILE=ADDRESS", multiple=True, help="A file of the image that U-Boot loads.")
@click.option("--force", is_flag=True, help="Overwrite the file that is there.")
def board_new(
    name: str,
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
    force: bool,
) -> None:
    """Write boards/NAME.yaml, or the file NAME where it ends in .yaml. On a terminal it asks for what no flag says."""
    from hil.board import boardfile
    from hil.board.draft import draft
    from hil.image import manifest

    path = Path(name) if name.endswith(".yaml") else boardfile.BOARDS_DIR / f"{name}.yaml"
    if not NAME.fullmatch(path.stem):
        raise ConfigurationError(f"{path.stem!r} is no name for a board", hint=f"it has to match {NAME.pattern}")
    if path.exists() and not force:
        raise ConfigurationError(f"{path} is there already", hint="give --force to overwrite it, or another name")
    if place is None and not (power or serial):
        place = _ask("--place", "Place in the lab (empty: none)", "") or None
    if place is not None:
        if power or serial or tftp:
            raise ConfigurationError("--power, --serial and --tftp are for a board without --place")
        resources = _of_place(place, coordinator)
        for one in resources:
            out.print(f"[dim]{escape(f'{place} has {one.cls} {one.name}')}[/]")
    else:
        resources = _by_hand(
            power or _ask("--power", "Power switch (MODEL:HOST:INDEX)"),
            serial or _ask("--serial", "Serial port (/dev/..., HOST:PORT or raw:HOST:PORT)"),
            tftp,
        )
    chosen = manifest.find(image or _ask("--image", f"Image ({', '.join(manifest.available())})", "reference"))
    if uboot is None:
        given = bool(prompt or boot_command or load)
        uboot = given or _ask("--uboot or --no-uboot", "Does U-Boot start it? (y/n)", "n").lower().startswith("y")
    by_uboot = _uboot(prompt, boot_command, load) if uboot else None
    assert chosen.path is not None, "it was found in a file"
    text = draft(os.path.relpath(chosen.path, path.parent.resolve()), resources, place=place, uboot=by_uboot, rest=REST)
    _write(path, text)
    board = name if name.endswith(".yaml") else path.stem
    out.print(
        f"{escape(str(path))} is written. Look it over, then see it boot:\n  hil board boot --board {escape(board)}\n"
        "docs/adding-a-board.md says more; once it works, say in its first line what was proven."
    )


def _ask(flag: str, question: str, default: str | None = None) -> str:
    """What the user says at the terminal; without one the default."""
    if sys.stdin.isatty():
        answer: str = click.prompt(question, default=default, show_default=bool(default))
        return answer
    if default is None:
        raise ConfigurationError(f"{flag} is missing, and there is no terminal to ask at", hint=f"give {flag}")
    return default


def _of_place(name: str, coordinator: str | None) -> list[Resource]:
    from hil.board.draft import of_place
    from hil.places.coordinator import Coordinator
    from hil.places.selector import address

    connection = Coordinator(address(coordinator))
    try:
        return of_place(connection, name)
    finally:
        connection.close()


def _by_hand(power: str, serial: str, tftp: str | None) -> list[Resource]:
    from hil.board.draft import Resource

    switch = re.fullmatch(r"(\w+):(.+):(\d+)", power)
    if switch is None:
        raise ConfigurationError(f"{power!r} is not MODEL:HOST:INDEX", hint="netio:pdu.lab:3, for example")
    network = re.fullmatch(r"(raw:)?([^/]+):(\d+)", serial)
    if network is None and not serial.startswith("/"):
        raise ConfigurationError(f"{serial!r} is no serial port", hint="/dev/ttyUSB0, HOST:PORT or raw:HOST:PORT")
    model, host, index = switch.groups()
    resources = [Resource("NetworkPowerPort", arguments={"model": model, "host": host, "index": int(index)})]
    if network is not None:
        protocol = "raw" if network[1] else "rfc2217"
        where = {"host": network[2], "port": int(network[3]), "protocol": protocol, "speed": 115200}
        resources.append(Resource("NetworkSerialPort", arguments=where))
    else:
        resources.append(Resource("RawSerialPort", arguments={"port": serial, "speed": 115200}))
    if tftp is not None:
        served = {"internal": tftp.rstrip("/") + "/", "external": ""}
        resources.append(Resource("TFTPProvider", arguments=served))
    return resources


def _uboot(prompt: str | None, boot_command: str | None, load: Sequence[str]) -> Uboot:
    from hil.board.draft import Uboot

    if not load and (prompt is None or boot_command is None):
        load = _ask("--load", "Files to load (FILE=ADDRESS, more after a space; empty: none)", "").split()
    files: dict[str, int | str] = {}
    for one in load:
        file, equals, address = one.partition("=")
        if not equals or not file or not address:
            raise ConfigurationError(f"{one!r} is not FILE=ADDRESS", hint="kernel=0x40400000 or kernel='${loadaddr}'")
        try:
            files[file] = int(address, 0)
        except ValueError:
            files[file] = address
    return Uboot(
        prompt or _ask("--prompt", "U-Boot's prompt (a regular expression)", "=> "),
        boot_command or _ask("--boot-command", "U-Boot's command that boots", "run bootcmd"),
        files,
    )


def _write(path: Path, text: str) -> None:
    """Write the file once it is known to be a board's, whole or not at all."""
    from hil.board import boardfile

    try:
        with files.replacing(path) as new:
            new.write_text(text, "utf-8")
            boardfile.environment(new)
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error.strerror}", hint="choose another place") from error
