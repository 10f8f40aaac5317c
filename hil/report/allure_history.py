"""The history of reports, an Allure file with a line for each, by which failures are new, flaky or fixed.

Allure writes the lines. This module adds what Allure lacks: a report that is made again replaces its first making, a
report of an older night is not compared to later ones, and a line is kept small, because all lines go into each report.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.errors import InfrastructureError
from hil.host import files, foreign
from hil.host.locks import lock

LIMIT = 60  # reports
FILE_LIMIT = 1 << 30  # bytes
MOST = 100_000  # results of earlier reports in one
KEPT = ("id", "name", "environment", "status", "start", "stop", "duration", "url", "historyId", "reportLinks")


@dataclass(frozen=True)
class AllureHistory:
    """The reports of the file at `path`, oldest first."""

    path: Path
    points: tuple[dict[str, Any], ...] = ()

    @classmethod
    def read(cls, path: Path) -> AllureHistory:
        """Read the file, which may be missing. Broken lines are skipped."""
        try:
            lines = foreign.read(path, FILE_LIMIT, links=True).split(b"\n")
        except (FileNotFoundError, NotADirectoryError):
            return cls(path)
        except OSError as error:
            raise InfrastructureError(f"cannot read the reports' history {path}: {foreign.why(error)}") from error
        found = [point for line in lines if (point := _point(line)) is not None]
        return cls(path, tuple(sorted(found, key=lambda point: point["timestamp"])))

    def before(self, ids: frozenset[str], ended: int, count: int, output: Path) -> None:
        """Write to `output` the history before a report with `count` results, those of `ids`, the last `ended` then."""
        earlier = [point for point in self.points if point["timestamp"] < ended and not _is_repeated(point, ids)]
        limit = max(1, min(LIMIT, MOST // max(1, count)))
        output.write_text("".join(map(_line, earlier[-limit:])), "utf-8")

    def add(self, made: Path, ids: frozenset[str], ended: int) -> None:
        """Add the report at the end of Allure's file `made`, and remove reports that it repeats."""
        last = made.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
        point = _point(last) if last else None
        if point is None or not point["testResults"]:
            return
        point["timestamp"] = ended
        point["testResults"] = {key: _slim(result) for key, result in point["testResults"].items()}
        point.pop("knownTestCaseIds", None)
        with _locked(self.path):
            now = AllureHistory.read(self.path)  # another report may have been added meanwhile
            others = [other for other in now.points if not _is_repeated(other, ids)]
            kept = sorted([*others, point], key=lambda point: point["timestamp"])[-LIMIT:]
            self._write(kept)

    def _write(self, points: Sequence[dict[str, Any]]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write(self.path, "".join(map(_line, points)))
        except OSError as error:
            raise InfrastructureError(f"cannot write the reports' history {self.path}: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock for writing the file at `path`, if its file system has locks."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no locks, or no such directory yet
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            lock(descriptor)
        yield


def _is_repeated(point: dict[str, Any], ids: frozenset[str]) -> bool:
    """Check whether all results of a report are in `ids`: it was made again, or before its run was continued."""
    return all(result.get("id") in ids for result in point["testResults"].values())


def _point(line: bytes) -> dict[str, Any] | None:
    try:
        point = foreign.decode(line)
        foreign.moment(point["timestamp"] / 1000)
    except (ValueError, LookupError, TypeError):
        return None
    good = isinstance(point, dict)
    results = point.get("testResults") if good else None
    good = isinstance(results, dict) and all(isinstance(result, dict) for result in results.values())
    return point if good else None


def _slim(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in KEPT if name in result}


def _line(point: dict[str, Any]) -> str:
    return json.dumps(point, ensure_ascii=False, separators=(",", ":")) + "\n"
