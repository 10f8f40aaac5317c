"""The record that the guest probe leaves in a file; docs/probe.md has the format."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hil.errors import InfrastructureError
from hil.stats.arrays import Floats

Words = NDArray[np.uint32]
Ticks = NDArray[np.uint64]

VERDICTS = ("unclear", "exited", "not loaded", "not instantiated", "trapped", "limit exceeded", "aborted", "faulted")
EXITED = 1
_HEADER = struct.Struct("<8sIIIIQQIIII")
_EXECUTION = [(name, "<u8") for name in ("request", "start", "end", "answer", "output_bytes")] + [
    (name, "<u4") for name in ("output_crc", "verdict", "code", "reserved")
]
_RUNNING, _SATURATED = 0xFFFFFFFF, 0xFFFFFFFF


@dataclass(frozen=True, eq=False)
class ProbeRecord:
    """The record of a probe: `done` of `planned` measurements, by a counter of `hz` ticks per second.

    `complete` is false for a probe that ended early.
    """

    hz: int
    planned: int
    done: int
    complete: bool


@dataclass(frozen=True, eq=False)
class Executions(ProbeRecord):
    """Executions of a module that was sent once, in `transfer` ticks.

    - `request`, `answer`: stamps of the guest's counter.
    - `start`, `end`: stamps of the partition's counter, which has another zero; 0 if the runner takes no stamps.
    - `verdict`: an index of `VERDICTS`; `code`: the exit code.
    - `output_bytes`, `output_crc`: length and CRC-32 of the module's output.
    """

    transfer: int
    request: Ticks
    start: Ticks
    end: Ticks
    answer: Ticks
    verdict: Words
    code: Words
    output_bytes: Ticks
    output_crc: Words

    @property
    def response(self) -> Floats:
        """The seconds from each request to its answer in the guest. Raises as `seconds`."""
        return seconds(self.request, self.answer, self.hz)

    @property
    def execution(self) -> Floats | None:
        """The seconds of each run in the partition; None if the runner takes no stamps. Raises as `seconds`."""
        return seconds(self.start, self.end, self.hz) if self.end.any() else None

    @property
    def times(self) -> Floats:
        """The seconds from the first request to each."""
        return seconds(self.request[:1].repeat(len(self.request)), self.request, self.hz)


@dataclass(frozen=True, eq=False)
class Cycles(ProbeRecord):
    """Releases of a periodic loop: `late` is the lateness of each after its absolute deadline, in ticks."""

    late: Words

    @property
    def lateness(self) -> Floats:
        """The lateness of each release in seconds. Raises `InfrastructureError` for one that a record cannot hold."""
        if self.late.max(initial=0) == _SATURATED:
            number, most = int(self.late.argmax()) + 1, _SATURATED / self.hz
            raise InfrastructureError(
                f"release {number} of {len(self.late)} is more than {most:.0f} s late, the maximum of a record",
                hint="Check whether the machine was stopped or restored meanwhile.",
            )
        return self.late / float(self.hz)


@dataclass(frozen=True, eq=False)
class Counter(ProbeRecord):
    """Back-to-back readings of the counter: `steps` are the ticks between the readings of each pair."""

    steps: Words

    @property
    def floor(self) -> float:
        """The noise floor of the counter: the seconds between 99 of 100 pairs of readings."""
        return float(np.percentile(self.steps, 99)) / self.hz


def seconds(begin: Ticks, end: Ticks, hz: int) -> Floats:
    """Return the seconds from stamps `begin` to stamps `end` of one counter of `hz` ticks per second.

    Raises `InfrastructureError` if the counter went backwards or wrapped, within a pair or between pairs.
    """
    stamps = np.stack([np.maximum.accumulate(begin), end]) if len(begin) else np.zeros((2, 0), np.uint64)
    wrong = np.flatnonzero((stamps[0] > begin) | (begin > end))
    if len(wrong):
        number = int(wrong[0])
        raise InfrastructureError(
            f"the counter went backwards: pair {number + 1} of {len(begin)} is {begin[number]} and {end[number]}"
            f" after a reading of {stamps[0, number]}",
            hint="It wrapped, or the machine was restored meanwhile: take the series again.",
        )
    return (end - begin) / float(hz)


def parse(data: bytes) -> Executions | Cycles | Counter:
    """Return the record in the file of a probe. Raises `InfrastructureError` for a damaged one.

    The record of a killed probe holds the measurements up to then.
    """
    if len(data) < _HEADER.size:
        raise _damaged(f"{len(data)} bytes are less than a header")
    magic, version, kind, size, planned, hz, transfer, done, status, _, crc = _HEADER.unpack_from(data)
    if (magic, version) != (b"hilprobe", 1) or not hz:
        raise _damaged(f"it begins with {data[:16].hex()}")
    execution = np.dtype(_EXECUTION)
    word = np.dtype("<u4")
    if (kind, size) not in ((1, execution.itemsize), (2, 4), (3, 4)):
        raise _damaged(f"kind {kind} with records of {size} bytes is unknown")
    if done > planned or len(data) != _HEADER.size + planned * size:
        raise _damaged(f"{done} of {planned} records of {size} bytes do not fit in {len(data)} bytes")
    body = data[_HEADER.size : _HEADER.size + done * size]
    if status != _RUNNING and zlib.crc32(body) != crc:
        raise _damaged(f"its CRC is {zlib.crc32(body):08X} instead of {crc:08X}")
    common: tuple[int, int, int, bool] = (hz, planned, done, status == 0 and done == planned)
    if kind != 1:
        words = np.frombuffer(body, word)
        return Cycles(*common, words) if kind == 2 else Counter(*common, words)
    rows = np.frombuffer(body, execution)
    columns: dict[str, Any] = {name: rows[name] for name, _ in _EXECUTION if name != "reserved"}
    return Executions(*common, transfer, **columns)


def _damaged(what: str) -> InfrastructureError:
    return InfrastructureError(f"the probe's record is damaged: {what}", hint="Take it again.")
