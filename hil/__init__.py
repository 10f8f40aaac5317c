"""Hardware-in-the-loop tests of WebAssembly on real-time partitioned systems: the names that tests import.

A name's module is imported when the name is first used, so that collecting tests stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from hil.board.board import Board
    from hil.board.boot_report import BootReport, StageTime
    from hil.board.lifecycle import BoardDown, BoardUp
    from hil.console.console import Console
    from hil.console.errors import LineClosed, LineTimeout
    from hil.errors import (
        BootError,
        ConfigurationError,
        Evidence,
        GuestError,
        HilError,
        HookError,
        InfrastructureError,
        MissingToolchain,
        PlantError,
        RunnerError,
    )
    from hil.faults.catalogue import Fault
    from hil.faults.injector import Injector
    from hil.faults.record import FaultRecord, Injection
    from hil.guest.guest import Guest
    from hil.guest.load import DISTRESS, LOADS
    from hil.guest.result import CommandTimeout, Result
    from hil.measure.boots import Boots, boots
    from hil.measure.bound import Bound
    from hil.measure.checking import BoundsNotKept
    from hil.measure.clock import Clock
    from hil.measure.decision import Check, Outcome
    from hil.measure.figures import maximum, mean, minimum, miss_count, misses, p50, p90, p99, p999, peak_to_peak, rms
    from hil.measure.jitter import cycle_to_cycle_jitter, interarrival_jitter, period_jitter, release_jitter
    from hil.measure.measure import Measure
    from hil.measure.parts import Parts
    from hil.measure.response import iae, overshoot, settling_time, steady_state_error
    from hil.measure.series import Series
    from hil.measure.soak_result import Soak
    from hil.measure.units import Amount, B, KiB, MiB, ms, ns, percent, ratio, s, us
    from hil.measure.worst_case import pwcet
    from hil.signals.can.bus import CanBus
    from hil.signals.can.frame import CanFrame
    from hil.signals.captures import read_vcd
    from hil.signals.edges import Edges
    from hil.signals.loop.fmu import Fmu
    from hil.signals.loop.loop import ConditionNotMet, Loop
    from hil.signals.loop.result import LoopResult
    from hil.signals.loop.sampled import SampledSignal
    from hil.signals.pins import PinFault, Pins
    from hil.signals.signal_map import Analogue, Duty, Edge, Quadrature
    from hil.wasm.catalogue import sample_cases
    from hil.wasm.conformance import run_conformance, unknown_conformance_cases
    from hil.wasm.conformance_groups import conformance_groups
    from hil.wasm.execution import Execution
    from hil.wasm.loading import Loadable
    from hil.wasm.module import Module
    from hil.wasm.preopens import Preopen
    from hil.wasm.runner import Runner
    from hil.wasm.running import RunningModule
    from hil.wasm.samples import Samples
    from hil.wasm.verdict import Verdict, exited, failed, faulted, no_agent, silent, stuck
else:
    __getattr__ = lazy_names(__name__)

__all__ = [
    "Board",
    "Console",
    "Execution",
    "Guest",
    "Module",
    "Preopen",
    "Runner",
    "RunningModule",
    "Samples",
    "boots",
    "sample_cases",
]
__all__ += ["BoardDown", "BoardUp", "BootReport", "Boots", "Loadable", "Result", "StageTime", "Verdict"]
__all__ += ["CanBus", "CanFrame", "Edges", "PinFault", "Pins"]
__all__ += ["Fault", "FaultRecord", "Injection", "Injector"]
__all__ += ["BootError", "ConfigurationError", "Evidence", "GuestError", "HilError", "HookError"]
__all__ += ["InfrastructureError", "MissingToolchain", "RunnerError"]
__all__ += ["conformance_groups", "run_conformance", "unknown_conformance_cases"]
__all__ += ["BoundsNotKept", "CommandTimeout", "LineClosed", "LineTimeout"]
__all__ += ["exited", "failed", "faulted", "no_agent", "silent", "stuck"]
__all__ += ["DISTRESS", "LOADS", "Clock", "Measure", "Parts", "Series", "Soak", "pwcet", "read_vcd"]
__all__ += ["Amount", "Bound", "Check", "Outcome"]
__all__ += ["B", "KiB", "MiB", "ms", "ns", "percent", "ratio", "s", "us"]
__all__ += ["maximum", "mean", "minimum", "miss_count", "misses", "p50", "p90", "p99", "p999", "peak_to_peak", "rms"]
__all__ += ["Analogue", "ConditionNotMet", "Duty", "Edge", "Fmu", "Loop", "LoopResult", "PlantError", "Quadrature"]
__all__ += ["SampledSignal", "iae", "overshoot", "settling_time", "steady_state_error"]
__all__ += ["cycle_to_cycle_jitter", "interarrival_jitter", "period_jitter", "release_jitter"]


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
