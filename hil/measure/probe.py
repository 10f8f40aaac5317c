"""The guest probe: a small program in the guest that takes times with the guest's counter (docs/probe.md).

The cross compiler builds it into the cache. It is uploaded and leaves its record in a file that is fetched with a
digest, so that nothing on the line affects a figure.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError, GuestError, HilError, RunnerError
from hil.guest import CommandTimeout, Guest
from hil.guest.shell import quote
from hil.host import files, tools
from hil.host.directories import cache_root
from hil.host.disk import MIB, disk
from hil.image.manifest import agent_of
from hil.image.recipe import SOURCES
from hil.measure.probe_record import EXITED, VERDICTS, Counter, Cycles, Executions, ProbeRecord, parse
from hil.measure.units import Amount, amount, ms
from hil.wasm.runner import MODULES

ALL_TOGETHER = 300.0  # seconds for all executions of one record
SPARE = 30.0  # seconds beyond the periods of a loop
PRIORITY = 80  # of SCHED_FIFO

_SOURCE = Path(__file__).with_name("probe.c")
_COMPILER = "aarch64-linux-gnu-gcc"
FLAGS = (
    *("-Os", "-std=gnu11", "-Wall", "-Wextra", "-s", "-static", "-nostdlib", "-ffreestanding", "-Wl,--build-id=none"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns"),
    "-fmacro-prefix-map=hil/data/images=images",  # the same program from a wheel
)
_BAD_USE, _NO_ANSWER, _TOO_LARGE, _NO_FILE = 1, 245, 247, 255  # exit statuses of the probe
_RUNNERS = (240, 241, 242, 243, 244, _NO_ANSWER, 246, 250)
_NO_RUNNER = "the runner does not answer"


@dataclass(frozen=True)
class Request:
    """A request to the runner, valid or not, as written to the page.

    `command` and `size`, 0 to 65535, go into the header unchanged; the data is `number`, 8 bytes little-endian, or
    bytes of 0xA5 without one. Raises `ConfigurationError` for a number out of range.
    """

    command: int
    size: int = 0
    number: int | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.command < 1 << 16 and 0 <= self.size < 1 << 16 and 0 <= (self.number or 0) < 1 << 64):
            raise ConfigurationError(
                f"{self} is not a request", hint="Give a command and size of 16 bits and a number of 64 bits."
            )

    def __str__(self) -> str:
        return f"{self.command}:{self.size}" + (f"={self.number}" if self.number is not None else "")


@functools.cache
def build() -> Path:
    """Return the probe, a static program for 64-bit Arm: that of the wheel, else built and kept in the cache.

    Raises `InfrastructureError` for a missing compiler or a full disk.
    """
    if (shipped := _SOURCE.with_name("probe-aarch64")).exists():
        return shipped
    sources = (_SOURCE, SOURCES / "link.h", SOURCES / "cycle.h")
    made_of = [tools.version(_COMPILER), FLAGS, [hashlib.sha256(path.read_bytes()).hexdigest() for path in sources]]
    key = hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:16]
    directory = cache_root() / "probe"
    target = directory / key
    if target.exists():
        return target
    with disk(directory, MIB), files.replacing(target) as made:
        root = _SOURCE.parents[2]  # relative names keep paths of this machine out of the program
        names = [f"-I{SOURCES.relative_to(root)}", str(_SOURCE.relative_to(root))]
        tools.run([_COMPILER, *FLAGS, "-o", str(made), *names], limit=120, directory=root)
    return target


class Probe:
    """Measurements with the probe in `guest`; `last` is the record of the last one, also of one that failed."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest
        self.last: ProbeRecord | None = None
        self._session: object = None
        self._path = ""

    def counter(self, count: int = 100_000) -> Counter:
        """Read the guest's counter in `count` pairs, 1 to 1,000,000."""
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

        The `warm_up` runs are not recorded. `limit` is the time limit of one run in seconds, enforced by the image's
        watchdog if it has one; `timeout` that of all runs. `priority` is that of the probe (SCHED_FIFO 1 to 98, 0 for
        the default policy). Raises `ConfigurationError` for a module that is missing or too large and for numbers out
        of range, `RunnerError` for a run that does not end by itself and a runner that does not answer, `GuestError`
        for any other failure in the guest.
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
        """Release a loop `count` times on absolute deadlines with a `period` of 10 us to 10 s, like cyclictest.

        The loop runs in the guest, or in the `partition` if the image's runner has one, under SCHED_FIFO with
        `priority` (1 to 98). Raises `ConfigurationError` for numbers out of range and an image without such a loop;
        else as `executions`.
        """
        length = amount(period, "s", "the period")
        if not 1 <= priority <= 98:
            raise ConfigurationError(f"the priority {priority} of a loop is not within 1 to 98")
        if partition and self._agent_device() != "reference":
            raise ConfigurationError(
                f"the runner of image {self.guest.board.manifest.name} has no periodic loop",
                hint="Measure the loop of the guest, or use a periodic module.",
            )
        command = ["cycle", "--count", str(count), "--period-ns", str(round(length * 1e9))]
        command += ["--priority", str(priority), "--partition", str(int(partition))]
        record = self._measure(command, count * length + SPARE)
        assert isinstance(record, Cycles)
        return record

    def requests(self, requests: Sequence[Request], *, limit: float = 1.0, timeout: float = 60.0) -> tuple[int, ...]:
        """Send `requests` unchanged, valid or not, and return the answers of the runner (0: obeyed).

        The first request without an answer ends them: then there are fewer answers, and the board is marked dirty.
        `limit` is the time limit of a run in seconds if the image has a watchdog. Raises `ConfigurationError` for a
        request that cannot be sent, `GuestError` for a failure in the guest.
        """
        words = [str(request) for request in requests]
        command = [self.place(), "requests", "--limit-ms", str(max(1, round(limit * 1000)))]
        result = self.guest.run(quote([*command, "--device", self._agent_device(), *words]), timeout=timeout)
        answers = tuple(int(line) for line in result.lines if line.isdecimal())
        if result.status == 0 and len(answers) == len(requests):
            return answers
        message = "; ".join(line for line in result.lines if not line.isdecimal())
        if result.status != _NO_ANSWER or len(answers) >= len(requests):
            raise self._error(result.status, message)
        self.guest.board.dirty = _NO_RUNNER
        return answers

    def _agent_device(self) -> str:
        return agent_of(self.guest.board.manifest).device or "reference"

    def place(self) -> str:
        """Return the path of the probe in the guest; send it first if it is not there."""
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

    def _error(self, status: int, message: str) -> HilError:
        """Return the error for the exit `status` of the probe, by its failure origin."""
        last, hint = self.last, None
        what = message.removeprefix("probe: ") or f"the probe exited with status {status}"
        evidence = self.guest.shell.console.evidence()
        if status in (_BAD_USE, _TOO_LARGE, _NO_FILE):
            return ConfigurationError(what, evidence=evidence)
        if status in _RUNNERS:
            if status == _NO_ANSWER:
                self.guest.board.dirty = _NO_RUNNER
            if isinstance(last, Executions) and len(last.verdict) and last.verdict[-1] != EXITED:
                verdict, code = VERDICTS[last.verdict[-1]], last.code[-1]
                what = f"execution {len(last.verdict)} of {last.planned} did not end by itself: {verdict}, code {code}"
                hint = "See the console for the runner's messages."
            return RunnerError(what, hint=hint, evidence=evidence)
        if 128 < status < 128 + 65 or status == 0:
            cause = f"was ended by signal {status - 128}" if status else "exited with an incomplete record"
            what = f"the probe {cause}, {last.done if last else 0} of {last.planned if last else '?'} recorded"
            hint = "Read the incomplete record in Probe.last."
        return GuestError(what, hint=hint, evidence=evidence)
