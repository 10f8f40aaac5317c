"""Stimuli for an input of the partition: the check of their levels and times."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean
from hil.signals.edges import Levels, Ticks


def checked(
    pin: str, levels: Sequence[int], times_ns: Sequence[int], present_ns: int, *, after_now: bool = False
) -> tuple[Levels, Ticks]:
    """Return levels and times as arrays; times are counted from zero, or from `present_ns` with `after_now`.

    Raises `ConfigurationError` for a level that is not 0 or 1, and for times that are over or that descend.
    """
    values, times = np.asarray(levels), np.asarray(times_ns, dtype=np.int64)
    if not np.isin(values, (0, 1)).all():
        bad = values[~np.isin(values, (0, 1))][0]
        raise ConfigurationError(f"the level {bad!r} for pin {pin} is not 0 or 1")
    if len(values) != len(times):
        raise ConfigurationError(f"{len(values)} levels for pin {pin} have {len(times)} times")
    check_times(pin, times, present_ns, after_now=after_now)
    return values.astype(np.uint8), times


def check_times(pin: str, times: Ticks, present_ns: int, *, after_now: bool = False) -> None:
    """Raise `ConfigurationError` for times, as in `checked`, that are over or that descend."""
    first = 0 if after_now else present_ns
    if len(times) and (times[0] < first or (np.diff(times) < 0).any()):
        wrong = times[0] if times[0] < first else times[1:][np.diff(times) < 0][0]
        raise ConfigurationError(
            f"pin {pin} cannot change at {wrong / 1e9:.9f} s: the wires are at {present_ns / 1e9:.9f} s, and times "
            "must ascend",
            hint="Give a time from pins.now on, such as at=pins.now + 5 * ms.",
        )


def unknown_pin(board: str, pin: str, names: Collection[str]) -> ConfigurationError:
    """Return the error for a pin that is not among `names`."""
    return ConfigurationError(
        f"board {board} has no pin {pin!r}",
        hint=f"{did_you_mean(pin, names)}The pins are: {', '.join(names) or 'none'}.",
    )


def driven_output(pin: str, inputs: Collection[str]) -> ConfigurationError:
    """Return the error for a level to an output of the partition."""
    return ConfigurationError(
        f"pin {pin} is an output of the partition and cannot be driven",
        hint=f"Drive one of {', '.join(inputs) or 'the inputs, of which there are none'}.",
    )
