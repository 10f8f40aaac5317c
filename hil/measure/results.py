"""Results files: series with their clock and provenance as JSON lines, for us and for others to analyse.

The first line is a header, each other line one series; docs/timing-results.md describes both.
"""

from __future__ import annotations

import codecs
import fcntl
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host import foreign
from hil.measure.series import Clock, Series
from hil.measure.units import Amount, shown

if TYPE_CHECKING:
    from hil.measure.bounds import Check

MAGIC = "hil-results"
VERSION = 1
START = b'{"hil-results":'  # what our headers begin with; a file that does not is not touched
ERRORS_SHOWN = 3
LIMIT = 4 << 30  # bytes

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class CheckResult:
    """A check as it was when it was written: `figure <= limit`, the outcome's name, the check's own text."""

    figure: str
    limit: Amount
    outcome: str
    text: str

    @classmethod
    def of(cls, check: Check | CheckResult) -> CheckResult:
        if isinstance(check, CheckResult):
            return check
        return cls(check.bound.figure.name, check.bound.limit, str(check.outcome), str(check))


@dataclass(frozen=True, eq=False)
class SeriesRecord:
    """A series and what became of its bounds."""

    series: Series
    checks: tuple[CheckResult, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """All of it but the samples, as JSON has it."""
        one = self.series
        return {
            "quantity": one.quantity,
            "subject": one.subject,
            "unit": one.unit,
            "n": len(one),
            **{name: float(value) for name, value in self._figures().items()},
            "clock": asdict(one.clock),
            "provenance": dict(one.provenance),
            "checks": [asdict(check) for check in self.checks],
        }

    @property
    def row(self) -> dict[str, str]:
        """A line of a table."""
        one = self.series
        figures = {name: shown(float(value), one.unit) for name, value in self._figures().items()}
        return {
            "quantity": one.quantity,
            "subject": one.subject,
            "n": str(len(one)),
            **figures,
            "clock": one.clock.name,
        }

    def _figures(self) -> Mapping[str, Any]:
        import numpy as np

        values = np.quantile(self.series.ordered, [0, 0.5, 0.99, 1], method="inverted_cdf")
        return dict(zip(("min", "p50", "p99", "max"), values, strict=True))


@dataclass(frozen=True, eq=False)
class Results:
    """What a results file holds.

    `written` is the time of day of the file's making, `facts` what its writer said of the whole
    session. `torn` tells of a half last line, which a killed run leaves and which is not read; empty
    where there is none.
    """

    path: Path
    records: tuple[SeriesRecord, ...]
    written: str = ""
    facts: Mapping[str, str] | None = None
    torn: str = ""

    @property
    def series(self) -> list[Series]:
        return [record.series for record in self.records]


def is_ours(path: Path) -> bool:
    """Check whether the file at `path` begins as a results file does."""
    with path.open("rb") as file:
        return file.read(len(codecs.BOM_UTF8) + len(START)).removeprefix(codecs.BOM_UTF8).startswith(START)


def write(
    path: Path, series: Series, checks: Iterable[Check | CheckResult] = (), *, facts: Mapping[str, str] | None = None
) -> None:
    """Append `series` with its `checks` to the results file at `path`; a new one gets a header with `facts`.

    A writer that is killed leaves whole lines and at most one half, which the next writer removes.
    Writers of one file wait for each other. Raises `ConfigurationError` where the file is not a results
    file, `InfrastructureError` where it cannot be written.
    """
    line = _line(series, checks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            begun = _mend(path, file)
            file.write(line if begun else _header(facts or {}) + line)
    except OSError as error:
        raise InfrastructureError(f"cannot write the results file {path}: {error.strerror}") from error


def render(
    series: Series, checks: Iterable[Check | CheckResult] = (), *, facts: Mapping[str, str] | None = None
) -> bytes:
    """A whole results file with one series."""
    return _header(facts or {}) + _line(series, checks)


def read(path: Path) -> list[Series]:
    """The series in the results file at `path`; warns of a half last line. Raises as `load`."""
    loaded = load(path)
    if loaded.torn:
        warnings.warn(loaded.torn, stacklevel=2)
    return loaded.series


def load(path: Path) -> Results:
    """All of the results file at `path`. Raises `ConfigurationError`, naming FILE:LINE, for what is not one."""
    try:
        lines = foreign.read(path, LIMIT, links=True).removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise ConfigurationError(f"cannot read the results file {path}: {foreign.why(error)}") from error
    torn = ""
    if not _is_json(lines[-1]):  # complete files end with a line's end, behind which nothing is left
        torn = f"{path}:{len(lines)}: half a line, its writer was interrupted; not read" if lines[-1] else ""
        del lines[-1]
    if not lines:
        raise _wrong(path, 1, "the file has no header", "a results file is written by `pytest` or `hil`")
    header = _validated(path, 1, lines[0], _Header)
    if header.version != VERSION:
        raise _wrong(path, 1, f"version {header.version}, only {VERSION} is known", "update this project")
    rows = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    records = tuple(_record(path, number, line) for number, line in rows)
    return Results(path, records, header.written, header.facts, torn)


def digest(series: Iterable[Series]) -> str:
    """SHA-256, in hexadecimal, over what was measured, whatever the order: the same digest, the same figures.

    It covers quantity, subject, unit, the clock's name and each sample to the bit; not times of day,
    paths, or places in transcripts. Raises `ConfigurationError` where there is no series: nothing is
    equal to nothing.
    """
    figures = [[one.quantity, one.subject, one.unit, one.clock.name, one.samples.tolist()] for one in series]
    if not figures:
        raise ConfigurationError("there are no series to make a digest of", hint="run tests that measure")
    return hashlib.sha256("\n".join(sorted(map(json.dumps, figures))).encode()).hexdigest()


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    version: int = Field(alias="hil-results")
    written: str = ""
    facts: dict[str, str] = {}


class _Line(BaseModel):
    # other keys may be there: a later writer's, or another tool's
    model_config = ConfigDict(frozen=True, strict=True)

    quantity: str
    subject: str
    unit: Literal["s", "B", "1"]
    samples: list[float]
    times: list[float] | None = None
    offsets: list[Annotated[int, Field(ge=0, lt=1 << 53)]] | None = None
    clock: Clock
    provenance: dict[str, str] = {}
    looks: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    checks: tuple[CheckResult, ...] = ()


def _record(path: Path, number: int, text: bytes) -> SeriesRecord:
    line = _validated(path, number, text, _Line)
    if any(not math.isfinite(check.limit.value) for check in line.checks):
        raise _wrong(path, number, "a bound that is no finite number", None)
    given: Any = {name: getattr(line, name) for name in _Line.model_fields if name != "checks"}
    try:
        return SeriesRecord(Series(**given), line.checks)
    except HilError as error:
        raise _wrong(path, number, error.message, None) from error


def _validated(path: Path, number: int, text: bytes, model: type[M]) -> M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = error.errors(include_url=False)[:ERRORS_SHOWN]
        told = "; ".join(": ".join(filter(None, (".".join(map(str, p["loc"])), p["msg"]))) for p in problems)
        raise _wrong(path, number, told, "docs/timing-results.md describes the format") from error
    except HilError as error:  # from an amount
        raise _wrong(path, number, error.message, None) from error


def _wrong(path: Path, number: int, what: str, hint: str | None) -> ConfigurationError:
    return ConfigurationError(f"{path}:{number}: {what}", hint=hint)


def _header(facts: Mapping[str, str]) -> bytes:
    written = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return _json({MAGIC: VERSION, "written": written, "facts": dict(facts)})


def _line(series: Series, checks: Iterable[Check | CheckResult]) -> bytes:
    times, offsets = series.times, series.offsets
    return _json(
        {
            "quantity": series.quantity,
            "subject": series.subject,
            "unit": series.unit,
            "clock": asdict(series.clock),
            "provenance": dict(series.provenance),
            "looks": series.looks,
            "checks": [asdict(CheckResult.of(check)) for check in checks],
            "samples": series.samples.tolist(),
            **({} if times is None else {"times": times.tolist()}),
            **({} if offsets is None else {"offsets": [int(offset) for offset in offsets]}),
        }
    )


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _mend(path: Path, file: BinaryIO) -> bool:
    """Make `file` end with a whole line; whether it has a header. Leaves files that are not ours alone."""
    file.seek(0)
    begin = file.read(len(codecs.BOM_UTF8) + len(START)).removeprefix(codecs.BOM_UTF8)[: len(START)]
    if begin != START[: len(begin)]:
        raise _wrong(path, 1, "this is no results file, nothing was written to it", "choose another name")
    if not begin:
        return False
    file.seek(-1, os.SEEK_END)
    if file.read() == b"\n":
        return True
    file.seek(0)
    data = file.read()
    whole = data.rfind(b"\n") + 1
    if _is_json(data[whole:]):
        file.write(b"\n")
        return True
    file.truncate(whole)
    return whole > 0
