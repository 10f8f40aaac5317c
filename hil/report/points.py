"""The history of reports: a file of Allure's with a line for each, by which failures are new, flaky or fixed.

Allure writes the lines. What it would not do: a report that is made again is no second night, one of an older night is
not held against later ones, and a line has no more than is needed, for all of them go into each report.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hil.errors import InfrastructureError
from hil.host import foreign

LIMIT = 60  # reports
FILE_LIMIT = 1 << 30  # bytes
MOST = 100_000  # results of earlier reports that go into one
KEPT = ("id", "name", "environment", "status", "start", "stop", "duration", "url", "historyId", "reportLinks")


@dataclass(frozen=True)
class AllureHistory:
    """The reports of the file at `path`, oldest first."""

    path: Path
    points: tuple[dict[str, Any], ...] = ()

    @classmethod
    def read(cls, path: Path) -> AllureHistory:
        """What is in the file; nothing where there is none. Broken lines are left out."""
        try:
            lines = foreign.read(path, FILE_LIMIT, links=True).split(b"\n")
        except (FileNotFoundError, NotADirectoryError):
            return cls(path)
        except OSError as error:
            raise InfrastructureError(f"cannot read the reports' history {path}: {foreign.why(error)}") from error
        found = [point for line in lines if (point := _point(line)) is not None]
        return cls(path, tuple(sorted(found, key=lambda one: one["timestamp"])))

    def before(self, ids: frozenset[str], ended: int, count: int, output: Path) -> None:
        """Write to `output` what was before a report with the results `ids`, whose last one of `count` ended then."""
        ours = [one for one in self.points if one["timestamp"] < ended and not _repeated(one, ids)]
        limit = max(1, min(LIMIT, MOST // max(1, count)))
        output.write_text("".join(map(_line, ours[-limit:])), "utf-8")

    def add(self, made: Path, ids: frozenset[str], ended: int) -> None:
        """Add the report that Allure has put at the end of the file `made`, in place of what it repeats."""
        last = made.read_bytes().rstrip(b"\n").rpartition(b"\n")[2]
        point = _point(last) if last else None
        if point is None or not point["testResults"]:
            return
        point["timestamp"] = ended
        point["testResults"] = {key: _slim(one) for key, one in point["testResults"].items()}
        point.pop("knownTestCaseIds", None)
        with _alone(self.path):
            now = AllureHistory.read(self.path)  # another report may have been made meanwhile
            others = [one for one in now.points if not _repeated(one, ids)]
            kept = sorted([*others, point], key=lambda one: one["timestamp"])[-LIMIT:]
            self._write(kept)

    def _write(self, points: Sequence[dict[str, Any]]) -> None:
        new = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            new.write_text("".join(map(_line, points)), "utf-8")
            new.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                new.unlink()
            raise InfrastructureError(f"cannot write the reports' history {self.path}: {error.strerror}") from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep others from writing the file at `path`: they wait, for the moment that it takes."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a file system without locks, or a directory that is not there yet
            descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield


def _repeated(point: dict[str, Any], ids: frozenset[str]) -> bool:
    """Whether all results of a report are those of another: it was made again, or before the run went on."""
    return all(one.get("id") in ids for one in point["testResults"].values())


def _point(line: bytes) -> dict[str, Any] | None:
    try:
        point = foreign.decode(line)
        foreign.moment(point["timestamp"] / 1000)
    except (ValueError, LookupError, TypeError):
        return None
    good = isinstance(point, dict)
    results = point.get("testResults") if good else None
    good = isinstance(results, dict) and all(isinstance(one, dict) for one in results.values())
    return point if good else None


def _slim(result: dict[str, Any]) -> dict[str, Any]:
    return {name: result[name] for name in KEPT if name in result}


def _line(point: dict[str, Any]) -> str:
    return json.dumps(point, ensure_ascii=False, separators=(",", ":")) + "\n"
