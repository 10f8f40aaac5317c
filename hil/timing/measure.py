"""Taking series: repeated executions of a module, timed by the best clock that the image offers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hil.errors import RunnerError
from hil.timing.bounds import Bound, Bounds, Check, check
from hil.timing.series import Clock, Series, ns
from hil.wasm import Execution, Module, Runner

RESPONSE = "response time"


class Measure:
    """Takes series on a board and checks them against the board's bounds.

    `bounds_file` is read when first needed; `record` is told each series, and again with its checks.
    """

    def __init__(
        self, bounds_file: Path, record: Callable[[Series, tuple[Check, ...]], None] = lambda series, checks: None
    ) -> None:
        self._file = bounds_file
        self._record = record
        self._bounds: Bounds | None = None

    @property
    def bounds(self) -> Bounds:
        if self._bounds is None:
            self._bounds = Bounds(self._file)
        return self._bounds

    def executions(self, runner: Runner, module: Module, *arguments: str, repeats: int, warm_up: int = 1) -> Series:
        """Response times of `repeats` executions, from the request to run to the runner's answer.

        Timed by the guest's counter where the agent reports it, else by the host's stamps of the
        console. The first `warm_up` executions are not counted. Raises `RunnerError` for one that is
        not good: a series of failures has no meaning.
        """
        runs: list[Execution] = []
        for number in range(warm_up + repeats):
            run = runner.run(module, *arguments)
            if not run.good:
                raise RunnerError(
                    f"execution {number + 1} of {warm_up + repeats} went wrong: {run}",
                    evidence=runner.guest.board.console.evidence(),
                )
            runs.append(run)
        counted = runs[warm_up:]
        clock, samples = _response_times(counted)
        subject = " ".join((module.name, *arguments))
        board = runner.guest.board
        provenance = {
            "board": board.name,
            "image": f"{board.manifest.name} {board.image().digest}",
            "module": f"{module.name} {module.sha256}",
            "transcript": str(counted[0].transcript),
        }
        series = Series(RESPONSE, subject, samples, clock, provenance)
        self._record(series, ())
        return series

    def check(self, series: Series, *bounds: Bound) -> tuple[Check, ...]:
        """Check `series` against `bounds`, or, without any, against the board's bounds file.

        Raises `BoundsNotKept`, an `AssertionError`, unless every bound passes.
        """
        chosen = bounds or self.bounds.of(series)
        self._record(series, tuple(bound.decide(series) for bound in chosen))
        return check(series, chosen)


def _response_times(runs: list[Execution]) -> tuple[Clock, tuple[float, ...]]:
    seals = [run.seal for run in runs]
    if all(seals):
        known = [seal for seal in seals if seal]
        remark = "CNTVCT_EL0; under plain emulation it follows the host's clock, so the host's scheduling shows"
        return Clock("guest counter", 1 / known[0].hz, remark), tuple(seal.run_ticks / seal.hz for seal in known)
    remark = "stamps of the console's reader; include the line and the guest's shell"
    return Clock("host monotonic", ns, remark), tuple((run.answer_ns - run.request_ns) * ns for run in runs)
