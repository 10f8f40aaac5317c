"""The wires between the bench and the partition, as everything above them uses them.

The emulator's wires and those of a real bench have this one interface.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from hil.measure.clock import Clock
from hil.signals.edges import Edges

INVERTED = 3
"""For `Wiring.force`: the inverse of the level that drives the wire at the begin."""


class Wiring(Protocol):
    """Pins and analogue channels by name, on one time axis in ns.

    `inputs` are the pins that the bench drives, `outputs` those that the partition drives, `observed` those whose edges
    have stamps. `clock` is the clock of all stamps. With `exact` time stands still between two calls: the wires are in
    lock step with virtual time. `link` is the time in seconds from a level of the partition until the bench can have
    answered it; 0 if it is less than the clock's uncertainty.

    All methods raise `ConfigurationError` for an unknown name and for a level to an output, `InfrastructureError` if
    the board is off.
    """

    @property
    def inputs(self) -> Sequence[str]: ...

    @property
    def outputs(self) -> Sequence[str]: ...

    @property
    def observed(self) -> Collection[str]: ...

    @property
    def link(self) -> float: ...

    @property
    def clock(self) -> Clock: ...

    @property
    def provenance(self) -> Mapping[str, str]: ...

    @property
    def exact(self) -> bool: ...

    def now_ns(self) -> int:
        """Return the present time of the wires."""

    def set_level(self, pin: str, level: int, at_ns: int | None = None) -> None:
        """Set the input `pin` to 0 or 1, now or at `at_ns`. Raises `ConfigurationError` for a time in the past."""

    def set_levels(self, pin: str, levels: Sequence[int], times_ns: Sequence[int], *, after_now: bool = False) -> None:
        """Set the input `pin` to each of `levels` at the ascending `times_ns`, which are counted from now or from zero.

        Raises as `set_level`.
        """

    def force(self, pin: str, level: int | None, *, at_ns: int | None = None, width_ns: int | None = None) -> None:
        """Force the wire of a pin to 0, 1 or `INVERTED`, whatever drives it, from now or from `at_ns` on.

        It ends after `width_ns`, or with the level None. Raises `ConfigurationError` for a time in the past.
        """

    def level(self, pin: str) -> int:
        """Return the present level of a pin, as the bench sees it."""

    def run_until(self, at_ns: int) -> None:
        """Let time pass until `at_ns`; return at once if it is over."""

    def wait_edge(self, pins: Collection[str], until_ns: int) -> bool:
        """Let time pass until the next edge of one of `pins`, until `until_ns` at most; return whether it came."""

    def edges(self, pin: str, since_ns: int = 0) -> Edges:
        """Return the level of `pin` just before `since_ns` and its edges from then on; ticks are ns."""

    def read_analogue(self, channel: str) -> int:
        """Return the raw value, 0 to 65535, of the analogue channel `channel`."""

    def reset(self) -> None:
        """End all faults, forget all levels for later, and set all driven inputs to 0."""

    def write_analogue(self, channel: str, raw: int) -> None:
        """Set the analogue input `channel` of the partition to `raw`, 0 to 65535."""

    def close(self) -> None:
        """Stop observing. The edges so far can still be read."""
