"""WebAssembly modules, their deployment through the guest's agent, and the verdicts."""

from typing import TYPE_CHECKING

from hil.lazy import lazy_names

if TYPE_CHECKING:
    from hil.wasm.execution import Execution
    from hil.wasm.module import Module
    from hil.wasm.runner import Runner
    from hil.wasm.samples import Samples
else:
    __getattr__ = lazy_names(__name__)

__all__ = ["Execution", "Module", "Runner", "Samples"]
