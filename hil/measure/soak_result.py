"""The result of a soak, and its check against allowances."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from hil.errors import ORIGINS, RunnerError
from hil.measure.bound import Bound
from hil.measure.checking import BoundsNotKept
from hil.measure.growth import drift, growth
from hil.measure.measure import Measure
from hil.measure.memory import PAGE
from hil.measure.quantities import GUEST, PARTITION, QEMU, RUNNER
from hil.measure.series import Series
from hil.measure.units import Amount, KiB, MiB, percent, shown
from hil.stats.trend import PER
from hil.wasm import Execution


@dataclass(frozen=True)
class Allowances:
    """Growth that a soak tolerates.

    `drift` is the allowed rise of times over the whole soak as a share of their median: other work on the host hides
    smaller ones. `memory` is the allowed growth of each memory per 1,000 deployments, in a shorter soak over the whole
    soak. The free memory of a partition varies by some MiB, and that of QEMU itself rose by 0.5 MiB per 1,000
    deployments, presumably by its tables of translated code.
    """

    drift: Amount = 100 * percent
    memory: Mapping[str, Amount] = field(
        default_factory=lambda: {GUEST: 1 * MiB, PARTITION: 8 * MiB, RUNNER: 64 * KiB, QEMU: 4 * MiB}
    )


@dataclass(frozen=True)
class FailedDeployment:
    """The first deployment that failed.

    - `number`: from 1; 0 before the first deployment.
    - `run`: its execution, if there was one.
    - `memory`: the state of the guest's memory.
    - `where`: the position in the transcript; `lines`: the lines of the console.
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
    """The result of a soak.

    - `deployment`: times of good deployments on the line, from the agent's start to its end; None without any.
    - `response`: times of the runner by the guest's counter, if verdicts are sealed.
    - `memory`: the memory taken, one sample each `every` deployments; `unknown` lists memories that cannot be read.
    - `verdicts`: the count of each verdict; `good`: the number of correct deployments.
    - `first`: the first failure.
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
    first: FailedDeployment | None

    @property
    def done(self) -> int:
        return sum(self.verdicts.values())

    @property
    def wrong(self) -> int:
        return self.done - self.good

    @property
    def times(self) -> tuple[Series, ...]:
        return tuple(series for series in (self.deployment, self.response) if series is not None)

    @property
    def failure(self) -> str:
        """The first failure in words; empty if there was none."""
        first = self.first
        if first is None:
            return ""
        head = f"{first.what} at deployment {first.number} of {self.planned} of {self.subject}"
        head += f" after {max(0, first.number - 1)} good ones"
        text = "; ".join([head, *first.problems, first.memory, f"see {first.where}"])
        return "\n".join([text, *(f"  | {line}" for line in first.lines)])

    def check(self, measure: Measure, allowances: Allowances | None = None) -> None:
        """Check the soak against `allowances`; record its series in any case.

        Raises `RunnerError` with the first failure, `BoundsNotKept` for drift and growth that is not surely within the
        allowances.
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
            failed.sort(key=lambda error: ORIGINS.index(error.origin))  # failures of the image come first
            for other in failed[1:]:
                failed[0].add_note(str(other))
            failed[0].add_note(f"{self}\nSet --hil-soak-deployments or --hil-soak-hours to more for narrower limits.")
            raise failed[0]

    def _bounds(self, allowed: Allowances) -> Iterator[tuple[Series, Bound]]:
        """Yield each series of more than one sample with its bound."""
        share = PER / max(1, self.done)
        for series in (series for series in self.times if len(series) > 1):
            yield series, drift() <= allowed.drift * share
        for series in (series for series in self.memory if len(series) > 1):
            figure = growth(every=self.every, quantum=PAGE)
            yield series, figure <= allowed.memory[series.quantity] * max(1.0, share)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.verdicts.items()) or "no verdicts"
        pace = f", {1e3 * self.seconds / self.done:.1f} ms each" if self.done else ""
        lines = [
            f"{self.subject}: {self.done} of {self.planned} deployments on one boot{pace}; {self.good} good: {counts}"
        ]
        for series in self.times:
            lines.append(f"  {series.quantity}: median {shown(series.median)}{self._slope(series)}")
        for series in self.memory:
            last = shown(float(series.samples[-1]), series.unit)
            lines.append(f"  {series.quantity}: {last} at the end{self._slope(series)}")
        return "\n".join([*lines, *(f"  {text}" for text in self.unknown)])

    def _slope(self, series: Series) -> str:
        if len(series) < 2:
            return ""
        figure = growth(every=self.every, quantum=PAGE) if series.unit == "B" else drift()
        estimate = figure.estimate(series)

        def text(value: float | None) -> str:
            if value is None:
                return "?"
            return f"{100 * value:.3g} %" if estimate.unit == "1" else shown(value, estimate.unit)

        limits = f"(95 % limits {text(estimate.lower)} .. {text(estimate.upper)})"
        return f", {figure.name} {text(estimate.value)} {limits}"
