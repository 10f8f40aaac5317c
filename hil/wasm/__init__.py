"""WebAssembly modules, their deployment through the guest's agent, and the verdict."""

from hil.wasm.module import Module
from hil.wasm.runner import Execution, Runner
from hil.wasm.samples import Case, Sample, Samples
from hil.wasm.verdict import Exited, Failed, Faulted, NoAgent, Silent, Stuck, Verdict

exited, failed, faulted, silent, stuck, no_agent = Exited, Failed, Faulted, Silent, Stuck, NoAgent

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
