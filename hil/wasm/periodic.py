"""The output of the periodic samples: the releases that `periodic.wasm` reports, the lines of `ticker.wasm`."""

from __future__ import annotations

import re
import zlib
from typing import NoReturn

from hil.errors import ConfigurationError, RunnerError
from hil.wasm.execution import Execution
from hil.wasm.verdict import Exited

REFUSED, WRONG_ARGUMENTS = 69, 64
"""Exit codes of the periodic samples: the runner lacks a clock or poll; the arguments are wrong."""

TICK = re.compile(r"^tick (?P<number>[1-9]\d*)\r*$")
"""A line of `ticker.wasm` at a release."""

_HEADER = re.compile(rb"periodic (?P<period>\d{1,8}) us, (?P<count>[1-9]\d{0,7}) releases from (?P<first>\d{1,19}) ns")
_LATE = re.compile(rb"[+-]\d{1,19}")


def releases(run: Execution) -> tuple[int, ...]:
    """Return the time of each release of `periodic.wasm`, in nanoseconds of the runner's monotonic WASI clock.

    The format is in wasm_samples/README.md; a CRC-32 covers all releases.

    Raises `RunnerError` if the runner refused the clock, the module failed or the line damaged its report,
    `ConfigurationError` for wrong arguments and for other modules.
    """
    lines = run.output.split(b"\n")
    if run.verdict == Exited(REFUSED):
        raise RunnerError(
            f"the runner cannot execute {run.module.name}: {run.text.strip()}",
            hint="Measure with ticker.wasm, with the guest's probe, or on another image.",
        )
    if run.verdict == Exited(WRONG_ARGUMENTS):
        raise ConfigurationError(f"{run.call}: {run.text.strip()}", hint="Correct the arguments.")
    if not run.verdict.good:
        raise RunnerError(f"{run.call} failed: {run.verdict}")
    header = _HEADER.fullmatch(lines[0])
    if not header:
        _fail(run, f"line 1 is {_shown(lines[0])}, not `periodic PERIOD us, COUNT releases from START ns`")
    period, count, first = (int(header[key]) for key in ("period", "count", "first"))
    late = lines[1 : 1 + count]
    for number, line in enumerate(late, 1):
        if not _LATE.fullmatch(line):
            _fail(run, f"line {number + 1} is {_shown(line)}, not release {number} of {count}")
    if len(late) < count:
        _fail(run, f"it ends after {len(late)} of {count} releases")
    crc = zlib.crc32(b"".join(line + b"\n" for line in lines[: 1 + count]))
    if lines[1 + count :] != (expected := [f"end {count} {crc:08X}".encode(), b""]):
        _fail(run, f"it ends with {_shown(b' '.join(lines[1 + count :]))}, not with {_shown(expected[0])}")
    return tuple(first + number * period * 1000 + int(lateness) for number, lateness in enumerate(late))


def _fail(run: Execution, problem: str) -> NoReturn:
    if run.intact:  # every byte is the module's own
        raise ConfigurationError(f"{run.call} reports no releases: {problem}", hint="Deploy the sample periodic.wasm.")
    raise RunnerError(f"the line damaged the report of {run.call}: {problem}", hint="Run it again.")


def _shown(line: bytes) -> str:
    return repr(line[:60].decode("utf-8", "backslashreplace"))
