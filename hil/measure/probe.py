"""The guest probe: a small program in the guest that takes times with the guest's counter (docs/probe.md).

It is built with the cross compiler into the cache, uploaded, and leaves its record in a file that is
fetched and proven like any other, so nothing that happens on the line touches a figure.
"""

from __future__ import annotations

import functools
import hashlib
import json
import struct
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError, GuestError, HilError, InfrastructureError, RunnerError
from hil.guest import CommandTimeout, Guest
from hil.guest.shell import quote
from hil.host import tools
from hil.image import store
from hil.image.manifest import agent_of
from hil.image.recipe import SOURCES
from hil.measure.units import Amount, amount, ms
from hil.wasm.runner import MODULES

if TYPE_CHECKING:  # at run time where it is used: a collection must stay quick
    import numpy as np
    from numpy.typing import NDArray

    from hil.stats.arrays import Floats

    Words = NDArray[np.uint32]
    Ticks = NDArray[np.uint64]

ALL_TOGETHER = 300.0  # seconds for all executions of one record
SPARE = 30.0  # seconds beside a loop's periods
PRIORITY = 80  # of SCHED_FIFO
VERDICTS = ("unclear", "exited", "not loaded", "not instantiated", "trapped", "limit exceeded", "aborted", "faulted")
EXITED = 1

_SOURCE = Path(__file__).with_name("probe.c")
_COMPILER = "aarch64-linux-gnu-gcc"
_FLAGS = (
    *("-Os", "-std=gnu11", "-Wall", "-Wextra", "-s", "-static", "-nostdlib", "-ffreestanding", "-Wl,--build-id=none"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns"),
)
_HEADER = struct.Struct("<8sIIIIQQIIII")
_EXECUTION = [(name, "<u8") for name in ("request", "start", "end", "answer", "output_bytes")] + [
    (name, "<u4") for name in ("output_crc", "verdict", "code", "reserved")
]
_RUNNING, _SATURATED = 0xFFFFFFFF, 0xFFFFFFFF
_BAD_USE, _NO_ANSWER, _TOO_LARGE, _NO_FILE = 1, 245, 247, 255  # exit status, as the probe's usage tells
_RUNNERS = (240, 241, 242, 243, 244, _NO_ANSWER, 246, 250)


@dataclass(frozen=True, eq=False)
class ProbeRecord:
    """What a probe left: `done` of `planned`, by a counter of `hz` ticks a second.

    Not `complete` is the record of a probe that ended before its time.
    """

    hz: int
    planned: int
    done: int
    complete: bool


@dataclass(frozen=True, eq=False)
class Executions(ProbeRecord):
    """Executions of a module that was sent once, in `transfer` ticks.

    `request` and `answer` are stamps of the guest's counter, `start` and `end` of the partition's, which has
    another zero; they are 0 where the image's runner takes none. `verdict` is an index of `VERDICTS`;
    `output_bytes` and `output_crc` (CRC-32) tell what the module wrote.
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
        """Seconds from each request to its answer, as the guest sees it. Raises as `seconds`."""
        return seconds(self.request, self.answer, self.hz)

    @property
    def execution(self) -> Floats | None:
        """Seconds that each run took in the partition, None where the runner does not tell. Raises as `seconds`."""
        return seconds(self.start, self.end, self.hz) if self.end.any() else None

    @property
    def times(self) -> Floats:
        """Seconds from the first request to each."""
        return seconds(self.request[:1].repeat(len(self.request)), self.request, self.hz)


@dataclass(frozen=True, eq=False)
class Cycles(ProbeRecord):
    """Releases of a periodic loop. `late` are the ticks by which each absolute deadline was missed."""

    late: Words

    @property
    def lateness(self) -> Floats:
        """Seconds by which each deadline was missed. Raises `InfrastructureError` for one too late to be told."""
        if self.late.max(initial=0) == _SATURATED:
            number, most = int(self.late.argmax()) + 1, _SATURATED / self.hz
            raise InfrastructureError(
                f"release {number} of {len(self.late)} is over {most:.0f} s late, which is all that a record holds",
                hint="was the machine stopped or restored in the middle?",
            )
        return self.late / float(self.hz)


@dataclass(frozen=True, eq=False)
class Counter(ProbeRecord):
    """Back-to-back readings of the counter: `steps` are the ticks between the two of each pair."""

    steps: Words

    @property
    def floor(self) -> float:
        """Seconds within which 99 of 100 readings take place: what the counter cannot tell apart."""
        import numpy as np

        return float(np.percentile(self.steps, 99)) / self.hz


@dataclass(frozen=True)
class Request:
    """A request to the runner as it stands in the page, right or wrong.

    `command` and `size` are 0 to 65535 and go into the header as they are; the data is `number`, 8 bytes
    little-endian, or where there is none bytes of 0xA5. Raises `ConfigurationError` for what has no room.
    """

    command: int
    size: int = 0
    number: int | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.command < 1 << 16 and 0 <= self.size < 1 << 16 and 0 <= (self.number or 0) < 1 << 64):
            raise ConfigurationError(f"{self} is no request", hint="command and size have 16 bits, the number 64")

    def __str__(self) -> str:
        return f"{self.command}:{self.size}" + (f"={self.number}" if self.number is not None else "")


def seconds(begin: Ticks, end: Ticks, hz: int) -> Floats:
    """The times from stamps `begin` to stamps `end` of one counter.

    Raises `InfrastructureError` where the counter went backwards or wrapped, within a pair or from one to the next.
    """
    import numpy as np

    stamps = np.stack([np.maximum.accumulate(begin), end]) if len(begin) else np.zeros((2, 0), np.uint64)
    wrong = np.flatnonzero((stamps[0] > begin) | (begin > end))
    if len(wrong):
        number = int(wrong[0])
        raise InfrastructureError(
            f"the counter went backwards: pair {number + 1} of {len(begin)} is {begin[number]} and {end[number]}"
            f" after a reading of {stamps[0, number]}",
            hint="it wrapped, or the machine was restored in the middle: take the series again",
        )
    return (end - begin) / float(hz)


def parse(data: bytes) -> Executions | Cycles | Counter:
    """The record in the file that a probe wrote. Raises `InfrastructureError` for one that is damaged.

    Of a probe that died in the middle it holds what was recorded until then.
    """
    import numpy as np

    if len(data) < _HEADER.size:
        raise _damaged(f"it has {len(data)} bytes, less than its header")
    magic, version, kind, size, planned, hz, transfer, done, status, _, crc = _HEADER.unpack_from(data)
    if (magic, version) != (b"hilprobe", 1) or not hz:
        raise _damaged(f"it begins with {data[:16].hex()}")
    execution = np.dtype(_EXECUTION)
    word = np.dtype("<u4")
    if (kind, size) not in ((1, execution.itemsize), (2, 4), (3, 4)):
        raise _damaged(f"there is no kind {kind} with records of {size} bytes")
    if done > planned or len(data) != _HEADER.size + planned * size:
        raise _damaged(f"{done} of {planned} records of {size} bytes do not fit in {len(data)} bytes")
    body = data[_HEADER.size : _HEADER.size + done * size]
    if status != _RUNNING and zlib.crc32(body) != crc:
        raise _damaged(f"its CRC is {zlib.crc32(body):08X}, but it says {crc:08X}")
    common: tuple[int, int, int, bool] = (hz, planned, done, status == 0 and done == planned)
    if kind != 1:
        words = np.frombuffer(body, word)
        return Cycles(*common, words) if kind == 2 else Counter(*common, words)
    rows = np.frombuffer(body, execution)
    columns: dict[str, Any] = {name: rows[name] for name, _ in _EXECUTION if name != "reserved"}
    return Executions(*common, transfer, **columns)


def _damaged(what: str) -> InfrastructureError:
    return InfrastructureError(f"the probe's record is damaged: {what}", hint="take it again")


@functools.cache
def build() -> Path:
    """Return the probe, a static program for 64-bit Arm, built if it is not in the cache.

    Raises `InfrastructureError` where the compiler is missing or the disk is full.
    """
    sources = (_SOURCE, SOURCES / "link.h", SOURCES / "cycle.h")
    made_of = [tools.version(_COMPILER), _FLAGS, [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    directory = store.cache_root() / "probe"
    target = directory / key
    if target.exists():
        return target
    with tools.disk(directory, tools.MIB), tempfile.TemporaryDirectory(dir=directory) as staging:
        made = Path(staging) / "probe"
        root = _SOURCE.parents[2]  # names relative to it: no path of this machine gets into the program
        names = [f"-I{SOURCES.relative_to(root)}", str(_SOURCE.relative_to(root))]
        tools.run([_COMPILER, *_FLAGS, "-o", str(made), *names], limit=120, directory=root)
        made.replace(target)
    return target


class Probe:
    """Measures in `guest`. `last` is the record of the last measurement, of one that broke too."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.last: ProbeRecord | None = None
        self._session: object = None
        self._path = ""

    def counter(self, count: int = 100_000) -> Counter:
        """Read the guest's counter in pairs, `count` (1 to 1,000,000) times."""
        record = self._measure(["counter", "--count", str(count)], 60.0)
        assert isinstance(record, Counter)
        return record

    def executions(
        self,
        module: str,
        arguments: Sequence[str] = (),
        *,
        count: int,
        warm_up: int = 1,
        limit: float = 10.0,
        priority: int = 0,
        timeout: float = ALL_TOGETHER,
    ) -> Executions:
        """Send the module at path `module` in the guest once and run it `warm_up` + `count` times.

        The first ones are not recorded. `limit` is the seconds for one run, kept by the image's watchdog where
        it has one; `timeout` bounds all together. `priority` is the probe's own (SCHED_FIFO, 1 to 98; 0: as any
        program). Raises `ConfigurationError` for a module that is not there, too large, or bad numbers;
        `RunnerError` for a run that does not end by itself and a runner that does not answer; `GuestError` for
        a guest that does not do its part.
        """
        device = self._agent_device()
        command = ["run", "--count", str(count), "--warm-up", str(warm_up), "--priority", str(priority)]
        command += ["--limit-ms", str(max(1, round(limit * 1000))), "--device", device, module, *arguments]
        record = self._measure(command, timeout)
        assert isinstance(record, Executions)
        return record

    def cycles(
        self, period: Amount = 1 * ms, *, count: int, priority: int = PRIORITY, partition: bool = False
    ) -> Cycles:
        """Release a loop `count` times on absolute deadlines `period` (10 us to 10 s) apart, as cyclictest does.

        It runs in the guest, or in the `partition` (there only where the image's runner has such a loop), under
        SCHED_FIFO with `priority` (1 to 98). Raises `ConfigurationError` for bad numbers and an image that cannot;
        else as `executions`.
        """
        length = amount(period, "s", "the period")
        if not 1 <= priority <= 98:
            raise ConfigurationError(f"the priority of a loop is {priority}: SCHED_FIFO wants 1 to 98")
        if partition and self._agent_device() != "reference":
            raise ConfigurationError(
                f"the runner of image {self.guest.board.manifest.name} has no periodic loop",
                hint="measure the guest's, or use a periodic module",
            )
        command = ["cycle", "--count", str(count), "--period-ns", str(round(length * 1e9))]
        command += ["--priority", str(priority), "--partition", str(int(partition))]
        record = self._measure(command, count * length + SPARE)
        assert isinstance(record, Cycles)
        return record

    def requests(self, wanted: Sequence[Request], *, limit: float = 1.0, timeout: float = 60.0) -> tuple[int, ...]:
        """Send requests just as they are given, right or wrong, and return the runner's answers (0: obeyed).

        They stop at the first without an answer: then fewer come back than were sent, and the board is marked.
        `limit` is the seconds that a run may take, where the image has a watchdog. Raises `ConfigurationError`
        for a request that cannot be sent, `GuestError` for a guest that does not do its part.
        """
        words = [str(request) for request in wanted]
        command = [self.place(), "requests", "--limit-ms", str(max(1, round(limit * 1000)))]
        result = self.guest.run(quote([*command, "--device", self._agent_device(), *words]), timeout=timeout)
        answers = tuple(int(line) for line in result.lines if line.isdecimal())
        if result.status == 0 and len(answers) == len(wanted):
            return answers
        said = "; ".join(line for line in result.lines if not line.isdecimal())
        if result.status != _NO_ANSWER or len(answers) >= len(wanted):
            raise self._error(result.status, said)
        self.guest.board.dirty = "the runner does not answer"
        return answers

    def _agent_device(self) -> str:
        return agent_of(self.guest.board.manifest).device or "reference"

    def place(self) -> str:
        """The path of the probe in the guest, sending it where the guest does not have it yet."""
        shell = self.guest.shell
        if self._session is not shell:
            program = build()
            path = f"{MODULES}/probe-{program.name}"
            self.guest.put(program, path)
            self.guest.run(f"chmod +x {path}", check=True)
            self._session, self._path = shell, path
        return self._path

    def _measure(self, command: Sequence[str], timeout: float) -> ProbeRecord:
        self.last = None
        path, file = self.place(), f"{MODULES}/probe.record"
        line = f"rm -f {file};{quote([path, command[0], '--output', file, *command[1:]])}"
        try:
            result = self.guest.run(line, timeout=timeout)
        except CommandTimeout as error:
            if error.recovered:
                self._fetch(file)
            raise
        self._fetch(file)
        if result.status == 0 and self.last and self.last.complete:
            return self.last
        raise self._error(result.status, result.text.strip())

    def _fetch(self, file: str) -> None:
        if self.guest.run(f"test -s {file}").status == 0:
            self.last = parse(self.guest.get(file))
            self.guest.run(f"rm -f {file}")

    def _error(self, status: int, said: str) -> HilError:
        """Whose fault it is that the probe ended with `status`."""
        last, hint = self.last, None
        what = said.removeprefix("probe: ") or f"the probe ended with status {status}"
        evidence = self.guest.shell.console.evidence()
        if status in (_BAD_USE, _TOO_LARGE, _NO_FILE):
            return ConfigurationError(what, evidence=evidence)
        if status in _RUNNERS:
            if status == _NO_ANSWER:
                self.guest.board.dirty = "the runner does not answer"
            if isinstance(last, Executions) and len(last.verdict) and last.verdict[-1] != EXITED:
                verdict, code = VERDICTS[last.verdict[-1]], last.code[-1]
                what = f"execution {len(last.verdict)} of {last.planned} did not end by itself: {verdict}, code {code}"
                hint = "the console tells what the runner said"
            return RunnerError(what, hint=hint, evidence=evidence)
        if 128 < status < 128 + 65 or status == 0:
            cause = f"was ended by signal {status - 128}" if status else "ended without having finished its record"
            what = f"the probe {cause}; recorded are {last.done if last else 0} of {last.planned if last else '?'}"
            hint = "what it recorded is in Probe.last"
        return GuestError(what, hint=hint, evidence=evidence)
