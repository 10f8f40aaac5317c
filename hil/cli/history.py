"""`hil history`: the runs in the history."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

import click
from rich.markup import escape

from hil import slow
from hil.cli import candidates
from hil.cli.common import err, history_option, json_option, out, show
from hil.text import counted

directory = click.Path(path_type=Path, file_okay=False, exists=True)


@click.group()
def history() -> None:
    """The history of all runs, in one SQLite file. docs/history.md describes its tables and views."""


@history.command()
@click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=directory)
@click.option("--ended", is_flag=True, help="Add unfinished runs of other machines, as killed.")
@history_option
def add(directories: tuple[Path, ...], ended: bool, file: Path) -> NoReturn:
    """Add the runs in each DIR: the directory of a run, of a night, or of nights. A run is added once.

    The exit status is 1 where something could not be read.
    """
    with _store(file, write=True) as store:
        added = slow.ingest.add(store, directories, ended=ended)
    out.print(escape(str(added)))
    for note in added.notes:
        err.print(f"hil: {escape(note)}")
    raise SystemExit(1 if added.broken else 0)


@history.command("list")
@click.option("--nights", type=click.IntRange(min=1), metavar="N", help="Only the last N nights.")
@json_option
@history_option
def list_(nights: int | None, json_: bool, file: Path) -> None:
    """List the runs, oldest first, with the outcomes of their tests."""
    with _store(file) as store:
        runs = store.runs(store.nights()[-nights:] if nights else None)
        counts: dict[str, Counter[str]] = {run.id: Counter() for run in runs}
        for test in store.tests(runs):
            counts[test.run][test.fault or test.outcome] += 1
        left_out = store.left_out
    for reason in left_out:
        err.print(f"hil: {escape(reason)}")
    show([_row(run, counts[run.id]) for run in runs], json_)


@history.command()
@click.argument("night", shell_complete=candidates.nights)
@click.argument("text")
@history_option
def note(night: str, text: str, file: Path) -> None:
    """Add TEXT to NIGHT, to be shown beside its figures: "new compiler", "the bench was moved"."""
    with _store(file, write=True, create=False) as store:
        store.note(night, text)


@history.command()
@click.option("--keep-nights", type=click.IntRange(min=1), required=True, metavar="N", help="Keep the newest N nights.")
@click.option(
    "--keep-samples",
    type=click.IntRange(min=0),
    metavar="N",
    help="Keep the samples of the newest N nights, of older ones only the figures [as --keep-nights].",
)
@click.option("--dry-run", is_flag=True, help="Print what would be removed; remove nothing.")
@history_option
def prune(keep_nights: int, keep_samples: int | None, dry_run: bool, file: Path) -> None:
    """Remove the oldest nights, or only their samples. Runs outside of nights go with the nights after them."""
    with _store(file, write=not dry_run, create=False) as store:
        pruned = store.prune(keep_nights, keep_samples, dry=dry_run)
    names = f" ({', '.join(pruned.nights[:4])}{', ...' * (len(pruned.nights) > 4)})" if pruned.nights else ""
    removed = f"{counted(len(pruned.nights), 'night')}{names}, {counted(pruned.runs, 'run')}"
    removed += f", samples of {pruned.series} other series"
    freed = f"; {pruned.freed / 1024:.0f} KiB freed"
    out.print(escape(f"would remove {removed}" if dry_run else f"removed {removed}{freed}"))
    if pruned.not_freed:
        err.print(f"hil: the space is free for new runs, but not returned to the disk: {escape(pruned.not_freed)}")


def _store(file: Path, *, write: bool = False, create: bool = True) -> slow.History:
    """Open the history. Raises `ConfigurationError` where it is missing and not to be created."""
    if write and not create:
        slow.History(file).close()
    return slow.History(file, write=write)


def _row(run: slow.Run, counts: Counter[str]) -> dict[str, str]:
    return {
        "night": run.night or "-",
        "run": run.name,
        "board": run.board,
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.began)),
        "state": run.state if run.status is None else f"{run.state}, status {run.status}",
        "tests": ", ".join(f"{count} {name}" for name, count in counts.items()) or "none",
    }
