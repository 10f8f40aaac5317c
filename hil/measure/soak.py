"""Soaks: one module over and over on one boot, to see what wears out; and boot after boot, to see how many fail."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hil.errors import ORIGINS, ConfigurationError, HilError, InfrastructureError, RunnerError
from hil.measure.bounds import Bound, BoundsNotKept
from hil.measure.clocks import Clocks
from hil.measure.growth import drift, growth
from hil.measure.host import HostWindow, total
from hil.measure.measure import DEPLOYMENT, RESPONSE, Measure, provenance, watched
from hil.measure.memory import GUEST, PAGE, PARTITION, QEMU, RUNNER, Memory
from hil.measure.series import Clock, Series
from hil.measure.units import Amount, KiB, MiB, percent, shown
from hil.stats.rates import Rate, rate
from hil.stats.trend import PER
from hil.wasm import Execution, Module, Runner, Stuck

if TYPE_CHECKING:
    from hil.board.board import Board

SAMPLES = 40  # of memory, in a soak of a known length
EVERY = 50  # deployments between samples of memory, in one of a known time
FEWEST = 20  # deployments from which anything can be said of growth
LINES = 20  # of a failed deployment's console that are shown

Problems = Callable[[Execution], Sequence[str]]

WORDS = {
    "silent": "the runner was silent",
    "stuck": "the runner was stuck",
    "faulted": "the runner faulted",
    "failed": "the module failed",
    "no-agent": "nobody answered",
    "exited": "the module ended wrongly",
}


@dataclass(frozen=True)
class Allowances:
    """What does not matter.

    `drift` is by what share of their median times may rise in all of a soak: beside other work on the host, times
    tell no finer. `memory` is by how many bytes each memory of `hil.measure.memory` may grow per 1,000 deployments, in
    a soak of fewer in all of it. A partition's free memory swings by some MiB, and QEMU's own
    rose by 0.5 MiB per 1,000 deployments (books of what it has translated, presumably): hence theirs.
    """

    drift: Amount = 100 * percent
    memory: Mapping[str, Amount] = field(
        default_factory=lambda: {GUEST: 1 * MiB, PARTITION: 8 * MiB, RUNNER: 64 * KiB, QEMU: 4 * MiB}
    )


@dataclass(frozen=True)
class Failure:
    """The first deployment that went wrong; `number` is from 1, 0 where it was before the first.

    `run` is None where no execution came of it. `memory` tells how the guest's stood, `where` is in the transcript,
    `lines` are the console's.
    """

    number: int
    what: str
    problems: tuple[str, ...]
    run: Execution | None
    memory: str
    where: str
    lines: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Soak:
    """What a soak saw.

    `deployment` holds the times of good deployments from the agent's start to its end as seen on the line,
    `response` the runner's by the guest's counter, where verdicts are sealed; None without any. `memory` is what was
    taken, one sample each `every` deployments; `unknown` says of which memory nothing can be told. `verdicts`
    counts all deployments, `good` those that did what they should.
    """

    subject: str
    planned: str
    every: int
    seconds: float
    verdicts: Mapping[str, int]
    good: int
    deployment: Series | None
    response: Series | None
    memory: tuple[Series, ...]
    unknown: tuple[str, ...]
    first: Failure | None

    @property
    def done(self) -> int:
        return sum(self.verdicts.values())

    @property
    def wrong(self) -> int:
        return self.done - self.good

    @property
    def times(self) -> tuple[Series, ...]:
        return tuple(one for one in (self.deployment, self.response) if one is not None)

    @property
    def failure(self) -> str:
        """The first failure in words; empty where there was none."""
        first = self.first
        if first is None:
            return ""
        before = max(0, first.number - 1)
        good = f"{before} {'was' if before == 1 else 'were'} good"
        head = f"{first.what} at deployment {first.number} of {self.planned} of {self.subject} ({good})"
        told = "; ".join([head, *first.problems, first.memory, f"see {first.where}"])
        return "\n".join([told, *(f"  | {line}" for line in first.lines)])

    def check(self, measure: Measure, allowances: Allowances | None = None) -> None:
        """Hold the soak against `allowances`; its series go into the results either way.

        Raises `RunnerError` with the first failure, `BoundsNotKept` for drifts and growths that are not surely within
        them.
        """
        failed: list[BoundsNotKept] = []
        for series, bound in self._bounds(allowances or Allowances()):
            try:
                measure.check(series, bound)
            except BoundsNotKept as error:
                failed.append(error)
        if self.first is not None:
            raise RunnerError(f"{self.failure}\n{self}")
        if failed:
            failed.sort(key=lambda error: ORIGINS.index(error.origin))  # what the image did hides the rest
            for other in failed[1:]:
                failed[0].add_note(str(other))
            failed[0].add_note(f"{self}\nmore deployments tell finer: --soak-deployments, --soak-hours")
            raise failed[0]

    def _bounds(self, allowed: Allowances) -> Iterator[tuple[Series, Bound]]:
        """What is judged by which bound; of a single sample nothing can be."""
        share = PER / max(1, self.done)
        for series in (one for one in self.times if len(one) > 1):
            yield series, drift() <= allowed.drift * share
        for series in (one for one in self.memory if len(one) > 1):
            figure = growth(every=self.every, quantum=PAGE)
            yield series, figure <= allowed.memory[series.quantity] * max(1.0, share)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.verdicts.items()) or "none was made"
        pace = f", {1e3 * self.seconds / self.done:.1f} ms each" if self.done else ""
        lines = [
            f"{self.subject}: {self.done} of {self.planned} deployments on one boot{pace}; {self.good} good: {counts}"
        ]
        for series in self.times:
            middle = shown(float(series.ordered[len(series) // 2]))
            lines.append(f"  {series.quantity}: median {middle}{self._slope(series)}")
        for series in self.memory:
            last = shown(float(series.samples[-1]), series.unit)
            lines.append(f"  {series.quantity}: {last} at the end{self._slope(series)}")
        return "\n".join([*lines, *(f"  {one}" for one in self.unknown)])

    def _slope(self, series: Series) -> str:
        if len(series) < 2:
            return ""
        figure = growth(every=self.every, quantum=PAGE) if series.unit == "B" else drift()
        one = figure.estimate(series)

        def text(value: float | None) -> str:
            return "?" if value is None else f"{100 * value:.3g} %" if one.unit == "1" else shown(value, one.unit)

        return f", {figure.name} {text(one.value)} (95 % limits {text(one.lower)} .. {text(one.upper)})"


def soak(
    runner: Runner,
    module: Module,
    *arguments: str,
    deployments: int | None = None,
    hours: float | None = None,
    every: int | None = None,
    problems: Problems | None = None,
    go_on: bool = False,
    test: str = "",
) -> Soak:
    """Deploy `module` again and again on this boot, `deployments` times or for so many `hours`.

    `problems` tells what is wrong with an execution, as `sample["hello.wasm"]["default"].problems`; without it each
    has to be good and to print what the first did. Memory is looked at before the first deployment and after each
    `every`. The soak ends with the first failure, unless it is to `go_on`; it never boots the board.
    Raises `ConfigurationError` for numbers that make no soak and a board that cannot have one, `InfrastructureError`
    where the test bed fails.
    """
    amount = deployments if hours is None else hours
    if amount is None or (deployments is None) == (hours is None) or amount <= 0 or (every is not None and every < 1):
        raise ConfigurationError(
            f"a soak of {deployments} deployments, {hours} hours, with memory each {every} deployments",
            hint="give either deployments or hours, all of them above 0",
        )
    step = every or (EVERY if deployments is None else max(1, deployments // SAMPLES))
    seconds = None if hours is None else 3600 * hours
    work = _Work(runner, module, arguments, f"{hours:g} h" if deployments is None else str(deployments), step)
    return work.run(problems or _LikeFirst(), deployments, seconds, go_on).made(test)


class _LikeFirst:
    """What is wrong with an execution where nobody says what is right."""

    def __init__(self) -> None:
        self._output: bytes | None = None

    def __call__(self, run: Execution) -> Sequence[str]:
        if not run.good:
            return [f"verdict is {run.verdict}" if not run.verdict.good else "the output was garbled on the line"]
        if self._output is None:
            self._output = run.output
        return [] if run.output == self._output else [f"output is {run.output[-200:]!r}, was {self._output[-200:]!r}"]


class _Work:
    """A soak that runs, and what it has gathered so far."""

    def __init__(self, runner: Runner, module: Module, arguments: Sequence[str], planned: str, every: int) -> None:
        self.runner, self.module, self.arguments = runner, module, tuple(arguments)
        self.planned, self.every = planned, every
        self.subject = " ".join((module.name, *arguments))
        self.console = runner.guest.board.console
        self.meter = Memory(runner.guest)
        self.verdicts: Counter[str] = Counter()
        self.good = 0
        self.seconds = 0.0
        self.stamps: list[tuple[int, int]] = []  # ns, of good deployments
        self.offsets: list[int] = []
        self.host: list[HostWindow] = []  # of good deployments
        self.response: list[float] = []  # s, by the guest's counter
        self.hz = 0
        self.memory: dict[str, list[int]] = {}
        self.looked: list[int] = []  # ns, when
        self.first: Failure | None = None

    def run(self, problems: Problems, deployments: int | None, seconds: float | None, go_on: bool) -> _Work:
        self.clocks = Clocks(self.runner.guest)
        self.clock = self.clocks.console()
        begin, number = time.monotonic(), 0
        try:
            self.runner.place(self.module)  # an upload is not the runner's wear
            begin = time.monotonic()
            self._look()
            while number != deployments and (seconds is None or time.monotonic() < begin + seconds):
                number += 1
                run = self._deploy(number, problems)
                if isinstance(run.verdict, Stuck) or (self.first is not None and not go_on):
                    break
                if number % self.every == 0:
                    self._look()
        except (ConfigurationError, InfrastructureError) as error:
            error.add_note(f"at deployment {number} of {self.planned} of {self.subject}; {self.good} were good")
            raise
        except HilError as error:  # of the image's making
            if number > sum(self.verdicts.values()):
                self.verdicts[type(error).__name__] += 1
            board = self.runner.guest.board
            board.dirty = board.dirty or f"a soak of {self.subject} failed"
            self._failed(number, error.message, (), None)
        self.seconds = time.monotonic() - begin
        return self

    def _deploy(self, number: int, problems: Problems) -> Execution:
        host: list[HostWindow] = []
        with watched(self.runner.guest, 1, host):
            run = self.runner.run(self.module, *self.arguments, restore=False)
        self.verdicts[str(run.verdict)] += 1
        wrong = tuple(problems(run))
        if wrong:
            self._failed(number, WORDS.get(run.verdict.name, str(run.verdict)), wrong, run)
            return run
        self.good += 1
        # the agent's start is the end of the mark before its output: the transfer comes before its first word
        self.stamps.append((self.console.stamp(run.start - 1), self.console.stamp(run.end)))
        self.offsets.append(run.start)
        self.host += host
        if run.seal:
            self.hz = run.seal.hz
            self.response.append(run.seal.run_ticks / run.seal.hz)
        return run

    def _look(self) -> None:
        for name, value in self.meter.read().items():
            self.memory.setdefault(name, []).append(value)
        self.looked.append(self.console.stamp(self.console.position - 1))

    def _failed(self, number: int, what: str, problems: tuple[str, ...], run: Execution | None) -> None:
        if self.first is not None:
            return
        transcript = self.console.transcript
        transcript.refresh()
        start, end = (run.start, run.end) if run else (max(0, transcript.size - 2000), transcript.size)
        lines = tuple(line.text for line in self.console.lines(start, end))[-LINES:]
        where = f"{transcript.path}:{transcript.line_number(start)} to line {transcript.line_number(end)}"
        stuck = run is not None and isinstance(run.verdict, Stuck)
        memory = "guest memory unknown: the guest is stuck" if stuck else self.meter.describe()
        self.first = Failure(number, what, problems, run, memory, where, lines)

    def made(self, test: str) -> Soak:
        import numpy as np

        guest = self.runner.guest
        origin = {"test": test, **provenance(guest, self.module), "memory": f"each {self.every} deployments"}
        if self.host:
            origin |= total(self.host).facts
        subject = f"{self.subject}, soak"
        deployment = response = None
        if self.stamps:
            begun, ended = np.array(self.stamps, dtype=np.int64).T
            times, lengths = (begun - begun[0]) / 1e9, (ended - begun) / 1e9
            deployment = Series(
                DEPLOYMENT, subject, lengths, self.clock, "s", times, tuple(self.offsets), origin, host=self.host
            )  # fmt: skip
            if len(self.response) == len(times):
                clock = Clock("guest counter", 1 / self.hz, "CNTVCT_EL0, sealed by the agent")
                clock = clock if guest.board.virtual is None else self.clocks.guest_counter()
                response = Series(
                    RESPONSE, subject, np.array(self.response), clock, "s", times, tuple(self.offsets), origin,
                    host=self.host if guest.board.emulated else (),
                )  # fmt: skip
        moments = np.array([(moment - self.looked[0]) / 1e9 for moment in self.looked])
        memory = tuple(
            Series(name, subject, np.array(values), self.clock, "B", moments, None, origin)
            for name, values in self.memory.items()
        )
        return Soak(
            self.subject, self.planned, self.every, self.seconds, dict(self.verdicts), self.good,
            deployment, response, memory, self.meter.unknown, self.first,
        )  # fmt: skip


@dataclass(frozen=True)
class Boots:
    """Cold boots: how many the image failed, with its `failures` in words; those of the test bed apart."""

    rate: Rate
    failures: tuple[str, ...]
    infrastructure: tuple[str, ...]
    seconds: tuple[float, ...]

    def __str__(self) -> str:
        took = f", {min(self.seconds):.1f} to {max(self.seconds):.1f} s to a shell" if self.seconds else ""
        told = [f"{self.rate} cold boots failed{took}", *self.failures]
        return "\n  ".join([*told, *(f"not counted, the test bed's: {one}" for one in self.infrastructure)])


def boots(board: Board, number: int) -> Boots:
    """Boot `board` cold, `number` times. A boot that the test bed fails is made once more and not counted.

    Raises `ConfigurationError` for fewer than one, and as `Board.boot`; `InfrastructureError` where the test bed fails
    twice in a row.
    """
    if number < 1:
        raise ConfigurationError(f"{number} boots tell nothing", hint="give at least 1")
    failures: list[str] = []
    infrastructure: list[str] = []
    seconds: list[float] = []
    for count in range(1, number + 1):
        for last in (False, True):
            try:
                seconds.append(board.boot().stages[-1].seconds)
            except InfrastructureError as error:
                infrastructure.append(_told(count, error))
                if last:
                    raise
                continue
            except ConfigurationError:
                raise
            except HilError as error:
                failures.append(_told(count, error))
            break
    return Boots(rate(len(failures), number), tuple(failures), tuple(infrastructure), tuple(seconds))


def _told(number: int, error: HilError) -> str:
    stage = f" at stage {error.stage!r}" if error.stage else ""
    place = error.evidence and error.evidence.transcript
    return f"boot {number}: {type(error).__name__}{stage}: {error.message}" + (f" ({place})" if place else "")
