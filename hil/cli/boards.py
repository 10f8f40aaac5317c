"""`hil board`, `hil link`: boots, consoles and serial lines of boards."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from rich.markup import escape

from hil import slow
from hil.board.selection import available, find
from hil.cli.boardpins import board_pins
from hil.cli.common import (
    as_json,
    board_option,
    boot_option,
    booted,
    brought_up,
    image_option,
    json_option,
    origin,
    out,
    powered,
    print_error,
    seed_option,
    selected,
    show,
)
from hil.cli.newboard import board_new
from hil.cli.verbosity import note
from hil.errors import ConfigurationError

BY_HAND = b"stty sane;PS2='> '\n"  # after the health check's session, which needs no echo


@click.group()
def board() -> None:
    """The boards that tests run on."""


board.add_command(board_new)
board.add_command(board_pins)


@board.command("list")
@json_option
def board_list(json_: bool) -> None:
    """List the boards, with what was proven on each according to its file, and the one used without --board.

    A board of the project hides one of the package that has the same name.
    """
    files = [find(name) for name in available()]
    rows = [{"name": path.stem, **origin("boards", path), "proven": _proven(path), "file": str(path)} for path in files]
    show(rows, json_)
    if not json_ and (selection := selected()).names:
        out.print(escape(f"without --board: {', '.join(selection.names)} (by {selection.source})"))


def _proven(path: Path) -> str:
    """Return the text after `# Proven:` in the file, else "no"."""
    found = re.search(r"^# Proven: (.+)$", path.read_text("utf-8", "replace"), re.M)
    return found[1].rstrip(".") if found else "no"


@board.command("boot")
@board_option
@image_option
@seed_option
@click.option("--repeat", type=click.IntRange(min=1), metavar="N", help="Boot N times; print failure rates and times.")
@json_option
def board_boot(name: str, image: str | None, seed: int | None, repeat: int | None, json_: bool) -> None:
    """Boot a board once and print the time of each stage.

    With --repeat each boot is a cold one, and a failed one does not end the series. The exit status is 1 if one
    failed.
    """
    with powered(name, image, seed) as chosen:
        if repeat is not None:
            raise SystemExit(_boot_repeatedly(chosen, repeat, json_))
        report = booted(chosen)
        clock = _clock(chosen, report)
        rows = [{"stage": stage.name, "seconds": round(stage.seconds, 3)} for stage in report.stages]
    if json_:
        as_json({"board": name, "image": report.image, "clock": clock, "stages": rows})
        return
    show(rows, False)
    out.print(f"clock: {clock}\ntranscript: {escape(str(report.transcript))}")


def _clock(board: slow.Board, report: slow.BootReport) -> str:
    return report.clock if board.virtual is None else str(board.virtual)


def _boot_repeatedly(board: slow.Board, count: int, json_: bool) -> int:
    """Boot `count` times, print rates and times, and return the exit status."""
    series = slow.boot_repeatedly(lambda: booted(board), count, print_error)
    clock = _clock(board, series.reports[-1]) if series.reports else None
    failure_rate, rows = series.failure_rate, series.stage_times
    if json_:
        facts = {"board": board.name, "image": board.manifest.name, "clock": clock, "boots": count}
        failed = failure_rate and {"value": failure_rate.value, **vars(failure_rate)}
        as_json({**facts, "failed": failed, "stages": rows, "failures": series.failures})
        return bool(series.errors)
    show(rows, False)
    if clock:
        out.print(f"clock: {clock}")
    out.print(f"boots failed by the image: {failure_rate or 'unknown: the test bed failed all'}")
    if others := len(series.errors) - series.by_image:
        out.print(f"boots failed otherwise: {others}")
    for failure in series.failures:
        where = f"transcript: {failure['transcript']}"
        out.print(escape(f"boot {failure['boot']}, {failure['fault']}: {failure['cause']}; {where}"))
    return bool(series.errors)


@click.command("link")
@board_option
@image_option
@boot_option
@json_option
def link_(name: str, image: str | None, boot: bool, json_: bool) -> None:
    """Bring a board up and measure the delays of the link to its shell."""
    with powered(name, image, snapshots=not boot) as chosen:
        brought_up(chosen, boot=boot)
        found = slow.link.of(slow.Guest(chosen))
        if found is None:
            raise ConfigurationError(f"board {name} is a recording: its link cannot be measured")
        if json_:
            as_json({"board": chosen.name, **vars(found), "transport": vars(found.transport), "hints": found.hints})
            return
        show([{"what": name, "is": value} for name, value in found.facts.items()], False)


@board.command("console")
@board_option
@image_option
@boot_option
def board_console(name: str, image: str | None, boot: bool) -> None:
    """Bring a board up and connect the terminal to its console. Ctrl-] ends it and switches the board off."""
    if not sys.stdin.isatty():
        raise ConfigurationError("the console needs a terminal", hint="in a script use `hil run` or pytest")
    with powered(name, image, snapshots=not boot) as chosen:
        report = brought_up(chosen, boot=boot)
        if not boot:
            chosen.console.write(BY_HAND)
            chosen.console.skip()
        note(f"{'booted' if report.restored is None else 'restored'}; Ctrl-] ends")
        slow.interact(chosen.console)
