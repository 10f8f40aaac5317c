"""The history: one SQLite file to which whole runs are added.

Any number of processes read and write it at the same time. Reading imports neither numpy nor scipy.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hil.errors import ConfigurationError
from hil.history import pruning, rows
from hil.history.database import Database, json_list
from hil.history.pruning import Pruned
from hil.history.rows import Boot, Note, RecordedRun, Run, StoredFigure, Test

if TYPE_CHECKING:  # imports numpy
    from hil.measure.results import SeriesRecord

T = TypeVar("T")
NAME = "history.sqlite"


class History(Database):
    """The history at `path`; with `write` it is created where it is missing. A context manager.

    A broken row, as after a disk error, is left out of what is read; `left_out` lists these rows with the reason.

    Raises what `Database` does.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self._left_out: dict[str, None] = {}
        super().__init__(Path(path), write=write)

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def left_out(self) -> list[str]:
        return list(self._left_out)

    def runs(self, nights: Sequence[str] | None = None) -> list[Run]:
        """Return all runs, or those of some nights, oldest first; of a run that was repeated in its night the last."""
        runs = self._parsed("run", rows.run_of, self.rows("SELECT * FROM v_runs ORDER BY began, id"), "id")
        return [run for run in runs if nights is None or run.night in nights]

    def tests(self, runs: Sequence[Run]) -> list[Test]:
        """Return the tests of `runs`, in the order of the runs and in the order in which they ran."""
        found = self._of(runs, "SELECT t.* FROM tests AS t", "t", "t.number")
        return self._parsed("test", rows.test_of, found, "nodeid")

    def boots(self, runs: Sequence[Run]) -> list[Boot]:
        """Return the attempts to bring boards up in `runs`, in order."""
        query = "SELECT b.run, b.board, b.kind, b.fault, b.stage, b.cause FROM boots AS b"
        return [Boot(*row) for row in self._of(runs, query, "b", "b.number")]

    def figures(self, runs: Sequence[Run]) -> list[StoredFigure]:
        """Return the figures of the series of `runs`, in order; one with two checks twice."""
        query = f"""SELECT {rows.FIGURE} FROM figures AS f JOIN series AS s ON s.id = f.series
            LEFT JOIN checks AS c ON c.series = f.series AND c.figure = f.name"""
        found = self._of(runs, query, "s", "s.number, f.name, c.number")
        return self._parsed("figure", rows.figure_of, found, "quantity")

    def series(self, run: Run) -> list[SeriesRecord]:
        """Return the series of a run as they were recorded, except those whose samples were pruned."""
        checks: dict[int, list[sqlite3.Row]] = {}
        query = "SELECT c.* FROM checks AS c JOIN series AS s ON s.id = c.series WHERE s.run = ? ORDER BY c.number"
        for row in self.rows(query, [run.id]):
            checks.setdefault(row["series"], []).append(row)
        query = "SELECT * FROM series JOIN samples ON series = id WHERE run = ? ORDER BY number"
        found = self.rows(query, [run.id])
        return self._parsed("series", lambda row: rows.record_of(row, checks.get(row["id"], [])), found, "subject")

    def notes(self) -> list[Note]:
        """Return the notes on nights, oldest first."""
        return [Note(*row) for row in self.rows("SELECT at, night, text FROM notes ORDER BY at, id")]

    def has(self, run: str) -> bool:
        """Return whether the run with that id was added, also where it was pruned since."""
        query = "SELECT 1 FROM runs WHERE id = ?1 UNION ALL SELECT 1 FROM pruned WHERE id = ?1"
        return bool(self.rows(query, [run]))

    def add(self, recorded: RecordedRun) -> bool:
        """Add a whole run or nothing. Return False where it was added before. Waits for other writers."""
        from hil.history.figures import stored_figures  # imports scipy

        if self.has(recorded.run.id):
            return False
        # computed before the lock, so that nobody has to wait for it
        series = [(rows.packed(record), *stored_figures(record)) for record in recorded.records]
        with self.transaction():
            if self.has(recorded.run.id):
                return False
            self._insert(recorded, series)
        return True

    def _insert(self, recorded: RecordedRun, series: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        """Insert the rows of a run, within a transaction. `series` are the samples and figures of its records."""
        run, insert = recorded.run.id, self.insert
        insert("runs", rows.of_run(recorded.run))
        for number, test in enumerate(recorded.tests):
            insert("tests", rows.of_test(test) | {"run": run, "number": number})
        for number, boot in enumerate(recorded.boots):
            insert("boots", {**vars(boot), "run": run, "number": number})
        for number, (record, (samples, *figures)) in enumerate(zip(recorded.records, series, strict=True)):
            key = insert("series", rows.of_series(record) | {"run": run, "number": number})
            insert("samples", {**samples, "series": key})
            for figure in figures:
                insert("figures", {**figure, "series": key})
            for place, check in enumerate(record.checks):
                limit = {"bound": check.limit.value, "unit": check.limit.unit}
                values = {"figure": check.figure, "outcome": check.outcome, "text": check.text}
                insert("checks", limit | values | {"series": key, "number": place})

    def note(self, night: str, text: str) -> None:
        """Add a note to a night. Raises `ConfigurationError` for an unknown night."""
        nights = self.nights()
        if night not in nights:
            known = ", ".join(nights[-5:]) or "none"
            raise ConfigurationError(f"there is no night {night!r} in {self.path}", hint=f"the last ones are: {known}")
        with self.transaction():
            self.insert("notes", {"at": time.time(), "night": night, "text": text})

    def prune(self, nights: int, samples: int | None = None, *, dry: bool = False) -> Pruned:
        """Remove all but the newest `nights`, and the samples of all but the newest `samples` (default: `nights`).

        Removed runs are not added again. With `dry` nothing is removed.
        """
        return pruning.prune(self, nights, nights if samples is None else samples, dry=dry)

    def _parsed(self, kind: str, parse: Callable[[sqlite3.Row], T], found: Sequence[sqlite3.Row], name: str) -> list[T]:
        """Parse rows; leave out the broken ones, listed by `kind` and by their column `name`."""
        parsed = []
        for row in found:
            try:
                parsed.append(parse(row))
            except rows.BROKEN as error:
                self._left_out[f"{self.path}: {kind} {row[name]} is broken and left out: {error}"] = None
        return parsed

    def _of(self, runs: Sequence[Run], query: str, table: str, order: str) -> list[sqlite3.Row]:
        """Return the rows of any number of runs, in the order of the runs."""
        joined = f"JOIN json_each(?) AS j ON j.value = {table}.run ORDER BY j.key, {order}"
        return self.rows(f"{query} {joined}", [json_list([run.id for run in runs])])
