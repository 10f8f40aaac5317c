"""The SQLite file of a history: opened and checked, its transactions, and its errors as errors of this project."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host.disk import disk_errors
from hil.text import storable

SCHEMA = Path(__file__).with_name("schema.sql")
APPLICATION = 0x48494C48  # identifies a history in SQLite's header
VERSION = 4
LONGEST_NAME = 255 - len("-journal")  # bytes of the file's name: SQLite derives others from it
PATIENCE = 60.0  # seconds that a writer waits for another one, which may write a whole run
REBUILD = "rebuild it from the runs' directories with `hil history add DIR`"
IN_LIST = "IN (SELECT value FROM json_each(?))"  # a list of any length, as one parameter


class Database:
    """The file at `path`; with `write` it is created where it is missing.

    Raises `ConfigurationError` for a file that is not a history, has another version, or is missing and not to be
    written; `InfrastructureError` for disk errors.
    """

    def __init__(self, path: Path, *, write: bool = False) -> None:
        self.path = path
        self._write = write
        if len(os.fsencode(path.name)) > LONGEST_NAME or "\0" in str(path):
            reason = f"its name is longer than {LONGEST_NAME} bytes or contains a NUL"
            raise ConfigurationError(f"{path} cannot be a history: {reason}", hint="choose another name")
        with self.errors():
            self.connection = self._open()
        try:
            with self.errors():
                self._check()
        except BaseException:
            self.connection.close()
            raise

    def close(self) -> None:
        self.connection.close()

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self.errors():
            return self.connection.execute(query, parameters).fetchall()

    def nights(self) -> list[str]:
        """Return the names of the nights, oldest first."""
        query = "SELECT night FROM runs WHERE night != '' GROUP BY night ORDER BY min(began), night"
        return [row[0] for row in self.rows(query)]

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Insert a row, within `transaction`, and return its number."""
        values = [_storable(table, value) for value in row.values()]
        query = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"
        return self.connection.execute(query, values).lastrowid or 0

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Write all of the block or nothing. Waits up to a minute for other writers."""
        if not self._write:
            raise ValueError("the history is opened read-only")
        with self.errors():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Convert SQLite's errors into errors of this project."""
        try:
            yield
        except OverflowError as error:  # an integer of more than 64 bits
            raise ConfigurationError(f"the history {self.path} cannot store it: {error}") from error
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> HilError:
        text = str(error)
        if isinstance(error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError):
            return ConfigurationError(f"the history {self.path} cannot store it: {text}")
        if "not a database" in text:
            return ConfigurationError(f"{self.path} is not a history: {text}", hint="choose another file")
        if "locked" in text or "busy" in text:
            return InfrastructureError(
                f"the history {self.path} was in use for {PATIENCE:g} s",
                hint="find the process with `fuser`; do not keep a history on a network file system",
            )
        if "malformed" in text:
            return InfrastructureError(f"the history {self.path} is damaged: {text}", hint=REBUILD)
        return InfrastructureError(f"the history {self.path}: {text}", hint="check its disk and its permissions")

    def _open(self) -> sqlite3.Connection:
        if self._write:
            with disk_errors(f"create the history {self.path}"):
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.path.touch(mode=0o600)
            connection = self._connect("rwc")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA foreign_keys = ON")
            return connection
        if not self.path.is_file():
            hint = "create one with `hil history add DIR` or `pytest --hil-history FILE`"
            raise ConfigurationError(f"there is no history {self.path}", hint=hint)
        connection = self._connect("ro")
        try:
            connection.execute("SELECT 1 FROM sqlite_schema").fetchall()
        except sqlite3.OperationalError:
            connection.close()
            if self.path.with_name(f"{self.path.name}-wal").exists():  # its content would be left out
                raise
            connection = self._connect("ro&immutable=1")  # on a read-only medium
        return connection

    def _connect(self, mode: str) -> sqlite3.Connection:
        address = f"file:{quote(os.fsencode(self.path.absolute()))}?mode={mode}"
        connection = sqlite3.connect(address, uri=True, timeout=PATIENCE, isolation_level=None)
        connection.row_factory = sqlite3.Row
        return connection

    def _check(self) -> None:
        """Check that the file is a history of this version. Create the tables in an empty one."""
        if self._write and self._empty():
            with self.transaction():
                if self._empty():  # still: another process may have been faster
                    self._create()
        application, version = self._pragma("application_id"), self._pragma("user_version")
        if application != APPLICATION:
            raise ConfigurationError(f"{self.path} is not a history, but another database", hint="choose another file")
        if version != VERSION:
            raise ConfigurationError(
                f"{self.path} is a history of version {version}; this project reads version {VERSION}",
                hint="update this project" if version > VERSION else REBUILD,
            )

    def _empty(self) -> bool:
        return not self._pragma("application_id") and not self.rows("SELECT 1 FROM sqlite_schema LIMIT 1")

    def _create(self) -> None:
        for statement in SCHEMA.read_text("ascii").split(";\n"):  # `executescript` would commit
            self.connection.execute(statement)
        self.connection.execute(f"PRAGMA application_id = {APPLICATION}")
        self.connection.execute(f"PRAGMA user_version = {VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self.connection.execute(f"PRAGMA {name}").fetchone()[0])


def json_list(names: Sequence[str]) -> str:
    """Return the parameter for `IN_LIST`."""
    return json.dumps(list(names))


def _storable(table: str, value: Any) -> Any:
    """Return the value as SQLite can store it. Raises `ConfigurationError` for a number that is not finite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigurationError(f"the history cannot store {value} in the table {table}")
    return storable(value) if isinstance(value, str) else value
