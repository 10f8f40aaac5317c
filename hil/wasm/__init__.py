"""WebAssembly modules, their deployment through the guest's agent, and the verdicts."""

from typing import TYPE_CHECKING

from hil.lazy import lazy_names
from hil.wasm.module import Module
from hil.wasm.verdict import (
    Exited,
    Failed,
    Faulted,
    NoAgent,
    Silent,
    Stuck,
    Verdict,
    exited,
    failed,
    faulted,
    no_agent,
    silent,
    stuck,
)

if TYPE_CHECKING:
    from hil.wasm.runner import Execution, Runner
    from hil.wasm.samples import Case, Sample, Samples
else:
    __getattr__ = lazy_names(
        __name__, {"hil.wasm.runner": "Execution Runner", "hil.wasm.samples": "Case Sample Samples"}
    )

__all__ = [
    "Case",
    "Execution",
    "Exited",
    "Failed",
    "Faulted",
    "Module",
    "NoAgent",
    "Runner",
    "Sample",
    "Samples",
    "Silent",
    "Stuck",
    "Verdict",
    "exited",
    "failed",
    "faulted",
    "no_agent",
    "silent",
    "stuck",
]
