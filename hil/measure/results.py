"""Results files: series with checks, clock and provenance as JSON lines; docs/timing-results.md has the format."""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import os
import time
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host import foreign
from hil.host.locks import lock
from hil.measure.clock import Clock
from hil.measure.decision import Check
from hil.measure.figures import maximum, minimum, p50, p99
from hil.measure.series import Series
from hil.measure.series_data import StepResponse
from hil.measure.units import Amount, shown

MAGIC = "hil-results"
VERSION = 1
START = b'{"hil-results":'  # of each header; other files are not written to
ERRORS_SHOWN = 3
LIMIT = 4 << 30  # bytes

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class CheckResult:
    """A check as written: `figure <= limit`, the name of the outcome, the text of the check."""

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
    """A series with its checks."""

    series: Series
    checks: tuple[CheckResult, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """All but the samples, for JSON."""
        return {**_facts(self.series, self.checks), "n": len(self.series), **self._figures()}

    @property
    def row(self) -> dict[str, str]:
        """The row of a table."""
        series = self.series
        return {
            "quantity": series.quantity,
            "subject": series.subject,
            "n": str(len(series)),
            **{name: shown(value, series.unit) for name, value in self._figures().items()},
            "clock": series.clock.name,
        }

    def _figures(self) -> Mapping[str, float]:
        return {figure.name: float(figure.value(self.series)) for figure in (minimum, p50, p99, maximum)}


@dataclass(frozen=True, eq=False)
class Results:
    """The contents of a results file.

    `written` is the time of day at which the file was created, `facts` those of the whole session. `torn` is a warning
    about an incomplete last line, which a killed run leaves and which is not read; else empty.
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
    """Return whether the file at `path` begins like a results file."""
    with path.open("rb") as file:
        return file.read(len(codecs.BOM_UTF8) + len(START)).removeprefix(codecs.BOM_UTF8).startswith(START)


def write(
    path: Path, series: Series, checks: Iterable[Check | CheckResult] = (), *, facts: Mapping[str, str] | None = None
) -> None:
    """Append `series` with its `checks` to the results file at `path`; a new one gets a header with `facts`.

    A killed writer leaves complete lines and at most one incomplete line, which the next writer removes. Writers of one
    file wait for each other. Raises `ConfigurationError` if the file is not a results file, `InfrastructureError` if it
    cannot be written.
    """
    line = _line(series, checks)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            lock(file)
            begun = _mend(path, file)
            file.write(line if begun else _header(facts or {}) + line)
    except OSError as error:
        raise InfrastructureError(f"cannot write the results file {path}: {error.strerror}") from error


def render(series: Series) -> bytes:
    """Return a results file with one series, without checks."""
    return _header({}) + _line(series, ())


def read(path: Path) -> list[Series]:
    """Return the series in the results file at `path`; warn about an incomplete last line. Raises as `load`."""
    loaded = load(path)
    if loaded.torn:
        warnings.warn(loaded.torn, stacklevel=2)
    return loaded.series


def load(path: Path) -> Results:
    """Return the contents of the results file at `path`. Raises `ConfigurationError` with FILE:LINE."""
    try:
        lines = foreign.read(path, LIMIT, links=True).removeprefix(codecs.BOM_UTF8).split(b"\n")
    except OSError as error:
        raise ConfigurationError(f"cannot read the results file {path}: {foreign.why(error)}") from error
    torn = ""
    if not _is_json(lines[-1]):  # nothing follows the last line end of a complete file
        torn = f"{path}:{len(lines)}: incomplete line, its writer was interrupted; not read" if lines[-1] else ""
        del lines[-1]
    if not lines:
        raise _wrong(path, 1, "the file has no header", "Give a results file that `pytest` or `hil` wrote.")
    header = _validated(path, 1, lines[0], _Header)
    if header.version != VERSION:
        raise _wrong(path, 1, f"version {header.version} is not {VERSION}", "Update this project.")
    rows = [(number, line) for number, line in enumerate(lines[1:], 2) if line.strip()]
    records = tuple(_record(path, number, line) for number, line in rows)
    return Results(path, records, header.written, header.facts, torn)


def files_in(directory: Path) -> list[Path]:
    """Return the results files in the directory of a run or a night. Raises `ConfigurationError` if there are none."""
    if found := sorted(directory.rglob("results*.jsonl")):
        return found
    raise ConfigurationError(f"no results file in {directory}", hint="Name the directory of a run that measured.")


def digest(series: Iterable[Series]) -> str:
    """Return the SHA-256, in hexadecimal, of the measured figures: the same digest, the same figures.

    It covers quantity, subject, unit, name of the clock and each sample to the bit, in any order of the series; not
    times of day, paths, or positions in transcripts. Raises `ConfigurationError` for no series.
    """
    figures = [[each.quantity, each.subject, each.unit, each.clock.name, each.samples.tolist()] for each in series]
    if not figures:
        raise ConfigurationError("there are no series to make a digest of", hint="Run tests that measure.")
    return hashlib.sha256("\n".join(sorted(map(json.dumps, figures))).encode()).hexdigest()


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    version: int = Field(alias="hil-results")
    written: str = ""
    facts: dict[str, str] = {}


class _Line(BaseModel):
    # later versions and other tools may add keys
    model_config = ConfigDict(frozen=True, strict=True)

    quantity: str
    subject: str
    unit: Literal["s", "B", "1"]
    samples: list[float]
    times: list[float] | None = None
    offsets: list[Annotated[int, Field(ge=0, lt=1 << 53)]] | None = None
    clock: Clock
    provenance: dict[str, str] = {}
    interim_analyses: Annotated[int, Field(alias="looks", ge=1, le=1_000_000)] = 1
    response: StepResponse | None = None
    checks: tuple[CheckResult, ...] = ()


def _record(path: Path, number: int, text: bytes) -> SeriesRecord:
    line = _validated(path, number, text, _Line)
    if any(not math.isfinite(check.limit.value) for check in line.checks):
        raise _wrong(path, number, "the limit of a bound is not finite", None)
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
        what = "; ".join(": ".join(filter(None, (".".join(map(str, p["loc"])), p["msg"]))) for p in problems)
        raise _wrong(path, number, what, "See docs/timing-results.md for the format.") from error
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
            **_facts(series, checks),
            "looks": series.interim_analyses,
            "samples": series.samples.tolist(),
            **({} if series.response is None else {"response": asdict(series.response)}),
            **({} if times is None else {"times": times.tolist()}),
            **({} if offsets is None else {"offsets": [int(offset) for offset in offsets]}),
        }
    )


def _facts(series: Series, checks: Iterable[Check | CheckResult]) -> dict[str, Any]:
    return {
        **{key: getattr(series, key) for key in ("quantity", "subject", "unit")},
        "clock": asdict(series.clock),
        "provenance": dict(series.provenance),
        "checks": [asdict(CheckResult.of(check)) for check in checks],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _mend(path: Path, file: BinaryIO) -> bool:
    """Remove an incomplete last line of `file` and return whether it has a header.

    Raises `ConfigurationError`, and changes nothing, if the file is not a results file.
    """
    file.seek(0)
    begin = file.read(len(codecs.BOM_UTF8) + len(START)).removeprefix(codecs.BOM_UTF8)[: len(START)]
    if begin != START[: len(begin)]:
        raise _wrong(path, 1, "this is not a results file; nothing was written to it", "Choose another name.")
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
