"""The content of a history as data (runs, tests, boots, figures, notes), and its conversion to rows and back."""

from __future__ import annotations

import json
import math
import sqlite3
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil.errors import HilError
from hil.history.identity import suite_of
from hil.host import foreign

if TYPE_CHECKING:  # imports numpy
    from hil.measure.results import SeriesRecord

FigureRow = tuple[str, str, float, float | None, float | None]  # name, unit, value, lower and upper confidence limit
SamplesRow = tuple[bytes | None, ...]  # samples, times, offsets


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


@dataclass(frozen=True)
class Test:
    """The result of one test in one run. `outcome` is passed, failed, skipped or not run.

    `test` is its name from `stable_test`, the same in all nights; each repetition is an entry of its own.
    """

    run: str
    test: str
    suite: str
    board: str
    place: str
    image: str
    clock: str
    outcome: str
    fault: str
    cause: str
    seconds: float
    retried: tuple[str, ...]
    transcript: str
    image_sha256: str = ""
    nodeid: str = ""

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
class StoredFigure:
    """One figure of one series of one run: `value` in `unit`, with its confidence limits, bound and outcome.

    `lower` and `upper` are one-sided limits at 95 %. `exact` figures repeat to the bit.
    """

    run: str
    test: str
    board: str
    quantity: str
    subject: str
    unit: str
    clock: str
    exact: bool
    floor: float | None
    image: str
    image_sha256: str
    module: str
    module_sha256: str
    seed: str
    n: int
    name: str
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


TEST = (
    "t.run, t.test, t.suite, t.board, t.place, t.image, t.clock, t.outcome, t.fault, t.cause, t.seconds, t.retried, "
    "t.transcript, t.image_sha256, t.nodeid"
)
FIGURE = (
    "s.run, s.test, s.board, s.quantity, s.subject, f.unit, s.clock, s.exact, s.floor, s.image, s.image_sha256, "
    "s.module, s.module_sha256, s.seed, s.n, f.name, f.value, f.lower, f.upper, c.bound, c.outcome, s.suite"
)
_EXACT = 7  # the column of s.exact

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
    values = list(row)
    if not math.isfinite(row["value"]):
        raise ValueError(f"its value is {row['value']}")
    values[_EXACT] = bool(values[_EXACT])
    return StoredFigure(*values)


def of_test(test: Test) -> tuple[Any, ...]:
    where = (test.test, test.nodeid, test.suite, test.board, test.place, test.image, test.image_sha256, test.clock)
    retried = json.dumps(test.retried, ensure_ascii=False)
    return (*where, test.outcome, test.fault, test.cause, test.seconds, retried, test.transcript)


def of_series(record: SeriesRecord) -> tuple[Any, ...]:
    series, clock = record.series, record.series.clock
    origin = series.provenance.get
    test = origin("test", "")
    return (
        *(test, suite_of(test), origin("board", ""), series.quantity, series.subject, series.unit),
        *(clock.name, clock.resolution, clock.floor, int(clock.exact), clock.remark),
        *(*_name_and_digest(origin("image", "")), *_name_and_digest(origin("module", ""))),
        *(
            origin("seed", ""),
            len(series),
            series.interim_analyses,
            json.dumps(dict(series.provenance), ensure_ascii=False),
        ),
    )


def _name_and_digest(text: str) -> tuple[str, str]:
    """Split `NAME SHA256`; a text of one word is a name."""
    name, _, digest = text.rpartition(" ")
    return (name, digest) if name else (digest, "")


def packed(record: SeriesRecord) -> SamplesRow:
    """Return samples, times and offsets, compressed, as little-endian binary64 and int64."""
    import numpy as np

    series = record.series
    arrays = ((series.samples, "<f8"), (series.times, "<f8"), (series.offsets, "<i8"))
    return tuple(None if array is None else zlib.compress(np.asarray(array, kind).tobytes()) for array, kind in arrays)


def record_of(row: sqlite3.Row, checks: Sequence[sqlite3.Row]) -> SeriesRecord:
    import numpy as np

    from hil.measure.clock import Clock
    from hil.measure.results import CheckResult, SeriesRecord
    from hil.measure.series import Series
    from hil.measure.units import Amount

    kinds = {"samples": "<f8", "times": "<f8", "offsets": "<i8"}
    arrays: dict[str, Any] = {
        name: None if row[name] is None else np.frombuffer(zlib.decompress(row[name]), kind)
        for name, kind in kinds.items()
    }
    arrays["offsets"] = None if arrays["offsets"] is None else arrays["offsets"].tolist()
    clock = Clock(row["clock"], row["resolution"], row["remark"], row["floor"], bool(row["exact"]))
    facts = {name: row[name] for name in ("quantity", "subject", "unit")}
    facts |= {"interim_analyses": row["looks"], "provenance": json.loads(row["provenance"])}
    series = Series(**facts, clock=clock, **arrays)
    results = (
        CheckResult(check["figure"], Amount(check["bound"], check["unit"]), check["outcome"], check["text"])
        for check in checks
    )
    return SeriesRecord(series, tuple(results))
