"""How much the commands print: the options -q and -v, and the handlers of messages and progress.

- `-q`: results and errors.
- without either: also notices, and on a terminal a line with the current step; else a line every 30 s.
- `-v`: also the messages of `logging` of the framework at level INFO: stages, retries, sources of settings, commands.
- `-vv`: also those at level DEBUG: the console.

All but results goes to standard error.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click
from rich.markup import escape

from hil.cli.terminal import err
from hil.errors import ConfigurationError
from hil.host import progress, project
from hil.host.progress import Progress

LEVEL = "hil.verbosity"
FRAMEWORK = logging.getLogger("hil")


def level() -> int:
    """Return the verbosity of the running command: -1 with -q, 1 with -v, 2 with -vv."""
    context = click.get_current_context(silent=True)
    return 0 if context is None else context.meta.get(LEVEL, 0)


def note(text: str) -> None:
    """Print a notice, unless -q is given."""
    if level() >= 0:
        err.print(f"[dim]hil: {escape(text)}[/]")


def add_options(command: click.Command) -> None:
    """Add -q and -v to `command` and all commands below it."""
    for name, letter, text in (
        ("--quiet", "-q", "Print results and errors alone."),
        ("--verbose", "-v", "Print what happens; twice: with the console."),
    ):
        command.params.append(
            click.Option(
                [letter, name],
                count=True,
                is_eager=True,
                expose_value=False,
                callback=_set,
                show_default=False,
                help=text,
            )
        )
    for inner in getattr(command, "commands", {}).values():
        add_options(inner)


def _set(context: click.Context, parameter: click.Parameter, count: int) -> None:
    """Change the verbosity by an option of the command or of one above it."""
    if not count or context.resilient_parsing:
        return
    before = context.meta.get(LEVEL, 0)
    change = -1 if parameter.name == "quiet" else count
    if before * change < 0:
        raise click.UsageError("--quiet and --verbose exclude each other")
    context.meta[LEVEL] = max(-1, before + change)
    if change > 0:
        _listen(context, logging.INFO if context.meta[LEVEL] == 1 else logging.DEBUG)


def _listen(context: click.Context, least: int) -> None:
    """Print the framework's messages of `least` or a higher level until the outermost command ends."""
    for handler in FRAMEWORK.handlers:
        if isinstance(handler, _Printer):
            FRAMEWORK.setLevel(least)
            return
    handler, before = _Printer(), FRAMEWORK.level
    FRAMEWORK.addHandler(handler)
    FRAMEWORK.setLevel(least)

    def end() -> None:
        FRAMEWORK.removeHandler(handler)
        FRAMEWORK.setLevel(before)

    context.find_root().call_on_close(end)
    with suppress(ConfigurationError):  # raised again by the command, if it needs the project
        here = project.current()
        FRAMEWORK.info("project %s, settings: %s", here.root, here.file or "none")


class _Printer(logging.Handler):
    """Prints messages on standard error, above a line with the current step."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(f"[dim]{escape(record.getMessage())}[/]")


@contextmanager
def working() -> Iterator[Progress]:
    """Show the steps of long work: on a terminal on one line, else each on a line of its own."""
    if level() < 0:
        with progress.displayed(progress.Silence()) as silence:
            yield silence
    else:
        with progress.shown(sys.stderr, err) as display:
            yield display


@contextmanager
def watched() -> Iterator[Progress]:
    """Show what a board does: on a terminal on one line, else a sign of life every 30 s."""
    if level() < 0:
        with progress.displayed(progress.Silence()) as display:
            yield display
    elif err.is_terminal:
        with progress.status_line(err) as display:
            yield display
    else:
        with progress.signs_of_life(sys.stderr) as display:
            yield display
