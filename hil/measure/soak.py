"""Soaks: deploy one module again and again on one boot and watch times and memory for wear."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.measure.board_clocks import BoardClocks
from hil.measure.clock import GUEST_COUNTER, Clock
from hil.measure.host import HostWindow, total
from hil.measure.memory import Memory
from hil.measure.provenance import provenance, watched
from hil.measure.quantities import DEPLOYMENT, RESPONSE
from hil.measure.series import Series
from hil.measure.soak_result import FailedDeployment, Soak
from hil.wasm import Execution, Module, Runner
from hil.wasm.execution import DEFAULT_LIMIT
from hil.wasm.loading import Loadable, load_module, words_of
from hil.wasm.module import subject_of
from hil.wasm.verdict import Stuck

SAMPLES = 40  # of memory, in a soak of a known length
EVERY = 50  # deployments between samples of memory, in a soak of a known time
LINES = 20  # of the console of a failed deployment that are shown

Problems = Callable[[Execution], Sequence[str]]

WORDS = {
    "silent": "the runner was silent",
    "stuck": "the runner was stuck",
    "faulted": "the runner faulted",
    "failed": "the module failed",
    "no-agent": "the agent did not answer",
    "exited": "the module ended wrongly",
}


def soak(
    runner: Runner,
    module: Loadable,
    *arguments: str | bytes,
    deployments: int | None = None,
    hours: float | None = None,
    every: int | None = None,
    problems: Problems | None = None,
    go_on: bool = False,
    limit: float = DEFAULT_LIMIT,
    test: str = "",
) -> Soak:
    """Deploy `module` again and again on this boot, `deployments` times or for `hours`.

    `module`, `arguments` and `limit` are those of `runner.run`; a path or reference is read once.

    `problems` returns the problems of an execution, such as `sample["hello.wasm"]["default"].problems`; by default each
    execution must be good and print the output of the first. Memory is read before the first deployment and after each
    `every`. The soak ends with the first failure unless `go_on`; it never boots the board. Raises `ConfigurationError`
    for numbers out of range and a board without a runner, `InfrastructureError` for failures of the infrastructure, and
    the errors of `load_module`.
    """
    amount = deployments if hours is None else hours
    if amount is None or (deployments is None) == (hours is None) or amount <= 0 or (every is not None and every < 1):
        raise ConfigurationError(
            f"cannot soak for {deployments} deployments and {hours} hours with memory each {every} deployments",
            hint="Give either deployments or hours, and numbers above 0.",
        )
    step = every or (EVERY if deployments is None else max(1, deployments // SAMPLES))
    seconds = None if hours is None else 3600 * hours
    planned = f"{hours:g} h" if deployments is None else str(deployments)
    run = _SoakRun(runner, load_module(module), words_of(arguments), limit, planned, step)
    run.deploy_all(problems or _SameOutput(), deployments, seconds, go_on)
    return run.result(test)


class _SameOutput:
    """The default `Problems`: each execution is good, and its output is that of the first."""

    def __init__(self) -> None:
        self._output: bytes | None = None

    def __call__(self, run: Execution) -> Sequence[str]:
        if not run.good:
            return [f"verdict is {run.verdict}" if not run.verdict.good else "the output was garbled on the line"]
        if self._output is None:
            self._output = run.output
        return [] if run.output == self._output else [f"output is {run.output[-200:]!r}, was {self._output[-200:]!r}"]


class _SoakRun:
    """A running soak and its measurements up to now."""

    def __init__(
        self, runner: Runner, module: Module, words: tuple[str, ...], limit: float, planned: str, every: int
    ) -> None:
        self.runner, self.module, self.words, self.limit = runner, module, words, limit
        self.planned, self.every = planned, every
        self.subject = subject_of(module, words)
        self.console = runner.guest.board.console
        self.meter = Memory(runner.guest)
        self.clocks = BoardClocks(runner.guest)
        self.verdicts: Counter[str] = Counter()
        self.good = 0
        self.seconds = 0.0
        self.stamps: list[tuple[int, int]] = []  # ns, of good deployments
        self.offsets: list[int] = []
        self.host: list[HostWindow] = []  # of good deployments
        self.response: list[float] = []  # s, by the guest's counter
        self.hz = 0
        self.memory: dict[str, list[int]] = {}
        self.moments: list[int] = []  # ns, of the memory samples
        self.first: FailedDeployment | None = None

    def deploy_all(self, problems: Problems, deployments: int | None, seconds: float | None, go_on: bool) -> None:
        self.clock = self.clocks.console()
        begin, number = time.monotonic(), 0
        try:
            self.runner.place(self.module)  # an upload does not wear the runner
            begin = time.monotonic()
            self._read_memory()
            while number != deployments and (seconds is None or time.monotonic() < begin + seconds):
                number += 1
                run = self._deploy(number, problems)
                if isinstance(run.verdict, Stuck) or (self.first is not None and not go_on):
                    break
                if number % self.every == 0:
                    self._read_memory()
        except (ConfigurationError, InfrastructureError) as error:
            error.add_note(f"at deployment {number} of {self.planned} of {self.subject}; {self.good} were good")
            raise
        except HilError as error:  # a failure of the image
            if number > sum(self.verdicts.values()):
                self.verdicts[type(error).__name__] += 1
            board = self.runner.guest.board
            board.dirty = board.dirty or f"a soak of {self.subject} failed"
            self._failed(number, error.message, (), None)
        self.seconds = time.monotonic() - begin

    def _deploy(self, number: int, problems: Problems) -> Execution:
        with watched(self.runner.guest, 1) as host:
            run = self.runner.run(self.module, *self.words, limit=self.limit, restore=False)
        self.verdicts[str(run.verdict)] += 1
        wrong = tuple(problems(run))
        if wrong:
            self._failed(number, WORDS.get(run.verdict.name, str(run.verdict)), wrong, run)
            return run
        self.good += 1
        # the agent starts at the end of the mark before its output: the transfer precedes its first output
        self.stamps.append((self.console.stamp(run.start - 1), self.console.stamp(run.end)))
        self.offsets.append(run.start)
        self.host += host
        if run.seal:
            self.hz = run.seal.hz
            self.response.append(run.seal.run_ticks / run.seal.hz)
        return run

    def _read_memory(self) -> None:
        for name, value in self.meter.read().items():
            self.memory.setdefault(name, []).append(value)
        self.moments.append(self.console.stamp(self.console.position - 1))

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
        self.first = FailedDeployment(number, what, problems, run, memory, where, lines)

    def result(self, test: str) -> Soak:
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
                clock = Clock(GUEST_COUNTER, 1 / self.hz, "CNTVCT_EL0, sealed by the agent")
                clock = clock if guest.board.virtual is None else self.clocks.guest_counter()
                response = Series(
                    RESPONSE, subject, np.array(self.response), clock, "s", times, tuple(self.offsets), origin,
                    host=self.host if guest.board.emulated else (),
                )  # fmt: skip
        moments = np.array([(moment - self.moments[0]) / 1e9 for moment in self.moments])
        memory = tuple(
            Series(name, subject, np.array(values), self.clock, "B", moments, None, origin)
            for name, values in self.memory.items()
        )
        return Soak(
            self.subject, self.planned, self.every, self.seconds, dict(self.verdicts), self.good,
            deployment, response, memory, self.meter.unknown, self.first,
        )  # fmt: skip
