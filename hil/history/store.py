"""The history store: one SQLite file that whole runs are taken into and nothing is ever changed in.

Readers and writers, of any number of processes, do not disturb each other; the file must not be on a network's file
system. What only reads needs neither numpy nor scipy.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.history import rows, schema
from hil.history.rows import Boot, Note, RecordedRun, Run, StoredFigure, Test
from hil.text import storable

if TYPE_CHECKING:  # at run time where samples are needed: a list must stay quick
    from hil.measure.results import SeriesRecord

T = TypeVar("T")
LONGEST_NAME = 255 - len("-journal")  # bytes of the file's name: SQLite makes others of it
PATIENCE = 60.0  # seconds that a writer waits for another one, who has a run's rows to write
SHRINKING = 5.0  # seconds that it waits for readers before it leaves the space in the file
NAME = "history.sqlite"
MAKE = "`hil history add DIR` makes one of runs, `pytest --history FILE` as it runs"


@dataclass(frozen=True)
class Pruned:
    """What was removed, or would be: `nights` and how many runs with them, and of how many series the samples."""

    nights: tuple[str, ...]
    runs: int
    series: int
    freed: int = 0
    left: str = ""


@dataclass(frozen=True)
class Answer:
    """What a query found: names and rows; `more` where there were more rows than were asked for."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    more: bool = False


class History:
    """The store at `path`; with `write` it is made where it is not there. A context manager.

    A broken row, which an earlier version took in or a disk has damaged, is left out; `left_out` names each.

    Raises `ConfigurationError` for a file that is none of ours, that is of a later version, or is not there to be
    read; `InfrastructureError` for a disk that fails.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = Path(path)
        self._write = write
        self._left_out: dict[str, None] = {}
        if len(os.fsencode(self.path.name)) > LONGEST_NAME or "\0" in str(self.path):
            told = f"{self.path} cannot be a history: its name is longer than {LONGEST_NAME} bytes, or holds a NUL"
            raise ConfigurationError(told, hint="name another file")
        with self._told():
            self._connection = self._open()
        try:
            with self._told():
                self._check()
        except BaseException:
            self._connection.close()
            raise

    def __enter__(self) -> History:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    @property
    def left_out(self) -> list[str]:
        """The rows that were broken and so left out of what was read, each with the reason."""
        return list(self._left_out)

    # reading

    def runs(self, *, night: str | None = None, plan: str | None = None, last_nights: int | None = None) -> list[Run]:
        """The runs, oldest first: of a night, of a plan, of the last nights; all where nothing is asked for.

        Of a run that was tried again the last try. With `last_nights` runs outside of nights are left out.
        """
        query = "SELECT * FROM v_runs WHERE coalesce(night = ?, 1) AND coalesce(plan = ?, 1) ORDER BY began, id"
        found = self._whole("run", rows.run_of, self._rows(query, [night, plan]), "id")
        if last_nights is None:
            return found
        last = self.nights(plan)[-last_nights:] if last_nights > 0 else []
        return [run for run in found if run.night in last]

    def nights(self, plan: str | None = None) -> list[str]:
        """The nights, of a plan where one is given, oldest first."""
        query = """SELECT night FROM runs WHERE night != '' AND coalesce(plan = ?, 1)
            GROUP BY night ORDER BY min(began), night"""
        return [row["night"] for row in self._rows(query, [plan])]

    def tests(self, runs: Sequence[Run]) -> list[Test]:
        """The tests of `runs`, in the order of the runs and as they were run."""
        found = self._of(runs, f"SELECT {rows.TEST} FROM tests AS t", "t", "t.number")
        return self._whole("test", rows.test_of, found, "nodeid")

    def boots(self, runs: Sequence[Run]) -> list[Boot]:
        """The tries to bring boards up in `runs`, in order."""
        query = "SELECT b.run, b.board, b.kind, b.fault, b.stage, b.cause FROM boots AS b"
        return [Boot(*row) for row in self._of(runs, query, "b", "b.number")]

    def figures(self, runs: Sequence[Run]) -> list[StoredFigure]:
        """The figures of the series of `runs`, in order; one that was checked twice is there twice."""
        query = f"""SELECT {rows.FIGURE} FROM figures AS f JOIN series AS s ON s.id = f.series
            LEFT JOIN checks AS c ON c.series = f.series AND c.figure = f.name"""
        found = self._of(runs, query, "s", "s.number, f.name, c.number")
        return self._whole("figure", rows.figure_of, found, "quantity")

    def series(self, run: Run) -> list[SeriesRecord]:
        """The series of a run as they were recorded, without those whose samples were pruned."""
        checks: dict[int, list[sqlite3.Row]] = {}
        query = "SELECT c.* FROM checks AS c JOIN series AS s ON s.id = c.series WHERE s.run = ? ORDER BY c.number"
        for row in self._rows(query, [run.id]):
            checks.setdefault(row["series"], []).append(row)
        query = "SELECT * FROM series JOIN samples ON series = id WHERE run = ? ORDER BY number"
        found = self._rows(query, [run.id])
        return self._whole("series", lambda row: rows.record_of(row, checks.get(row["id"], [])), found, "subject")

    def notes(self) -> list[Note]:
        """What people wrote, oldest first."""
        return [Note(*row) for row in self._rows("SELECT at, night, text FROM notes ORDER BY at, id")]

    def imported(self) -> set[str]:
        """The uuids of the results that were imported from Allure's."""
        return {row[0] for row in self._rows("SELECT uuid FROM imported")}

    def has(self, run: str) -> str:
        """How the run of that id is known: "kept", "pruned", or not at all, which is empty."""
        query = "SELECT 'kept' FROM runs WHERE id = ?1 UNION ALL SELECT 'pruned' FROM pruned WHERE id = ?1"
        return next((row[0] for row in self._rows(query, [run])), "")

    def query(self, text: str, *, limit: int = 10_000, seconds: float = 30.0) -> Answer:
        """What SQL finds, at most `limit` rows in at most `seconds`.

        Raises `ConfigurationError` for what is no query or takes too long, and for one that would write.
        """
        end = time.monotonic() + seconds
        connection = self._connection
        connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
        connection.set_authorizer(_may)
        try:
            with self._told():
                try:
                    cursor = connection.execute(text)
                    found = cursor.fetchmany(limit + 1)
                except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                    if time.monotonic() > end:
                        told = f"the query took longer than {seconds:g} s"
                        raise ConfigurationError(told, hint="ask for less, or join by run, series and night") from None
                    if "readonly" in str(error) or "prohibited" in str(error) or "not authorized" in str(error):
                        told = f"{error}: a query only reads"
                        raise ConfigurationError(told, hint="`hil history add`, `note` and `prune` write") from None
                    told = f"SQL: {error}"
                    raise ConfigurationError(told, hint="`hil history schema` shows tables and views") from None
        finally:
            connection.set_authorizer(None)
            connection.set_progress_handler(None, 0)
        names = [str(one[0]) for one in cursor.description or ()]
        columns = tuple(
            name if (before := names[:place].count(name)) == 0 else f"{name}_{before + 1}"
            for place, name in enumerate(names)
        )
        return Answer(columns, [tuple(row) for row in found[:limit]], len(found) > limit)

    # writing

    def add(self, taken: RecordedRun) -> bool:
        """Add a whole run or nothing; False where it is there already, or was pruned. Waits for other writers."""
        from hil.history.figures import summed

        if self.has(taken.run.id):
            return False
        made = [(summed(one), rows.packed(one)) for one in taken.records]  # before anyone has to wait for it
        with self.writing():
            if self.has(taken.run.id):
                return False
            self.insert(taken, made)
        return True

    def insert(
        self, taken: RecordedRun, made: Sequence[tuple[Sequence[tuple[Any, ...]], tuple[Any, ...]]] = ()
    ) -> None:
        """Put the rows of a run in, within `writing`; `made` is what its series are kept as, figures and samples."""
        run, put = taken.run, self._put
        facts = json.dumps(dict(run.facts), ensure_ascii=False)
        place = (run.id, run.night, run.name, run.attempt, run.plan, run.board, run.host)
        put("runs", [(*place, run.began, run.ended, run.status, run.state, facts, run.source, time.time())])
        put("tests", [(run.id, number, *rows.of_test(one)) for number, one in enumerate(taken.tests)])
        boots = [(one.board, one.kind, one.fault, one.stage, one.cause) for one in taken.boots]
        put("boots", [(run.id, number, *boot) for number, boot in enumerate(boots)])
        for number, (record, (figures, packed)) in enumerate(zip(taken.records, made, strict=True)):
            series = put("series", [(None, run.id, number, *rows.of_series(record))])
            put("figures", [(series, *figure) for figure in figures])
            checks = [(one.figure, one.limit.value, one.limit.unit, one.outcome, one.text) for one in record.checks]
            put("checks", [(series, place, *check) for place, check in enumerate(checks)])
            put("samples", [(series, *packed)])
        put("imported", [(uuid, run.id) for uuid in taken.uuids])

    def note(self, night: str, text: str) -> None:
        """Keep what a person has to say of a night. Raises `ConfigurationError` for a night that is not there."""
        nights = self.nights()
        if night not in nights:
            known = ", ".join(nights[-5:]) or "none"
            raise ConfigurationError(f"there is no night {night!r} in {self.path}", hint=f"the last ones are: {known}")
        with self.writing():
            self._put("notes", [(None, time.time(), night, text)])

    def prune(self, nights: int, samples: int | None = None, *, dry: bool = False) -> Pruned:
        """Remove all but the newest `nights`, and the samples of all but the newest `samples` ones.

        Runs outside of nights go with the nights that they are older than. Removed runs are not added again.
        """
        size = self._size()
        with contextlib.nullcontext() if dry else self.writing():
            every = self.nights()
            gone, bare = self._older(every, nights), self._older(every, nights if samples is None else samples)
            query = f"SELECT count(*) FROM samples JOIN series ON id = series WHERE run {AMONG} AND run NOT {AMONG}"
            series = self._rows(query, [_listed(bare), _listed(gone)])[0][0]
            names = tuple(every[: len(every) - nights]) if nights < len(every) else ()
            told = Pruned(names, len(gone), series)
            if dry or not (gone or series):
                return told
            self._remove(gone, bare, names)
        left = self._shrink()
        return replace(told, freed=max(0, size - self._size()), left=left)

    def _size(self) -> int:
        """What the store takes on the disk, in bytes, with what SQLite has not merged yet."""
        files = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def _older(self, nights: Sequence[str], keep: int) -> list[str]:
        """The ids of the runs that are older than the newest `keep` of the nights."""
        if len(nights) <= keep:
            return []
        kept = _listed(nights[len(nights) - keep :])
        query = f"""SELECT id FROM runs WHERE night NOT {AMONG} AND
            (night != '' OR began < coalesce((SELECT min(began) FROM runs WHERE night {AMONG}), 9e99))"""
        return [row[0] for row in self._rows(query, [kept, kept])]

    def _remove(self, gone: Sequence[str], bare: Sequence[str], nights: Sequence[str]) -> None:
        """The one exception from only adding, in one transaction: guards off, rows out, guards on."""
        execute, now = self._connection.execute, time.time()
        for (name,) in execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            execute(f"DROP TRIGGER {name}")
        execute(
            f"DELETE FROM samples WHERE series IN (SELECT id FROM series WHERE run {AMONG})", [_listed([*gone, *bare])]
        )
        for table in ("checks", "figures"):
            execute(f"DELETE FROM {table} WHERE series IN (SELECT id FROM series WHERE run {AMONG})", [_listed(gone)])
        for table in ("series", "boots", "tests", "imported"):
            execute(f"DELETE FROM {table} WHERE run {AMONG}", [_listed(gone)])
        execute(f"DELETE FROM runs WHERE id {AMONG}", [_listed(gone)])
        execute(f"DELETE FROM notes WHERE night {AMONG}", [_listed(nights)])
        self._put("pruned", [(run, now) for run in gone])
        for guard in schema.guards():
            execute(guard)

    def _shrink(self) -> str:
        """Give free space back to the disk; why not, where someone else is at work in the store."""
        self._connection.execute(f"PRAGMA busy_timeout = {1000 * SHRINKING:.0f}")
        try:
            self._connection.execute("VACUUM")
            busy = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.OperationalError as error:
            return str(error)
        finally:
            self._connection.execute(f"PRAGMA busy_timeout = {1000 * PATIENCE:.0f}")
        return "someone else is reading it" if busy else ""

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction, alone: all of it or nothing. Waits up to a minute for other writers."""
        if not self._write:
            raise ValueError("the history was opened to be read")
        with self._told():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    # beneath

    def _open(self) -> sqlite3.Connection:
        if self._write:
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.path.touch(mode=0o600)
            except OSError as error:
                raise InfrastructureError(f"cannot make {self.path.parent}: {error.strerror}") from error
            connection = self._connect("rwc")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            return connection
        if not self.path.is_file():
            raise ConfigurationError(f"there is no history {self.path}", hint=MAKE)
        connection = self._connect("ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            if self.path.with_name(f"{self.path.name}-wal").exists():  # what is in there would be left out
                raise
            connection = self._connect("ro&immutable=1")  # a medium that nobody can write to
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"file:{quote(os.fsencode(self.path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    def _check(self) -> None:
        """Whether it is a store of ours; a new file is made one."""
        if self._write and self._is_new():
            with self.writing():
                if self._is_new():  # still, for another one may have been quicker
                    self._make()
        application, version = self._pragma("application_id"), self._pragma("user_version")
        if application != schema.APPLICATION:
            raise ConfigurationError(
                f"{self.path} is no history, but a database of something else", hint="name another"
            )
        if version > schema.VERSION:
            told = f"{self.path} is a history of version {version}, only {schema.VERSION} is known"
            raise ConfigurationError(told, hint="update this project")
        if version < schema.VERSION:
            told = f"{self.path} is a history of version {version}, which is not used any more"
            raise ConfigurationError(told, hint="make a new one of the runs' directories with `hil history add`")

    def _is_new(self) -> bool:
        return not self._pragma("application_id") and not self._rows("SELECT 1 FROM sqlite_schema LIMIT 1")

    def _make(self) -> None:
        for statement in [*schema.statements(schema.TABLES), *schema.statements(schema.VIEWS), *schema.guards()]:
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {schema.APPLICATION}")
        self._connection.execute(f"PRAGMA user_version = {schema.VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _rows(self, query: str, given: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._told():
            return self._connection.execute(query, given).fetchall()

    def _whole(self, what: str, make: Callable[[sqlite3.Row], T], found: Sequence[sqlite3.Row], name: str) -> list[T]:
        """What `make` makes of the rows, a `what` each; one that is broken is left out, by its column `name`."""
        made = []
        for row in found:
            try:
                made.append(make(row))
            except rows.BROKEN as error:
                self._left_out[f"{self.path}: {what} {row[name]} is broken and left out: {error}"] = None
        return made

    def _of(self, runs: Sequence[Run], query: str, table: str, order: str) -> list[sqlite3.Row]:
        """The rows of some runs, in their order, whatever their number."""
        which = f"JOIN json_each(?) AS j ON j.value = {table}.run ORDER BY j.key, {order}"
        return self._rows(f"{query} {which}", [_listed([run.id for run in runs])])

    def _put(self, table: str, given: Sequence[tuple[Any, ...]]) -> int:
        """Add rows; the number of the last one."""
        for row in given:
            values = [_storable(table, value) for value in row]
            cursor = self._connection.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", values)
        return (cursor.lastrowid or 0) if given else 0

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite fails with is made ours."""
        try:
            yield
        except HilError:
            raise
        except OverflowError as error:  # an integer of more than 64 bits
            raise ConfigurationError(f"it cannot be kept in the history {self.path}: {error}") from error
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> HilError:
        text = str(error)
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError):
            return ConfigurationError(f"it cannot be kept in the history {self.path}: {text}")
        if "not a database" in text:
            return ConfigurationError(f"{self.path} is no history: {text}", hint=f"name another file; {MAKE}")
        if "locked" in text or "busy" in text:
            told = f"the history {self.path} was in use for {PATIENCE:g} s"
            return InfrastructureError(
                told, hint="who holds it? `fuser` shows; a history is not for network file systems"
            )
        if "malformed" in text:
            hint = "make a new one of the runs' directories with `hil history add`"
            return InfrastructureError(f"the history {self.path} is damaged: {text}", hint=hint)
        return InfrastructureError(
            f"the history {self.path}: {text}", hint="look at its disk and at who may write there"
        )


AMONG = "IN (SELECT value FROM json_each(?))"  # a list of any length, as one parameter


def _listed(names: Sequence[str]) -> str:
    return json.dumps(list(names))


def _storable(table: str, value: Any) -> Any:
    """The value as SQLite can hold it: names of files may be anything. Raises `ConfigurationError` for no number."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"it cannot be kept in the history: {value} in the table {table}")
    return storable(value) if isinstance(value, str) else value


def _may(action: int, *_: object) -> int:
    """A query's rights: all but other files; in this one SQLite itself lets nobody write."""
    return sqlite3.SQLITE_DENY if action in (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH) else sqlite3.SQLITE_OK
