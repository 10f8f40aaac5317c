"""Hardware-in-the-loop tests of WebAssembly on real-time partitioned systems: the names that tests import.

A name's module is imported when the name is first used, so that collecting tests stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from hil.board.board import Board
    from hil.console.console import Console
    from hil.console.errors import LineClosed, LineTimeout
    from hil.errors import BootError, ConfigurationError, GuestError, HilError, InfrastructureError, RunnerError
    from hil.guest.guest import Guest
    from hil.guest.load import DISTRESS, LOADS
    from hil.guest.shell import CommandTimeout
    from hil.measure.boots import boots
    from hil.measure.checking import BoundsNotKept
    from hil.measure.clock import Clock
    from hil.measure.figures import maximum, mean, minimum, miss_count, misses, p50, p90, p99, p999, peak_to_peak, rms
    from hil.measure.jitter import cycle_to_cycle_jitter, interarrival_jitter, period_jitter, release_jitter
    from hil.measure.measure import Measure
    from hil.measure.series import Series
    from hil.measure.units import B, KiB, MiB, ms, ns, percent, ratio, s, us
    from hil.measure.worst_case import pwcet
    from hil.signals.captures import read_vcd
    from hil.wasm.catalogue import sample_cases
    from hil.wasm.module import Module
    from hil.wasm.runner import Execution, Runner
    from hil.wasm.samples import Samples
    from hil.wasm.verdict import exited, failed, faulted, no_agent, silent, stuck
else:
    __getattr__ = lazy_names(
        __name__,
        {
            "hil.errors": "BootError ConfigurationError GuestError HilError InfrastructureError RunnerError",
            "hil.console.console": "Console",
            "hil.console.errors": "LineClosed LineTimeout",
            "hil.board.board": "Board",
            "hil.guest.guest": "Guest",
            "hil.guest.load": "DISTRESS LOADS",
            "hil.guest.shell": "CommandTimeout",
            "hil.wasm.module": "Module",
            "hil.wasm.runner": "Execution Runner",
            "hil.wasm.catalogue": "sample_cases",
            "hil.wasm.samples": "Samples",
            "hil.wasm.verdict": "exited failed faulted no_agent silent stuck",
            "hil.measure.boots": "boots",
            "hil.measure.checking": "BoundsNotKept",
            "hil.measure.clock": "Clock",
            "hil.measure.figures": "maximum mean minimum miss_count misses p50 p90 p99 p999 peak_to_peak rms",
            "hil.measure.jitter": "cycle_to_cycle_jitter interarrival_jitter period_jitter release_jitter",
            "hil.measure.measure": "Measure",
            "hil.measure.series": "Series",
            "hil.measure.units": "B KiB MiB ms ns percent ratio s us",
            "hil.measure.worst_case": "pwcet",
            "hil.signals.captures": "read_vcd",
        },
    )

__all__ = [
    "DISTRESS",
    "LOADS",
    "B",
    "Board",
    "BootError",
    "BoundsNotKept",
    "Clock",
    "CommandTimeout",
    "ConfigurationError",
    "Console",
    "Execution",
    "Guest",
    "GuestError",
    "HilError",
    "InfrastructureError",
    "KiB",
    "LineClosed",
    "LineTimeout",
    "Measure",
    "MiB",
    "Module",
    "Runner",
    "RunnerError",
    "Samples",
    "Series",
    "boots",
    "cycle_to_cycle_jitter",
    "exited",
    "failed",
    "faulted",
    "interarrival_jitter",
    "maximum",
    "mean",
    "minimum",
    "miss_count",
    "misses",
    "ms",
    "no_agent",
    "ns",
    "p50",
    "p90",
    "p99",
    "p999",
    "peak_to_peak",
    "percent",
    "period_jitter",
    "pwcet",
    "ratio",
    "read_vcd",
    "release_jitter",
    "rms",
    "s",
    "sample_cases",
    "silent",
    "stuck",
    "us",
]


def __dir__() -> list[str]:
    """Return the public names."""
    return __all__
