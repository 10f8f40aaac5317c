"""What the store holds, as data: runs, tests, boots, figures, notes; and how it becomes rows and comes back."""

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

if TYPE_CHECKING:  # at run time where samples are needed: a list must stay quick
    from hil.measure.results import SeriesRecord


@dataclass(frozen=True)
class Run:
    """One pytest process; of a night's run the last try.

    `night` is empty outside of nights; `name` is JOB-BOARD in a night, else the directory of its transcripts. Times
    are in seconds since 1970. `state` is "done", or "killed" where it never wrote its end. `source` is "journal" or
    "allure". `attempt` is the number of its try in the night, from 1.
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
    source: str
    attempt: int = 1
    host: str = ""


@dataclass(frozen=True)
class Test:
    """What became of one test in one run. `outcome` is passed, failed, skipped or not run.

    `test` is its name as `stable_test` makes it, the same in all nights; a test that is repeated is there as often.
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

    __test__ = False  # for pytest, which collects classes of this name


@dataclass(frozen=True)
class Boot:
    """One try to bring a board up; `fault` is empty where it came up."""

    run: str
    board: str
    kind: str
    fault: str
    stage: str
    cause: str


@dataclass(frozen=True)
class StoredFigure:
    """One figure of one series of one run: `value` in `unit`, with limits, bound and outcome where there are some.

    `lower` and `upper` hold at 95 %, one-sided. `exact` figures repeat to the bit.
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
    """What a person wrote of a night."""

    at: float
    night: str
    text: str


@dataclass(frozen=True)
class RecordedRun:
    """A whole run, to be added."""

    run: Run
    tests: Sequence[Test] = ()
    boots: Sequence[Boot] = ()
    records: Sequence[SeriesRecord] = ()
    uuids: Sequence[str] = ()


TEST = (
    "t.run, t.test, t.suite, t.board, t.place, t.image, t.clock, t.outcome, t.fault, t.cause, t.seconds, t.retried, "
    "t.transcript, t.image_sha256, t.nodeid"
)
FIGURE = (
    "s.run, s.test, s.board, s.quantity, s.subject, f.unit, s.clock, s.exact, s.floor, s.image, s.image_sha256, "
    "s.module, s.module_sha256, s.seed, s.n, f.name, f.value, f.lower, f.upper, c.bound, c.outcome, s.suite"
)
_EXACT = 7  # its place among them


BROKEN = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, zlib.error, HilError)
"""What the functions from rows raise for a row that is broken."""


def run_of(row: sqlite3.Row) -> Run:
    told = {name: row[name] for name in Run.__dataclass_fields__}
    for name in ("began", "ended"):
        if told[name] is not None:
            foreign.moment(told[name])
    facts = json.loads(row["facts"])
    return Run(**told | {"facts": {name: str(fact) for name, fact in facts.items()}})


def test_of(row: sqlite3.Row) -> Test:
    told = {name: row[name] for name in Test.__dataclass_fields__}
    if not math.isfinite(told["seconds"]):
        raise ValueError(f"it took {told['seconds']} s")
    return Test(**told | {"retried": tuple(map(str, json.loads(row["retried"])))})


def figure_of(row: sqlite3.Row) -> StoredFigure:
    told = list(row)
    if not math.isfinite(row["value"]):
        raise ValueError(f"its value is {row['value']}")
    told[_EXACT] = bool(told[_EXACT])
    return StoredFigure(*told)


def of_test(one: Test) -> tuple[Any, ...]:
    where = (one.test, one.nodeid, one.suite, one.board, one.place, one.image, one.image_sha256, one.clock)
    retried = json.dumps(one.retried, ensure_ascii=False)
    return (*where, one.outcome, one.fault, one.cause, one.seconds, retried, one.transcript)


def of_series(record: SeriesRecord) -> tuple[Any, ...]:
    one, clock = record.series, record.series.clock
    told = one.provenance.get
    test = told("test", "")
    (image, _, image_digest), (module, _, module_digest) = (
        told(name, "").rpartition(" ") for name in ("image", "module")
    )
    return (
        *(test, suite_of(test), told("board", ""), one.quantity, one.subject, one.unit),
        *(clock.name, clock.resolution, clock.floor, int(clock.exact), clock.remark),
        *(
            image or image_digest,
            image_digest if image else "",
            module or module_digest,
            module_digest if module else "",
        ),
        *(told("seed", ""), len(one), one.looks, json.dumps(dict(one.provenance), ensure_ascii=False)),
    )


def packed(record: SeriesRecord) -> tuple[bytes | None, ...]:
    """Samples, times and offsets, compressed, as binary64 and int64, little end first."""
    import numpy as np

    one = record.series
    arrays = ((one.samples, "<f8"), (one.times, "<f8"), (one.offsets, "<i8"))
    return tuple(None if array is None else zlib.compress(np.asarray(array, kind).tobytes()) for array, kind in arrays)


def record_of(row: sqlite3.Row, checks: Sequence[sqlite3.Row]) -> SeriesRecord:
    import numpy as np

    from hil.measure.results import CheckResult, SeriesRecord
    from hil.measure.series import Clock, Series
    from hil.measure.units import Amount

    kinds = {"samples": "<f8", "times": "<f8", "offsets": "<i8"}
    arrays: dict[str, Any] = {
        name: None if row[name] is None else np.frombuffer(zlib.decompress(row[name]), kind)
        for name, kind in kinds.items()
    }
    arrays["offsets"] = None if arrays["offsets"] is None else arrays["offsets"].tolist()
    clock = Clock(row["clock"], row["resolution"], row["remark"], row["floor"], bool(row["exact"]))
    told = {name: row[name] for name in ("quantity", "subject", "unit", "looks")}
    series = Series(**told, clock=clock, provenance=json.loads(row["provenance"]), **arrays)
    return SeriesRecord(
        series,
        tuple(
            CheckResult(one["figure"], Amount(one["bound"], one["unit"]), one["outcome"], one["text"]) for one in checks
        ),
    )
