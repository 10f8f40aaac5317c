"""The loop: it steps a plant beside the partition and connects both by wires."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

from hil.errors import ConfigurationError, HilError
from hil.measure.units import Amount, amount, shown
from hil.signals.loop.interruption import interruptible
from hil.signals.loop.plant import Plant, PlantModel
from hil.signals.loop.result import LoopResult
from hil.signals.loop.run import Condition, Current, Event, LoopRun
from hil.signals.loop.wires import Input, Output, ends_of, readers
from hil.signals.wiring import Wiring

HOST_LIMIT = 10.0  # seconds of the host, of one step of a plant
FINEST = 2  # uncertainties of a bench's clock that a step needs at least: an overrun is half a step late

Own = Callable[[Collection[str], str], AbstractContextManager[None]]


class ConditionNotMet(AssertionError):
    """A condition that ended no loop in time. `result` is that of the loop; the failure origin is the image."""

    origin = "image"

    def __init__(self, message: str, result: LoopResult) -> None:
        super().__init__(message)
        self.result = result


@dataclass(frozen=True, eq=False)
class LoopState:
    """The state of a loop between two runs, for `Loop.restore`."""

    plant: Any
    steps: int
    outputs: Mapping[str, Any]


class Loop:
    """Steps plants at `wiring`; the fixture `loop` is one. `results` are those of all runs, in order, up
    to the failure of one that failed.

    At each step the loop lets time pass until the start of the step, exactly `start + k * step`. It puts the outputs of
    the step before on the wires, reads the inputs of the plant, and has the plant compute its outputs at the end of the
    step from these inputs, which are held. Edges within the step are scheduled by their absolute time.

    `own` is `Pins.owned`: it reserves the wires of a loop while it runs. `facts` are facts of the series beside those
    of the wires.
    """

    def __init__(self, wiring: Wiring, *, own: Own | None = None, facts: Mapping[str, str] | None = None) -> None:
        self.wiring = wiring
        self.results: list[LoopResult] = []
        self._own = own
        self._facts = dict(facts or {})
        self._current: Current | None = None

    def run(
        self,
        plant: Plant,
        *,
        step: Amount,
        inputs: Mapping[str, Input],
        outputs: Mapping[str, Output],
        until: Amount | Condition,
        within: Amount | None = None,
        at: Mapping[Amount, Event] | None = None,
        units: Mapping[str, str] | None = None,
        host_limit: float = HOST_LIMIT,
        reset: bool = True,
    ) -> LoopResult:
        """Run `plant` with the partition and return all signals.

        - `inputs`: for each input of the plant a pin, an `Analogue` channel or a `Duty`; `outputs`: for each output a
          pin, an `Analogue` channel or a `Quadrature`. Other outputs of the plant are recorded only.
        - `until`: the length, of whole steps, or a function of the time in seconds and the signals, called at each
          step, that ends the loop when it returns true; then `within` is the limit.
        - `at`: functions that are called at a time since the start: `{1 * s: lambda: pins.drive("FAULT", 1)}`.
        - `units`: the names of the signals' units for people, over those of the plant's attribute `units`.
        - `host_limit`: the seconds of the host that one step of the plant may take.
        - `reset`: False continues the previous run with the plant's state and time.

        Raises `PlantError` for errors of the plant, with step, time and inputs; `ConditionNotMet`, an
        `AssertionError`, for a condition that is not met in time; `ConfigurationError` for a wire that is not there or
        has two owners, a length that is not a multiple of the step, and a step that is too fine for the bench.
        """
        step_ns = self._step_ns(step)
        length, condition = self._length(until, within, step_ns)
        events = _events(at or {}, length * step_ns)
        if both := sorted(set(inputs) & set(outputs)):
            raise ConfigurationError(
                f"{both[0]!r} is both an input and an output of the plant", hint="Give each signal a name of its own."
            )
        current = self._prepared(plant, step_ns, inputs, outputs, reset)
        owned = [wire for end in current.ends.values() for wire in end.names]
        owner = f"the loop with the plant {current.model.name}"
        names = {**getattr(plant, "units", {}), **(units or {})}
        with self._own(owned, owner) if self._own else nullcontext(), interruptible():
            run = LoopRun(self.wiring, current, readers(self.wiring, inputs), step_ns, host_limit)
            try:
                met = run.go(length, events, condition)
            except BaseException:
                self._current = None  # the state of the plant is that of no step
                with suppress(HilError):  # the board may be off, or the loop without a step
                    self.results.append(run.result(names, self._facts))
                raise
        result = run.result(names, self._facts)
        self.results.append(result)
        if condition is not None and not met:
            values = ", ".join(f"{name} = {signal.samples[-1]:g}" for name, signal in result.signals.items())
            raise ConditionNotMet(f"the condition of the loop was not met within {within}; at the end {values}", result)
        return result

    def state(self) -> LoopState:
        """Return the state of plant and wires' ends after the last run, to be kept beside a snapshot of the board."""
        current = self._last()
        ends = {name: end.state() for name, end in current.ends.items()}
        return LoopState(current.model.state(), current.steps, {"ends": ends, "values": current.values})

    def restore(self, state: LoopState) -> None:
        """Return to a state that `state` gave after a run with the same plant and wires."""
        current = self._last()
        current.model.restore(state.plant)
        current.steps, current.values = state.steps, state.outputs["values"]
        for name, end in current.ends.items():
            end.restore(state.outputs["ends"][name])

    def _last(self) -> Current:
        if self._current is None:
            raise ConfigurationError("the loop has no state before its first run", hint="Call loop.run(...) first.")
        return self._current

    def _prepared(
        self, plant: Plant, step_ns: int, inputs: Mapping[str, Input], outputs: Mapping[str, Output], reset: bool
    ) -> Current:
        """Return the state to begin with: after a reset, or that of the last run."""
        wires = (dict(inputs), dict(outputs), step_ns)
        if not reset:
            current = self._current
            if current is None or current.model.plant is not plant or current.wires != wires:
                raise ConfigurationError(
                    "the loop cannot continue: the last complete run was not of this plant with these wires and step",
                    hint="Leave out reset=False, or pass the same plant, step, inputs and outputs.",
                )
            current.model.seconds = []
            return current
        free = [name for name, to in outputs.items() if isinstance(to, str)]
        model = PlantModel(plant, outputs, free)
        model.connect(inputs)
        current = Current(model, ends_of(self.wiring, outputs), wires, 0, None)
        first = model.reset()
        if first is not None:
            now = self.wiring.now_ns()
            current.values = {
                name: current.ends[name].plan(value, now, now, now) if name in current.ends else value
                for name, value in first.items()
            }
        self._current = current
        return current

    def _step_ns(self, step: Amount) -> int:
        seconds = amount(step, "s", "the step of the loop")
        whole = round(seconds * 1e9)
        if whole < 1 or not math.isclose(whole, seconds * 1e9, rel_tol=1e-9):
            raise ConfigurationError(
                f"the step of the loop is {seconds:g} s", hint="Give whole nanoseconds above 0, such as 1 * ms."
            )
        clock, link = self.wiring.clock, self.wiring.link
        finest = max(FINEST * clock.uncertainty, link)
        if not self.wiring.exact and seconds < finest:
            known = f"its wires are known to {shown(clock.uncertainty)} ({clock})"
            raise ConfigurationError(
                f"a step of {step} is too fine for this bench: "
                f"{f'it needs {shown(link)} to read a level and set another' if link == finest else known}",
                hint=f"Give a step of {shown(finest)} or more, or run the test on an emulated board in virtual time.",
            )
        return whole

    def _length(self, until: Amount | Condition, within: Amount | None, step_ns: int) -> tuple[int, Condition | None]:
        """Return the number of steps and the condition."""
        condition = None if isinstance(until, Amount) or not callable(until) else until
        if condition is None and within is not None:
            raise ConfigurationError(
                "`within` is the limit of a condition", hint="Leave it out, or give a function as `until`."
            )
        if condition is not None and within is None:
            raise ConfigurationError("the condition of the loop has no limit", hint="Give within=10 * s.")
        length = amount(within if condition is not None else until, "s", "the length of the loop")
        steps = length * 1e9 / step_ns
        if round(steps) < 1 or not math.isclose(steps, round(steps), rel_tol=1e-9):
            raise ConfigurationError(
                f"a length of {shown(length)} is {steps:g} steps of {shown(step_ns / 1e9)}",
                hint="Give a whole number of steps, 1 or more.",
            )
        return round(steps), condition


def _events(at: Mapping[Amount, Event], length_ns: int) -> list[tuple[int, Event]]:
    """Return the events with their times since the start in ns, in order."""
    events = []
    for when, event in at.items():
        ns = round(amount(when, "s", "the time of an event") * 1e9)
        if not 0 <= ns <= length_ns or not callable(event):
            raise ConfigurationError(
                f"there is no event {event!r} at {when} of a loop of {shown(length_ns / 1e9)}",
                hint="Give functions without arguments at times within the loop: {1 * s: lambda: ...}.",
            )
        events.append((ns, event))
    return sorted(events, key=lambda event: event[0])
