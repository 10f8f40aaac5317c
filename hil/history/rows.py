"""The content of a history as data (runs, tests, boots, figures, notes), and its conversion to rows and back."""

from __future__ import annotations

import json
import math
import sqlite3
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil.errors import HilError
from hil.history.identity import suite_of
from hil.history.journal import Tested
from hil.host import foreign

if TYPE_CHECKING:  # imports numpy
    from hil.measure.results import SeriesRecord


@dataclass(frozen=True)
class Run:
    """One pytest process.

    `night` is empty outside of nights; `name` is JOB-BOARD in a night, else the directory of its transcripts. Times
    are in seconds since 1970. `state` is "done", or "killed" where the journal has no end. `attempt` is the number of
    its try in the night, from 1.
    """

    id: str
    night: str
    name: str
    plan: str
    board: str
    began: float
    ended: float | None
    status: int | None
    state: str
    facts: Mapping[str, str]
    attempt: int = 1
    host: str = ""


@dataclass(frozen=True, kw_only=True)
class Test(Tested):
    """The result of one test in one run.

    `test` is its name from `stable_test`, the same in all nights; each repetition is an entry of its own.
    """

    run: str
    test: str
    suite: str
    clock: str

    __test__ = False  # not a test class of pytest


@dataclass(frozen=True)
class Boot:
    """One attempt to bring a board up; `fault` is empty where it succeeded."""

    run: str
    board: str
    kind: str
    fault: str
    stage: str
    cause: str


@dataclass(frozen=True)
class FigureKey:
    """The identity of a figure; from night to night, `run` is the name of the run instead of its id."""

    run: str
    test: str
    board: str
    quantity: str
    subject: str
    unit: str
    clock: str
    seed: str
    name: str

    @property
    def series(self) -> tuple[str, ...]:
        """The part that all figures of one series share."""
        return (self.run, self.test, self.board, self.quantity, self.subject, self.unit, self.clock, self.seed)


@dataclass(frozen=True)
class StoredFigure(FigureKey):
    """One figure of one series of one run: `value` in `unit`, with its confidence limits, bound and outcome.

    `lower` and `upper` are one-sided limits at 95 %. `exact` figures repeat to the bit.
    """

    exact: bool
    floor: float | None
    image: str
    image_sha256: str
    module: str
    module_sha256: str
    n: int
    value: float
    lower: float | None
    upper: float | None
    bound: float | None
    outcome: str | None
    suite: str


@dataclass(frozen=True)
class Note:
    """A note that a person added to a night; `at` is in seconds since 1970."""

    at: float
    night: str
    text: str


@dataclass(frozen=True)
class RecordedRun:
    """A whole run, ready to be added."""

    run: Run
    tests: Sequence[Test] = ()
    boots: Sequence[Boot] = ()
    records: Sequence[SeriesRecord] = ()


OF_FIGURE, OF_CHECK = ("unit", "name", "value", "lower", "upper"), ("bound", "outcome")
FIGURE = ", ".join(
    f"{'f' if name in OF_FIGURE else 'c' if name in OF_CHECK else 's'}.{name}"
    for name in StoredFigure.__dataclass_fields__
)
"""The columns of a `StoredFigure`, in its order, of the tables `series`, `figures` and `checks`."""

BROKEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, zlib.error, HilError)
"""The errors that the functions `*_of` raise for a broken row."""


def run_of(row: sqlite3.Row) -> Run:
    values = {name: row[name] for name in Run.__dataclass_fields__}
    for name in ("began", "ended"):
        if values[name] is not None:
            foreign.moment(values[name])
    facts = json.loads(row["facts"])
    return Run(**values | {"facts": {name: str(fact) for name, fact in facts.items()}})


def test_of(row: sqlite3.Row) -> Test:
    values = {name: row[name] for name in Test.__dataclass_fields__}
    if not math.isfinite(values["seconds"]):
        raise ValueError(f"its duration is {values['seconds']} s")
    return Test(**values | {"retried": tuple(map(str, json.loads(row["retried"])))})


def figure_of(row: sqlite3.Row) -> StoredFigure:
    if not math.isfinite(row["value"]):
        raise ValueError(f"its value is {row['value']}")
    return StoredFigure(*row)  # SQLite's 0 and 1 of `exact` serve as bool


def of_run(run: Run) -> dict[str, Any]:
    return {**vars(run), "facts": json.dumps(dict(run.facts), ensure_ascii=False), "added": time.time()}


def of_test(test: Test) -> dict[str, Any]:
    return {**vars(test), "retried": json.dumps(test.retried, ensure_ascii=False)}


def of_series(record: SeriesRecord) -> dict[str, Any]:
    series, clock, origin = record.series, record.series.clock, dict(record.series.provenance)
    test, board, seed = (origin.get(name, "") for name in ("test", "board", "seed"))
    row: dict[str, Any] = {"test": test, "suite": suite_of(test), "board": board, "seed": seed}
    for name in ("image", "module"):
        row[name], row[f"{name}_sha256"] = _name_and_digest(origin.get(name, ""))
    row |= {"quantity": series.quantity, "subject": series.subject, "unit": series.unit, "n": len(series)}
    row |= {"clock": clock.name, **{name: getattr(clock, name) for name in ("resolution", "floor", "exact", "remark")}}
    return row | {"looks": series.interim_analyses, "provenance": json.dumps(origin, ensure_ascii=False)}


def _name_and_digest(text: str) -> tuple[str, str]:
    """Split `NAME SHA256`; a text of one word is a name."""
    name, _, digest = text.rpartition(" ")
    return (name, digest) if name else (digest, "")


ARRAYS = {"samples": "<f8", "times": "<f8", "offsets": "<i8"}


def packed(record: SeriesRecord) -> dict[str, bytes | None]:
    """Return samples, times and offsets, compressed, as little-endian binary64 and int64."""
    import numpy as np

    given = {name: (getattr(record.series, name), kind) for name, kind in ARRAYS.items()}
    return {
        name: None if array is None else zlib.compress(np.asarray(array, kind).tobytes())
        for name, (array, kind) in given.items()
    }


def record_of(row: sqlite3.Row, checks: Sequence[sqlite3.Row]) -> SeriesRecord:
    import numpy as np

    from hil.measure.clock import Clock
    from hil.measure.results import CheckResult, SeriesRecord
    from hil.measure.series import Series
    from hil.measure.units import Amount

    facts: dict[str, Any] = {name: row[name] for name in ("quantity", "subject", "unit")}
    for name, kind in ARRAYS.items():
        facts[name] = None if row[name] is None else np.frombuffer(zlib.decompress(row[name]), kind)
    facts["offsets"] = None if facts["offsets"] is None else facts["offsets"].tolist()
    clock = Clock(row["clock"], row["resolution"], row["remark"], row["floor"], bool(row["exact"]))
    facts |= {"interim_analyses": row["looks"], "provenance": json.loads(row["provenance"])}
    results = (
        CheckResult(check["figure"], Amount(check["bound"], check["unit"]), check["outcome"], check["text"])
        for check in checks
    )
    return SeriesRecord(Series(**facts, clock=clock), tuple(results))
