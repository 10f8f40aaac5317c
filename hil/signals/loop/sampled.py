"""Signals that are sampled at known times, such as those of a plant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hil.measure.series import Series


@dataclass(frozen=True, eq=False)
class SampledSignal(Series):
    """A signal over time, which is a series: `signal.check(maximum <= 80 * ratio)`.

    `subject` is its name. `times` are in seconds since `start_ns` on the clock of the wires. The samples are plain
    numbers; `physical_unit` is the name of their unit for people, such as `"°C"`.
    """

    start_ns: int = 0

    @property
    def name(self) -> str:
        return self.subject

    def at(self, seconds: float) -> float:
        """Return the last sample at or before a time in seconds since the start, the first one before that."""
        import numpy as np

        times: Any = self.times
        return float(self.samples[max(int(np.searchsorted(times, seconds, side="right")) - 1, 0)])
