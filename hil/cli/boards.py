"""`hil board`: boots and consoles of boards."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections.abc import Callable
from typing import TYPE_CHECKING

import click
from rich.markup import escape

from hil.cli.common import (
    as_json,
    board_option,
    booted,
    err,
    image_option,
    json_option,
    out,
    powered,
    seed_option,
    show,
)
from hil.errors import ConfigurationError

if TYPE_CHECKING:
    from hil.board.board import Board

QUIT = b"\x1d"  # Ctrl-], as telnet and labgrid's console have it


@click.group()
def board() -> None:
    """The boards that tests run on."""


@board.command("list")
@json_option
def board_list(json_: bool) -> None:
    """List the boards."""
    from hil.board import boardfile

    show([{"name": name, "file": str(boardfile.find(name))} for name in boardfile.available()], json_)


@board.command("boot")
@board_option
@image_option
@seed_option
@json_option
def board_boot(name: str, image: str | None, seed: int | None, json_: bool) -> None:
    """Boot a board once and show how long each stage took."""
    with powered(name, image, seed) as chosen:
        report = booted(chosen)
        clock = report.clock if chosen.virtual is None else str(chosen.virtual)
        rows = [{"stage": stage.name, "seconds": round(stage.seconds, 3)} for stage in report.stages]
    if json_:
        as_json({"board": name, "image": report.image, "clock": clock, "stages": rows})
        return
    show(rows, False)
    out.print(f"clock: {clock}\ntranscript: {escape(str(report.transcript))}")


@board.command("console")
@board_option
@image_option
def board_console(name: str, image: str | None) -> None:
    """Boot a board and talk to its console by hand; Ctrl-] ends it and switches the board off."""
    if not sys.stdin.isatty():
        raise ConfigurationError("the console needs a terminal", hint="for scripts there is `hil run` and pytest")
    with powered(name, image) as chosen:
        booted(chosen)
        err.print("[dim]booted; Ctrl-] ends[/]")
        interact(chosen)


def interact(board: Board, read: Callable[[int, int], bytes] = os.read) -> None:
    """Pass bytes between the terminal and the line until Ctrl-] or the line's end."""
    console = board.console
    stdin, stdout = sys.stdin.fileno(), sys.stdout.fileno()
    before = termios.tcgetattr(stdin)
    tty.setraw(stdin)
    try:
        console.write(b"\n")
        while True:
            ready = select.select([stdin, console], [], [])[0]
            if stdin in ready:
                typed = read(stdin, 4096)
                if not typed or QUIT in typed:
                    return
                console.write(typed)
            if console in ready:
                os.write(stdout, console.read(0.0))
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
