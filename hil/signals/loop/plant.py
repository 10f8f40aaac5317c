"""Plants: models of the machine that the partition controls, in steps of fixed length.

A plant is a callable `plant(t, dt, inputs)` or an object with a method `step` of the same arguments. It returns the
outputs at `t + dt`, given the inputs that were held since `t`; `t` and `dt` are in seconds, `t` counts from the plant's
reset. An object may also have these methods:

- `reset()` returns to the initial state. What it returns, unless None, are the outputs at the start.
- `connect(inputs, outputs)` gets the names that the loop uses, before the first step, to refuse unknown ones.
- `state()` and `restore(state)` for snapshots; without them the attributes of the object are copied deeply.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from hil.errors import ConfigurationError, HilError, PlantError
from hil.host.hints import did_you_mean
from hil.measure.units import shown
from hil.signals.loop.interruption import Interrupted, limited

Values: TypeAlias = Mapping[str, float]
SHOWN = 12  # inputs in an error


class _MissingInput(KeyError):
    """The plant reads an input that is not connected."""


class _Inputs(dict[str, float]):
    """The inputs of a plant, whose missing ones are distinguished from other missing keys."""

    def __missing__(self, name: str) -> float:
        raise _MissingInput(name)


class PlantObject(Protocol):
    """An object that is a plant; see the module for its further methods."""

    def step(self, t: float, dt: float, inputs: Values, /) -> Mapping[str, Any]: ...


Plant: TypeAlias = PlantObject | Callable[[float, float, Values], Mapping[str, Any]]


def name_of(plant: object) -> str:
    """Return the name of a plant for messages."""
    return str(getattr(plant, "name", "") or getattr(plant, "__name__", "") or type(plant).__name__)


class PlantModel:
    """A plant whose errors and outputs are checked.

    `needed` are the outputs that the wires need, and `free` those among them whose values their targets check.
    `seconds` are the host's times of the steps. Raises `ConfigurationError` for an object that is no plant.
    """

    def __init__(self, plant: Plant, needed: Iterable[str] = (), free: Iterable[str] = ()) -> None:
        step = getattr(plant, "step", plant)
        if not callable(step) or isinstance(plant, type):
            raise ConfigurationError(
                f"{plant!r} is not a plant",
                hint="Give a function plant(t, dt, inputs) -> outputs, or an object with such a method `step`.",
            )
        self.plant = plant
        self.name = name_of(plant)
        self.seconds: list[float] = []
        self._step: Callable[[float, float, Values], Any] = step
        self._needed = tuple(needed)
        self._free = frozenset(free)
        self._names: tuple[str, ...] | None = None

    def connect(self, inputs: Iterable[str]) -> None:
        """Let the plant check the names of its inputs and outputs."""
        if callable(connect := getattr(self.plant, "connect", None)):
            connect(tuple(inputs), self._needed)

    def reset(self) -> dict[str, Any] | None:
        """Reset the plant and return its outputs at the start; None if it gives none."""
        self._names = None
        reset = getattr(self.plant, "reset", None)
        if reset is None:
            return None
        where = f"the plant {self.name} in its reset"
        try:
            given = reset()
        except Exception as error:
            raise _failure(where, error) from error
        return None if given is None else self._checked(given, where)

    def step(self, number: int, t: float, dt: float, inputs: Values, limit: float) -> dict[str, Any]:
        """Return the outputs at `t + dt`. Raises `PlantError` for an error, a wrong output and after `limit` seconds.

        A plant that blocks is interrupted if this is the main thread and no other code uses the timer of the process.
        """
        began = time.perf_counter()
        try:
            with limited(limit):
                given = self._step(t, dt, _Inputs(inputs))
        except Interrupted:
            raise self._too_long(number, t, limit, inputs, time.perf_counter() - began) from None
        except Exception as error:
            raise _failure(self._where(number, t), error, inputs) from error
        took = time.perf_counter() - began
        self.seconds.append(took)
        if took > limit:
            raise self._too_long(number, t, limit, inputs, took)
        if (checked := self._quickly_checked(given)) is not None:
            return checked
        return self._checked(given, self._where(number, t), inputs)

    def _where(self, number: int, t: float) -> str:
        return f"the plant {self.name} in step {number} at {shown(t)}"

    def _too_long(self, number: int, t: float, limit: float, inputs: Values, took: float) -> PlantError:
        return PlantError(
            f"{self._where(number, t)} took {shown(took)} of the host's time, more than the limit of {shown(limit)}"
            f"; {_given(inputs)}",
            hint="Simplify the plant, or raise `host_limit`.",
        )

    def _quickly_checked(self, given: Any) -> dict[str, Any] | None:
        """Return `given` if it is plainly right: a dict of the known names with finite floats or integers."""
        if type(given) is not dict or tuple(given) != self._names:
            return None
        for value in given.values():
            if not (type(value) is float or type(value) is int) or value - value != 0:
                return None
        return given

    def _checked(self, given: Any, where: str, inputs: Values | None = None) -> dict[str, Any]:
        """Return the outputs. Raises `PlantError` for a wrong name or a value that is no finite number."""
        about = "" if inputs is None else f"; {_given(inputs)}"
        if not isinstance(given, Mapping):
            hint = 'Return a mapping of names to numbers, such as {"temperature": 21.5}.'
            raise PlantError(f"{where} returned {given!r}{about}", hint=hint)
        expected = self._needed if self._names is None else self._names
        if lacking := [name for name in expected if name not in given]:
            raise PlantError(
                f"{where} did not return {_list(lacking)}, but {_list(given) or 'nothing'}{about}",
                hint=f"{did_you_mean(lacking[0], [name for name in given if name not in expected])}"
                "Return each output in each step, by the names in `outputs`.",
            )
        if self._names is not None and (strange := [name for name in given if name not in self._names]):
            raise PlantError(
                f"{where} returned {_list(strange)}, which it did not return before{about}",
                hint=f"{did_you_mean(strange[0], self._names)}Return the same names in each step.",
            )
        names = tuple(given) if self._names is None else self._names
        values = {name: self._value(name, given[name], where, about) for name in names}
        self._names = names
        return values

    def _value(self, name: str, value: Any, where: str, about: str) -> Any:
        if name in self._free and not isinstance(value, float | int):
            return value
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, str) or not math.isfinite(number):
            raise PlantError(
                f"{where} returned {value!r} as {name}{about}", hint="Return a finite number for each output."
            )
        return int(number) if isinstance(value, int) else number

    def state(self) -> Any:
        """Return a copy of the plant's state for `restore`; None for a function."""
        if callable(own := getattr(self.plant, "state", None)):
            return own()
        return copy.deepcopy(getattr(self.plant, "__dict__", None)) if hasattr(self.plant, "step") else None

    def restore(self, state: Any) -> None:
        """Return the plant to a `state` taken before."""
        if callable(own := getattr(self.plant, "restore", None)):
            own(state)
        elif state is not None:
            vars(self.plant).clear()
            vars(self.plant).update(copy.deepcopy(state))


def _failure(where: str, error: BaseException, inputs: Values | None = None) -> HilError:
    if isinstance(error, HilError) and not isinstance(error, PlantError):
        return error
    if isinstance(error, _MissingInput) and inputs is not None:
        name = str(error.args[0])
        return PlantError(
            f"{where} read the input {name!r}, which is not connected; {_given(inputs)}",
            hint=f"{did_you_mean(name, inputs)}Connect it by inputs={{{name!r}: ...}}, or read one of: "
            f"{_list(inputs) or 'none'}.",
        )
    text = f"{type(error).__name__}: {error}" if not isinstance(error, PlantError) else error.message
    given = "" if inputs is None else f"; {_given(inputs)}"
    hint = error.hint if isinstance(error, PlantError) else None
    return PlantError(f"{where} failed: {text}{given}", hint=hint)


def _given(inputs: Values) -> str:
    shown_inputs = [f"{name} = {value:g}" for name, value in list(inputs.items())[:SHOWN]]
    more = len(inputs) - len(shown_inputs)
    return f"inputs: {', '.join(shown_inputs) or 'none'}{f' and {more} more' if more else ''}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
