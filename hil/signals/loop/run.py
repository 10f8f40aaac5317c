"""One run of a loop, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from hil.errors import PlantError
from hil.measure.clock import Clock
from hil.measure.quantities import SIGNAL
from hil.measure.series import Series
from hil.measure.units import shown
from hil.signals.loop.plant import PlantModel, Values
from hil.signals.loop.result import LoopResult
from hil.signals.loop.sampled import SampledSignal
from hil.signals.loop.wires import End, Input, Output
from hil.signals.signal_map import Analogue
from hil.signals.wiring import Wiring

OVERRUN = 0.5  # share of a step, on a bench

Condition: TypeAlias = Callable[[float, Values], bool]
Event: TypeAlias = Callable[[], object]


@dataclass(eq=False)
class Current:
    """What a run leaves for one that continues it: the plant, its wires and its outputs at the end."""

    model: PlantModel
    ends: dict[str, End]
    wires: tuple[dict[str, Input], dict[str, Output], int]  # inputs, outputs, step in ns
    steps: int
    values: dict[str, float] | None


class LoopRun:
    """One run of a loop: its steps and what they recorded."""

    def __init__(
        self,
        wiring: Wiring,
        current: Current,
        read: Mapping[str, Callable[[int, int], float]],
        step_ns: int,
        host_limit: float,
    ) -> None:
        self._wiring, self._current, self._read = wiring, current, read
        self._step_ns, self._host_limit = step_ns, host_limit
        self._start = wiring.now_ns()
        self._times: list[int] = []
        self._inputs: list[dict[str, float]] = []
        self._outputs: list[dict[str, float]] = []
        self._late: list[int] = []  # ns
        self._now = self._start  # at the start of the step
        self._resolution = round(wiring.clock.resolution * 1e9) if wiring.exact else 0
        self._present: dict[str, float] = {}  # the inputs
        self._wall = 0.0
        self._ends = list(current.ends.values())
        self._saturated = {name: end.saturated for name, end in current.ends.items()}

    def go(self, steps: int, events: Sequence[tuple[int, Event]], condition: Condition | None) -> bool:
        """Run `steps` steps, fewer if the condition is met; return whether it was."""
        began = time.perf_counter()
        try:
            waiting = list(events)
            for number in range(steps):
                if self._reach(number, waiting, condition):
                    return True
                self._advance(number)
            return self._reach(steps, waiting, condition)
        finally:
            self._wall = time.perf_counter() - began

    def _reach(self, number: int, waiting: list[tuple[int, Event]], condition: Condition | None) -> bool:
        """Let time pass until the start of a step, update the wires, record; return whether the condition is met."""
        wiring, at = self._wiring, self._start + number * self._step_ns
        while waiting and self._start + waiting[0][0] <= at:
            when, event = waiting.pop(0)
            wiring.run_until(self._start + when)
            event()
        wiring.run_until(at)
        self._now = wiring.now_ns()
        late = max(0, self._now - at)
        self._late.append(late if late > self._resolution else 0)  # virtual time goes in steps of the resolution
        for end in self._ends:
            end.apply()
        self._present = inputs = {name: read(max(at - self._step_ns, 0), at) for name, read in self._read.items()}
        values = self._current.values
        if values is not None:
            self._times.append(number * self._step_ns)
            self._inputs.append(inputs)
            self._outputs.append(values)
            if condition is not None:
                return bool(condition(self._current.steps * self._step_ns / 1e9, {**inputs, **values}))
        return False

    def _advance(self, number: int) -> None:
        """Have the plant compute the step that begins now, and plan its outputs."""
        current, length = self._current, self._step_ns
        t = current.steps * length / 1e9
        given = current.model.step(current.steps, t, length / 1e9, self._present, self._host_limit)
        at = self._start + number * length
        ahead = 0 if self._wiring.exact else length  # a bench needs time to schedule edges
        now = max(at, self._now) if self._wiring.exact and not self._late[-1] else self._soon()
        outputs = {**given}
        try:
            for name, end in current.ends.items():
                outputs[name] = end.plan(outputs[name], at + ahead, at + ahead + length, now)
        except PlantError as error:
            where = f"the plant {current.model.name} in step {current.steps} at {shown(t)}"
            raise PlantError(f"{where}: {error.message}", hint=error.hint) from None
        current.values = outputs
        current.steps += 1

    def _soon(self) -> int:
        """Return a time before which nothing can be scheduled."""
        wiring = self._wiring
        return wiring.now_ns() + (0 if wiring.exact else round(wiring.clock.uncertainty * 1e9))

    def result(self, units: Mapping[str, str], more: Mapping[str, str]) -> LoopResult:
        """Return the result of the run so far; `more` are facts beside those of the wires."""
        wiring, step = self._wiring, self._step_ns / 1e9
        times = np.array(self._times) / 1e9
        facts = {**wiring.provenance, **more, "step": shown(step), "plant": self._current.model.name}
        rows = [{**inputs, **outputs} for inputs, outputs in zip(self._inputs, self._outputs, strict=True)]
        names = rows[0] if rows else {}

        def signal(name: str) -> SampledSignal:
            samples = np.array([row[name] for row in rows], dtype=np.float64)
            return SampledSignal(
                SIGNAL, name, samples, wiring.clock, "1", times, provenance=facts,
                physical_unit=units.get(name, ""), start_ns=self._start,
            )  # fmt: skip

        late = self._late[:-1] or self._late
        tolerance = 0 if wiring.exact else OVERRUN * self._step_ns
        took = np.array(self._current.model.seconds or [0.0])
        plant, host = self._current.model.name, Clock("host monotonic", 1e-9, "of the plant's process")
        return LoopResult(
            signals={name: signal(name) for name in names},
            step=step,
            start_ns=self._start,
            seconds=max(self._late_end(), 1) / 1e9,
            lateness=Series("step lateness", plant, np.array(late) / 1e9, wiring.clock, provenance=facts),
            overruns=tuple(number for number, ns in enumerate(late) if ns > tolerance),
            host_seconds=Series("plant time", plant, took, host, provenance=facts),
            wall=self._wall,
            saturated={
                name: end.saturated - self._saturated[name]
                for name, end in self._current.ends.items()
                if not isinstance(self._current.wires[1][name], str)
            },
            sources={
                name: source if isinstance(source, str) else source.channel
                for name, source in self._current.wires[0].items()
                if isinstance(source, str | Analogue)
            },
        )

    def _late_end(self) -> int:
        """Return the time that has passed on the wires since the start, in ns."""
        return (len(self._late) - 1) * self._step_ns + self._late[-1]
