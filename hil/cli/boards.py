"""`hil board`: boots and consoles of boards."""

from __future__ import annotations

import os
import re
import select
import statistics
import sys
import termios
import tty
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from hil.cli.common import (
    as_json,
    board_option,
    boot_option,
    booted,
    brought_up,
    err,
    image_option,
    json_option,
    out,
    powered,
    seed_option,
    selected,
    show,
    tell,
)
from hil.cli.newboard import board_new
from hil.errors import ConfigurationError, HilError

if TYPE_CHECKING:
    from hil.board.board import Board
    from hil.board.stages import BootReport

QUIT = b"\x1d"  # Ctrl-], as telnet and labgrid's console have it
BY_HAND = b"stty sane;PS2='> '\n"  # after the health check's session, which needs no echo


@click.group()
def board() -> None:
    """The boards that tests run on."""


board.add_command(board_new)


@board.command("list")
@json_option
def board_list(json_: bool) -> None:
    """List the boards, with what was proven on each according to its file, and the one used without --board."""
    from hil.board import boardfile

    files = [boardfile.find(name) for name in boardfile.available()]
    show([{"name": path.stem, "proven": _proven(path), "file": str(path)} for path in files], json_)
    if not json_ and (selection := selected()).names:
        out.print(escape(f"without --board: {', '.join(selection.names)} (by {selection.source})"))


def _proven(path: Path) -> str:
    """What follows `# Proven:` on a line of the file; "no" where there is no such line."""
    found = re.search(r"^# Proven: (.+)$", path.read_text("utf-8", "replace"), re.M)
    return found[1].rstrip(".") if found else "no"


@board.command("boot")
@board_option
@image_option
@seed_option
@click.option("--repeat", type=click.IntRange(min=1), metavar="N", help="Boot N times and show rates and spreads.")
@json_option
def board_boot(name: str, image: str | None, seed: int | None, repeat: int | None, json_: bool) -> None:
    """Boot a board once and show how long each stage took.

    With --repeat each boot is a cold one, a failed one does not end the series, and the exit status is 1 when one
    failed.
    """
    with powered(name, image, seed) as chosen:
        if repeat is not None:
            raise SystemExit(_boot_often(chosen, repeat, json_))
        report = booted(chosen)
        clock = _clock(chosen, report)
        rows = [{"stage": stage.name, "seconds": round(stage.seconds, 3)} for stage in report.stages]
    if json_:
        as_json({"board": name, "image": report.image, "clock": clock, "stages": rows})
        return
    show(rows, False)
    out.print(f"clock: {clock}\ntranscript: {escape(str(report.transcript))}")


def _clock(board: Board, report: BootReport) -> str:
    return report.clock if board.virtual is None else str(board.virtual)


def _boot_often(board: Board, count: int, json_: bool) -> int:
    """Boot `count` times, show what became of it, and return the exit status."""
    from hil.stats.rates import rate

    reports: list[BootReport] = []
    failures: list[dict[str, Any]] = []
    clock = None
    for number in range(1, count + 1):
        try:
            reports.append(booted(board))
            clock = _clock(board, reports[-1])
        except ConfigurationError:
            raise
        except HilError as error:
            tell(error)
            failures.append(_failure(number, error))
    image = [failure for failure in failures if failure["fault"] == "image"]
    judged = len(reports) + len(image)  # what the test bed failed says nothing of the image
    found = rate(len(image), judged) if judged else None
    rows = _stage_times(reports)
    if json_:
        facts = {"board": board.name, "image": board.manifest.name, "clock": clock, "boots": count}
        limits = found and {"value": found.value, **vars(found)}
        as_json({**facts, "failed": limits, "stages": rows, "failures": failures})
        return bool(failures)
    show(rows, False)
    if clock:
        out.print(f"clock: {clock}")
    out.print(f"failed boots: {found or 'none of them says anything of the image'}")
    if others := len(failures) - len(image):
        out.print(f"beside {others} without the image's fault")
    for failure in failures:
        told = f"boot {failure['boot']}, {failure['fault']}: {failure['cause']}; transcript: {failure['transcript']}"
        out.print(escape(told))
    return bool(failures)


def _failure(number: int, error: HilError) -> dict[str, Any]:
    transcript = error.evidence and error.evidence.transcript
    return {
        "boot": number,
        "fault": error.origin,
        "stage": error.stage,
        "cause": error.brief,
        "transcript": transcript and str(transcript),
    }


def _stage_times(reports: Sequence[BootReport]) -> list[dict[str, Any]]:
    """Of each stage the least, the middle and the greatest time since power-on, in seconds."""
    times: dict[str, list[float]] = {}
    for stage in (stage for report in reports for stage in report.stages):
        times.setdefault(stage.name, []).append(stage.seconds)
    return [
        {
            "stage": name,
            "min": round(min(seconds), 3),
            "median": round(statistics.median(seconds), 3),
            "max": round(max(seconds), 3),
        }
        for name, seconds in times.items()
    ]


@board.command("console")
@board_option
@image_option
@boot_option
def board_console(name: str, image: str | None, boot: bool) -> None:
    """Bring a board up and talk to its console by hand; Ctrl-] ends it and switches the board off."""
    if not sys.stdin.isatty():
        raise ConfigurationError("the console needs a terminal", hint="for scripts there is `hil run` and pytest")
    with powered(name, image, snapshots=not boot) as chosen:
        report = brought_up(chosen, boot=boot)
        if not boot:
            chosen.console.write(BY_HAND)
            chosen.console.skip()
        err.print(f"[dim]{'booted' if report.restored is None else 'restored'}; Ctrl-] ends[/]")
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
