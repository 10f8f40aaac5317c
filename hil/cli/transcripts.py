"""`hil transcript`: the recorded consoles of boards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import PATH, as_json, echo, json_option, out, print_error
from hil.errors import HilError


@click.group()
def transcript() -> None:
    """The recorded consoles of boards; FILE is NAME.raw, NAME.tsv or NAME."""


def position(value: str) -> float:
    """Return a position in a transcript: a line number as an integer, seconds since the first byte as a float."""
    try:
        return float(value[:-1]) if value.endswith("s") else int(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a line number (12) nor seconds (3.5s)") from None


file_argument = click.argument("file", type=PATH, shell_complete=candidates.transcripts)


@transcript.command("show")
@file_argument
@click.option("--from", "begin", type=position, metavar="LINE|SECONDSs", help="First line, or seconds like 3.5s.")
@click.option("--to", "end", type=position, metavar="LINE|SECONDSs", help="Last line, in the same way.")
@click.option("--sent", is_flag=True, help="Also show sent bytes, marked >.")
@click.option("--times", is_flag=True, help="Also show the seconds since the line before.")
@json_option
def transcript_show(file: Path, begin: float | None, end: float | None, sent: bool, times: bool, json_: bool) -> None:
    """Print the lines of FILE: number, seconds since the first byte, text without control characters."""
    rows = slow.listing.rows(file, begin=begin, end=end, sent=sent)
    if json_:
        as_json([row.facts for row in rows])
        return
    for line in slow.listing.table(rows, gaps=times):
        echo(line)


@transcript.command("grep")
@click.argument("pattern")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH, shell_complete=candidates.transcripts)
@click.option("-i", "--ignore-case", is_flag=True, help="Ignore case.")
@click.option(
    "-C", "--context", type=click.IntRange(0), default=0, metavar="N", help="Also print N lines before and after."
)
def transcript_grep(pattern: str, files: tuple[Path, ...], ignore_case: bool, context: int) -> NoReturn:
    """Print the lines that match PATTERN, a Python regular expression: FILE:LINE:SECONDS:text.

    The exit status is grep's: 0 found, 1 not found, 2 for an error.
    """
    found = failed = False
    expression = slow.listing.expression(pattern, ignore_case=ignore_case)
    for file in files:
        try:
            for line in slow.listing.grep(file, expression, context=context):
                echo(line)
                found = True
        except HilError as error:  # continue with the other files, as grep does
            print_error(error)
            failed = True
    raise SystemExit(2 if failed else 0 if found else 1)


@transcript.command("export")
@file_argument
@click.option("--output", "-o", type=PATH, help="The asciicast [NAME.cast in this directory].")
@click.option("--title", help="The title [NAME].")
@click.option(
    "--idle-limit",
    type=click.FloatRange(0, min_open=True),
    metavar="SECONDS",
    help="Shorten longer pauses during playback.",
)
def transcript_export(file: Path, output: Path | None, title: str | None, idle_limit: float | None) -> None:
    """Write FILE as an asciicast (version 2) for terminal players; `-o -` is standard output."""
    recording = slow.Recording(file)
    lines = slow.asciicast.lines(recording, title=title, idle_limit=idle_limit)
    if output == Path("-"):
        for line in lines:
            click.echo(line)
        return
    made = output or Path(recording.path.with_suffix(".cast").name)
    slow.asciicast.write(made, lines)
    out.print(escape(str(made)))


@transcript.command("replay")
@file_argument
@click.option("--speed", type=click.FloatRange(0), default=1.0, help="2 is twice as fast, 0 without pauses.")
def transcript_replay(file: Path, speed: float) -> None:
    """Play the received bytes of FILE on the terminal, at their original speed; Ctrl-C ends it."""
    try:
        for data in slow.paced(slow.Recording(file), speed):
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
