"""Shared parts of the commands: errors, options, tables, and boards that are up."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.markup import escape
from rich.table import Table

from hil import slow
from hil.board.selection import Selection, of_project, select
from hil.cli import candidates
from hil.cli.terminal import echo as echo
from hil.cli.terminal import err as err
from hil.cli.terminal import out as out
from hil.cli.verbosity import FRAMEWORK, level, note, watched, working
from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host import project
from hil.host.project import TABLE
from hil.text import printable

INTERRUPTED = 130  # exit status after Ctrl-C, as of a shell
USER_ERRORS = (
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
)
"""Errors about names and permissions, which the user has to correct."""

PATH = click.Path(path_type=Path)
FILE = click.Path(path_type=Path, dir_okay=False)
DIRECTORY = click.Path(path_type=Path, file_okay=False)

WAIT = "hil.place_wait"
LG_ENV = "hil.lg_env"
DEFAULT_BOARD = "qemu-reference"


class CommandGroup(click.Group):
    """The group of all commands: it prints errors without a traceback and converts them to exit statuses.

    The project is that of the working directory; only a command that needs it fails for its wrong settings.
    """

    def invoke(self, context: click.Context) -> Any:
        before = project.use(None)
        try:
            return super().invoke(context)
        except HilError as error:
            print_error(error)
            raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from None
        except KeyboardInterrupt:
            err.print("hil: interrupted")
            raise SystemExit(INTERRUPTED) from None
        except click.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # at a prompt
                raise SystemExit(INTERRUPTED) from None
            raise
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of the pipe has ended: click ends quietly
                raise
            kind = ConfigurationError if error.errno in USER_ERRORS else InfrastructureError
            print_error(kind(f"{error.filename or context.info_name}: {error.strerror or error}"))
            raise SystemExit(2 if kind is ConfigurationError else 1) from None
        finally:
            project.use(before)


def print_error(error: HilError) -> None:
    err.print(f"[bold red]hil: {type(error).__name__}[/] ({error.origin}): {escape(str(error))}")


def as_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


json_option = click.option("--json", "json_", is_flag=True, help="Print JSON, for machines.")


def board_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that select the board, by the same rules as in pytest, and the time to wait for a place."""
    board = click.option(
        "--board",
        "name",
        callback=_selected,
        shell_complete=candidates.boards,
        metavar="NAME",
        help="A name in boards/, a path, place:NAME of a lab, or any place with +TAG=VALUE "
        f"[--lg-env, LG_ENV, board in the project's {TABLE}, {DEFAULT_BOARD}].",
    )
    lg_env = click.option(
        "--lg-env",
        is_eager=True,
        expose_value=False,
        callback=lambda context, _, value: context.meta.__setitem__(LG_ENV, value),
        shell_complete=candidates.files("*.yaml", "*.yml"),
        metavar="FILE",
        help="A labgrid environment instead of --board.",
    )
    wait = click.option(
        "--place-wait",
        type=click.FloatRange(min=0),
        default=600.0,
        expose_value=False,
        callback=lambda context, _, value: context.meta.__setitem__(WAIT, value),
        metavar="SECONDS",
        help="Time to wait for a place of a lab.",
    )
    return board(lg_env(wait(command)))


def selected(boards: Sequence[str] = (), lg_env: str | None = None) -> Selection:
    """Return the selected board: by `boards`, else by labgrid's environment, else by the project's setting."""
    found = select(boards, lg_env)
    if not found.names:
        found = of_project(project.current())
    return found if found.names else Selection((DEFAULT_BOARD,), "default")


def _selected(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Return the selected board; without --board, print it with the source of the selection."""
    if context.resilient_parsing:
        return name
    found = selected([] if name is None else [name], context.meta[LG_ENV])
    (note if name is None else FRAMEWORK.info)(f"board {found.names[0]}, chosen by {found.source}")
    return found.names[0]


image_option = click.option(
    "--image", metavar="NAME", shell_complete=candidates.images, help="Boot this image instead of the board's own."
)
seed_option = click.option(
    "--seed", type=int, metavar="K", help="Run in virtual time with this seed; runs repeat to the bit."
)


boot_option = click.option("--boot", is_flag=True, help="Boot from power-off even if a snapshot exists.")


def _history(context: click.Context, _: click.Parameter, file: Path | None) -> Path | None:
    if context.resilient_parsing:
        return file
    source = "--history" if file else TABLE if project.current().path("history") else "default"
    chosen = file or default_history()
    FRAMEWORK.info("history %s, chosen by %s", chosen, source)
    return chosen


history_option = click.option(
    "--history",
    "file",
    type=FILE,
    callback=_history,
    shell_complete=candidates.files("*.sqlite"),
    metavar="FILE",
    help=f"The history [history in the project's {TABLE}, else reports/nights/history.sqlite].",
)


def default_history() -> Path:
    """Return the path of the project's history, by default beside the nights."""
    from hil.history.store import NAME

    return project.current().path("history") or project.current().nights / NAME


def terms() -> slow.selector.Terms:
    """Return the time to wait for a place of a lab, and where to report the wait."""
    quiet = level() < 0  # the report comes from another thread, which has no context
    return slow.selector.Terms(
        wait=click.get_current_context().meta[WAIT],
        report=lambda text: None if quiet else err.print(f"hil: {escape(text)}"),
    )


@contextmanager
def powered(name: str, image: str | None, seed: int | None = None, *, snapshots: bool = False) -> Iterator[slow.Board]:
    """Switch a board on for the block, its image built if necessary."""
    with slow.Board(name, image=image, seed=seed, snapshots=snapshots, terms=terms()) as chosen:
        source = "the board's file" if image is None else "--image"
        FRAMEWORK.info("board file %s; image %s, chosen by %s", chosen.path, chosen.manifest.path, source)
        with working():
            chosen.image()
        yield chosen


def booted(chosen: slow.Board) -> slow.BootReport:
    """Boot the board from power-off, with a status line."""
    with watched():
        return chosen.boot()


def brought_up(chosen: slow.Board, *, boot: bool) -> slow.BootReport:
    """Restore the board, or boot it if it has no snapshot, and check its health; with `boot` only boot it."""
    if boot:
        return booted(chosen)
    guest = slow.Guest(chosen)
    chosen.health_check = lambda _: slow.check_health(guest)
    with watched():
        report = chosen.fresh()
    if chosen.emulated and chosen.no_snapshot_reason:
        note(f"{chosen.name} is booted, not restored: no snapshot: {chosen.no_snapshot_reason}")
    return report


def origin(kind: str, path: Path) -> dict[str, str]:
    """Return the column with where a file of `kind` comes from, and the files that it hides."""
    here = project.current()
    hidden = [here.origin(kind, other) for other in here.hidden(kind, path)]
    return {"from": here.origin(kind, path) + (f" (hides that of the {', '.join(hidden)})" if hidden else "")}


def show(rows: list[dict[str, Any]], json_: bool) -> None:
    """Print the rows as a table, or as JSON."""
    if json_:
        as_json(rows)
        return
    if not rows:
        return
    table = Table(box=None, pad_edge=False)
    for key in rows[0]:
        table.add_column(key, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(str(value))) for value in row.values()))
    out.print(table)
