"""The ends of the wires in a loop: they read the inputs of a plant, and put its outputs on pins and channels."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from hil.errors import ConfigurationError, PlantError
from hil.host.hints import did_you_mean
from hil.signals.loop.encoder import MOST_EDGES, encoder_edges, lines, storm
from hil.signals.signal_map import RAW, Analogue, Duty, Edge, Quadrature
from hil.signals.wiring import Wiring

TRIES = 3  # to schedule edges on a bench before time overtakes them
Input: TypeAlias = str | Analogue | Duty
Output: TypeAlias = str | Analogue | Quadrature


def readers(wiring: Wiring, inputs: Mapping[str, Input]) -> dict[str, Callable[[int, int], float]]:
    """Return a function of the last step's start and end, in ns, for each input of a plant."""
    return {name: _reader(wiring, name, source) for name, source in inputs.items()}


def _reader(wiring: Wiring, name: str, source: Input) -> Callable[[int, int], float]:
    if isinstance(source, Analogue):
        if source.noise:
            raise ConfigurationError(
                f"the input {name} has noise", hint="Noise belongs to the outputs of a plant: add it in the plant."
            )
        wiring.read_analogue(source.channel)  # refuses an unknown one
        return lambda since, now: source.value(wiring.read_analogue(source.channel))
    pins = (*wiring.outputs, *wiring.inputs)
    pin = source.pin if isinstance(source, Duty) else source
    _known_pin(pin, pins, f"the input {name}", 'Analogue("AO0", low=0, high=1) or Duty("HEATER")')
    if isinstance(source, Duty):
        wiring.edges(pin, wiring.now_ns())  # the first time takes long: not in the first step of a bench
        return lambda since, now: _duty(wiring, pin, since, now)
    return lambda since, now: wiring.level(pin)


def _known_pin(pin: object, pins: Sequence[str], what: str, others: str) -> None:
    if not isinstance(pin, str):
        raise ConfigurationError(f"{what} is connected to {pin!r}", hint=f"Give the name of a pin, or {others}.")
    if pin not in pins:
        raise ConfigurationError(
            f"{what} is connected to {pin!r}, which is no such pin",
            hint=f"{did_you_mean(pin, pins)}The pins are: {', '.join(pins)}. For others write {others}.",
        )


def _duty(wiring: Wiring, pin: str, since: int, now: int) -> float:
    if now <= since:
        return float(wiring.level(pin) == 1)
    edges = wiring.edges(pin, since)
    ticks = np.append(edges.ticks, now).clip(since, now)
    return float(np.diff(ticks)[edges.levels == 1].sum()) / (now - since)


class PinEnd:
    """An output of a plant on a pin: a level, or a list of `Edge`."""

    def __init__(self, wiring: Wiring, name: str, pin: str) -> None:
        self.names = (pin,)
        self.saturated = 0
        self._wiring, self._name, self._pin = wiring, name, pin
        self._level: int | None = None  # on the wire
        self._next: int | None = None

    def plan(self, value: Any, began: int, ends: int, now: int) -> float:
        """Take the value at the end of the step from `began` to `ends`, and schedule the edges within it."""
        if isinstance(value, float | int):
            if value not in (0, 1):
                raise PlantError(f"{self._name} is {value}, but {self._pin} is 0 or 1", hint="Return 0 or 1.")
            self._next = int(value)
            return self._next
        if self._level is None:
            self.apply()
        last, planned = 0.0, []
        edges = list(itertools.islice(value, MOST_EDGES + 1)) if isinstance(value, Iterable) else [value]
        if len(edges) > MOST_EDGES:
            raise storm(self._name, self._pin)
        length = (ends - began) / 1e9
        for edge in edges:
            if not isinstance(edge, Edge) or edge.level not in (0, 1) or not last <= edge.after <= length:
                raise PlantError(
                    f"{self._name} has {edge!r}, which is no change of a pin within the step of {length:g} s",
                    hint="Return 0, 1, or a list of Edge(after, level) in ascending order.",
                )
            last = edge.after
            planned.append((began + round(edge.after * 1e9), self._pin, int(edge.level)))
            self._level = self._next = int(edge.level)
        schedule(self._wiring, planned, now)
        return float(self._level or 0)

    def apply(self) -> None:
        """Put the planned value on the wire."""
        level = self._next if self._next is not None else self._wiring.level(self._pin)
        if level != self._level:
            self._wiring.set_level(self._pin, level)
            self._level = level

    def state(self) -> Any:
        return self._level, self._next

    def restore(self, state: Any) -> None:
        self._level, self._next = state


class AnalogueEnd:
    """An output of a plant on an analogue channel, quantised, with noise."""

    def __init__(self, wiring: Wiring, name: str, to: Analogue) -> None:
        self.names = (to.channel,)
        self.saturated = 0
        self._wiring, self._to = wiring, to
        self._noise = random.Random(to.seed)
        self._raw: int | None = None  # on the wire
        self._next: int | None = None

    def plan(self, value: Any, began: int, ends: int, now: int) -> float:
        to = self._to
        raw = to.raw(value + self._noise.gauss(0.0, to.noise) if to.noise else value)
        self._next = min(max(raw, 0), RAW)
        self.saturated += raw != self._next
        return float(value)

    def apply(self) -> None:
        if self._next is not None and self._next != self._raw:
            self._wiring.write_analogue(self._to.channel, self._next)
            self._raw = self._next

    def state(self) -> Any:
        return self._noise.getstate(), self.saturated, self._raw, self._next

    def restore(self, state: Any) -> None:
        noise, self.saturated, self._raw, self._next = state
        self._noise.setstate(noise)


class QuadratureEnd:
    """An output of a plant, a position, as the edges of an encoder's two lines."""

    def __init__(self, wiring: Wiring, name: str, to: Quadrature) -> None:
        self.names = (to.a, to.b)
        self.saturated = 0
        self._wiring, self._name, self._to = wiring, name, to
        self._position: float | None = None  # in counts, at the end of the last step
        self._placed = False

    def plan(self, value: Any, began: int, ends: int, now: int) -> float:
        before, self._position = self._position, value * self._to.counts
        if before is not None and self._placed:
            schedule(self._wiring, encoder_edges(self._to, self._name, before, self._position, began, ends), now)
        return float(value)

    def apply(self) -> None:
        if not self._placed and self._position is not None:
            for pin, level in zip(self.names, lines(math.floor(self._position)), strict=True):
                self._wiring.set_level(pin, level)
            self._placed = True

    def state(self) -> Any:
        return self._position, self._placed

    def restore(self, state: Any) -> None:
        self._position, self._placed = state


End: TypeAlias = PinEnd | AnalogueEnd | QuadratureEnd


def ends_of(wiring: Wiring, outputs: Mapping[str, Output]) -> dict[str, End]:
    """Return the end of each output of a plant. Raises `ConfigurationError` for one that is not possible."""
    ends: dict[str, End] = {}
    owners: dict[str, str] = {}
    for name, to in outputs.items():
        if isinstance(to, Analogue):
            if to.channel in wiring.outputs or not to.channel.startswith("AI"):
                raise ConfigurationError(
                    f"the output {name} is connected to {to.channel}, which is no analogue input of the partition",
                    hint="The partition's analogue inputs are AI0 to AI7.",
                )
            wiring.read_analogue(to.channel)  # refuses an unknown one
            end: End = AnalogueEnd(wiring, name, to)
        elif isinstance(to, Quadrature):
            end = QuadratureEnd(wiring, name, to)
        else:
            end = PinEnd(wiring, name, to)
        for wire in () if isinstance(to, Analogue) else end.names:
            if wire in wiring.outputs:
                raise ConfigurationError(
                    f"the output {name} is connected to {wire}, which the partition drives",
                    hint=f"The inputs of the partition are: {', '.join(wiring.inputs)}.",
                )
            others = 'Analogue("AI0", low=0, high=100) or Quadrature("ENCODER_A", "ENCODER_B")'
            _known_pin(wire, wiring.inputs, f"the output {name}", others)
        for wire in end.names:
            if other := owners.get(wire):
                raise ConfigurationError(
                    f"the outputs {other} and {name} are both connected to {wire}",
                    hint="Connect each output of the plant to a wire of its own.",
                )
            owners[wire] = name
        ends[name] = end
    return ends


def schedule(wiring: Wiring, edges: Iterable[tuple[int, str, int]], now: int) -> None:
    """Schedule edges, each of a time in ns, a pin and a level; those up to `now`, after an overrun, are set at once.

    On a bench time passes meanwhile: edges that it overtakes are set at once, too.
    """
    left = list(edges)
    for _ in range(1 if wiring.exact else TRIES):
        past = [edge for edge in left if edge[0] <= now]
        left = [edge for edge in left if edge[0] > now]
        for _, pin, level in past:
            wiring.set_level(pin, level)
        try:
            for pin in dict.fromkeys(pin for _, pin, _ in left):
                mine = [(at, level) for at, other, level in left if other == pin]
                wiring.set_levels(pin, [level for _, level in mine], [at for at, _ in mine])
                left = [edge for edge in left if edge[1] != pin]
            return
        except ConfigurationError:  # in the past
            if wiring.exact:
                raise
            now = wiring.now_ns() + round(wiring.clock.uncertainty * 1e9)
    for _, pin, level in left:
        wiring.set_level(pin, level)
