"""Removal of old nights, and of old nights' samples, from a history."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hil.history.database import IN_LIST, PATIENCE, Database, json_list

SHRINK_PATIENCE = 5.0  # seconds to wait for readers before the free space is left in the file


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be: `nights`, the number of `runs`, and of other `series` that lose their samples.

    `freed` is in bytes; `not_freed` is the reason why free space could not be returned to the disk.
    """

    nights: tuple[str, ...]
    runs: int
    series: int
    freed: int = 0
    not_freed: str = ""


def prune(database: Database, keep: int, keep_samples: int, *, dry: bool) -> Pruned:
    """Remove all but the newest `keep` nights, and the samples of all but the newest `keep_samples`.

    Runs outside of nights go with the nights that are newer than they are. With `dry` nothing is removed.
    """
    size = _size(database)
    with contextlib.nullcontext() if dry else database.transaction():
        nights = database.nights()
        removed, stripped = _older(database, nights, keep), _older(database, nights, keep_samples)
        query = f"SELECT count(*) FROM samples JOIN series ON id = series WHERE run {IN_LIST} AND run NOT {IN_LIST}"
        series = database.rows(query, [json_list(stripped), json_list(removed)])[0][0]
        names = tuple(nights[: max(0, len(nights) - keep)])
        pruned = Pruned(names, len(removed), series)
        if dry or not (removed or series):
            return pruned
        _remove(database, removed, stripped, names)
    not_freed = _shrink(database)
    return replace(pruned, freed=max(0, size - _size(database)), not_freed=not_freed)


def _size(database: Database) -> int:
    """Return the size on the disk in bytes, including SQLite's write-ahead log."""
    files = (database.path, database.path.with_name(f"{database.path.name}-wal"))
    return sum(file.stat().st_size for file in files if file.exists())


def _older(database: Database, nights: Sequence[str], keep: int) -> list[str]:
    """Return the ids of the runs that are older than the newest `keep` of the nights."""
    if len(nights) <= keep:
        return []
    kept = json_list(nights[len(nights) - keep :])
    query = f"""SELECT id FROM runs WHERE night NOT {IN_LIST} AND
        (night != '' OR began < coalesce((SELECT min(began) FROM runs WHERE night {IN_LIST}), 9e99))"""
    return [row[0] for row in database.rows(query, [kept, kept])]


def _remove(database: Database, removed: Sequence[str], stripped: Sequence[str], nights: Sequence[str]) -> None:
    """Remove runs, with all that refers to them, the samples of other runs, and the notes on nights."""
    execute = database.connection.execute
    of_runs = f"SELECT id FROM series WHERE run {IN_LIST}"
    execute(f"DELETE FROM samples WHERE series IN ({of_runs})", [json_list(stripped)])
    execute(f"DELETE FROM runs WHERE id {IN_LIST}", [json_list(removed)])
    execute(f"DELETE FROM notes WHERE night {IN_LIST}", [json_list(nights)])
    now = time.time()
    for run in removed:
        database.insert("pruned", {"id": run, "at": now})


def _shrink(database: Database) -> str:
    """Return free space to the disk. Return the reason where another process prevents it."""
    execute = database.connection.execute
    execute(f"PRAGMA busy_timeout = {1000 * SHRINK_PATIENCE:.0f}")
    try:
        execute("VACUUM")
        busy = execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        return str(error)
    finally:
        execute(f"PRAGMA busy_timeout = {1000 * PATIENCE:.0f}")
    return "another process is reading it" if busy else ""
