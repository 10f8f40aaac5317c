"""`hil history`: what became of runs, kept for years, and asked for with SQL."""

from __future__ import annotations

import csv
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.markup import escape

from hil.cli.common import as_json, err, history_option, json_option, out, show

if TYPE_CHECKING:
    from hil.history.rows import Run
    from hil.history.store import History

SHOWN = 300  # characters of a field in a table

directory = click.Path(path_type=Path, file_okay=False, exists=True)
directories_argument = click.argument("directories", metavar="DIR...", nargs=-1, required=True, type=directory)


@click.group()
def history() -> None:
    """The history: what became of all runs, in one SQLite file; docs/history.md describes it."""


@history.command()
@directories_argument
@click.option("--ended", is_flag=True, help="Unfinished runs of other machines do not run any more: they were killed.")
@history_option
def add(directories: tuple[Path, ...], ended: bool, file: Path) -> NoReturn:
    """Take in the runs in each DIR: a run's directory, a night's, or one of nights. Twice adds nothing.

    The exit status is 1 where something could not be read.
    """
    from hil.history import ingest

    with _store(file, write=True) as store:
        added = ingest.add(store, directories, ended=ended)
    out.print(escape(str(added)))
    for note in added.notes:
        err.print(f"hil: {escape(note)}")
    raise SystemExit(1 if added.broken else 0)


@history.command("import")
@directories_argument
@history_option
def import_(directories: tuple[Path, ...], file: Path) -> NoReturn:
    """Take in old Allure results, from before runs had journals. Twice adds nothing.

    The exit status is 1 where a file was broken.
    """
    from hil.history.allure_results import import_results

    with _store(file, write=True) as store:
        imported = import_results(store, directories)
    for line in imported.lines():
        out.print(escape(line))
    raise SystemExit(1 if imported.broken else 0)


@history.command("list")
@click.option("--nights", type=click.IntRange(min=1), metavar="N", help="Only the last N nights.")
@json_option
@history_option
def list_(nights: int | None, json_: bool, file: Path) -> None:
    """List the runs, oldest first, with what became of their tests."""
    with _store(file) as store:
        runs = store.runs(last_nights=nights)
        counts: dict[str, Counter[str]] = {run.id: Counter() for run in runs}
        for test in store.tests(runs):
            counts[test.run][test.fault or test.outcome] += 1
        left_out = store.left_out
    for why in left_out:
        err.print(f"hil: {escape(why)}")
    show([_row(run, counts[run.id]) for run in runs], json_)


@history.command()
@click.argument("sql")
@json_option
@click.option("--csv", "csv_", is_flag=True, help="Print CSV, for spreadsheets.")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="At most so many rows.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=30.0, show_default=True, help="At most so long.")
@history_option
def query(sql: str, json_: bool, csv_: bool, limit: int, seconds: float, file: Path) -> None:
    """Ask the history by SQL, as "SELECT board, count(*) FROM v_tests WHERE outcome = 'failed' GROUP BY board"."""
    if json_ and csv_:
        raise click.UsageError("--json and --csv: choose one")
    with _store(file) as store:
        answer = store.query(sql, limit=limit, seconds=seconds)
    if csv_:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(answer.columns)
        writer.writerows(answer.rows)
    elif json_:
        as_json([dict(zip(answer.columns, map(_plain, row), strict=True)) for row in answer.rows])
    else:
        show([dict(zip(answer.columns, map(_cell, row), strict=True)) for row in answer.rows], False)
    if answer.more:
        err.print(f"hil: only the first {limit} rows; --limit shows more")


@history.command()
@click.argument("night")
@click.argument("text")
@history_option
def note(night: str, text: str, file: Path) -> None:
    """Keep TEXT beside the figures of NIGHT: "new compiler", "the bench was moved"."""
    with _store(file, write=True, make=False) as store:
        store.note(night, text)


@history.command()
@click.option("--keep-nights", type=click.IntRange(min=1), required=True, metavar="N", help="The newest N nights stay.")
@click.option(
    "--keep-samples",
    type=click.IntRange(min=0),
    metavar="N",
    help="Of all but the newest N nights only the figures stay, for trends, not the samples [as many as nights].",
)
@click.option("--dry-run", is_flag=True, help="Say what would go; remove nothing.")
@history_option
def prune(keep_nights: int, keep_samples: int | None, dry_run: bool, file: Path) -> None:
    """Remove the oldest nights, or only their samples; runs outside of nights go with the nights before them."""
    from hil.history.ingest import counted

    with _store(file, write=not dry_run, make=False) as store:
        told = store.prune(keep_nights, keep_samples, dry=dry_run)
    names = f" ({', '.join(told.nights[:4])}{', ...' * (len(told.nights) > 4)})" if told.nights else ""
    what = f"{counted(len(told.nights), 'night')}{names}, {counted(told.runs, 'run')}"
    what += f", samples of {told.series} other series"
    out.print(escape(f"would remove {what}" if dry_run else f"removed {what}; {told.freed / 1024:.0f} KiB given back"))
    if told.left:
        err.print(f"hil: its space is free for new runs, but not given back: {escape(told.left)}")


@history.command()
def schema() -> None:
    """Print tables and views as SQL."""
    from hil.history import schema as made

    click.echo(f"{made.TABLES.strip()}\n{made.VIEWS.strip()}")


def _store(file: Path, *, write: bool = False, make: bool = True) -> History:
    """The store; where it is to be written but not `make`, it has to be there."""
    from hil.history.store import History

    if write and not make:
        History(file).close()
    return History(file, write=write)


def _row(run: Run, counts: Counter[str]) -> dict[str, str]:
    return {
        "night": run.night or "-",
        "run": run.name,
        "board": run.board,
        "began": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.began)),
        "state": run.state if run.status is None else f"{run.state}, status {run.status}",
        "tests": ", ".join(f"{count} {name}" for name, count in counts.items()) or "none",
    }


def _plain(value: Any) -> Any:
    return f"{len(value)} bytes" if isinstance(value, bytes) else value


def _cell(value: Any) -> str:
    """A field for a table: one line, of bearable length."""
    text = "" if value is None else str(_plain(value)).replace("\n", " ")
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
