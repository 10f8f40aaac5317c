"""Executions for tests of what is made of them."""

from __future__ import annotations

from pathlib import Path

from hil.wasm import Execution, Module
from hil.wasm.verdict import Verdict, exited


def execution(
    verdict: Verdict | None = None,
    output: bytes = b"",
    intact: bool | None = True,
    *,
    name: str = "x.wasm",
    arguments: tuple[str, ...] = (),
) -> Execution:
    """Return the execution of a module `name`; by default it exited with 0."""
    return Execution(
        verdict=verdict or exited(0),
        output=output,
        intact=intact,
        module=Module.raw(name, b"\0asm"),
        arguments=arguments,
        agent_status=0,
        request_ns=0,
        answer_ns=1,
        transcript=Path("/t"),
        start=0,
        end=1,
    )
