"""One deployment of a module, with what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hil.console.lines import split_lines
from hil.errors import RunnerError
from hil.wasm.guest_files import NONE, Outputs
from hil.wasm.module import Module, call_of
from hil.wasm.reading import Reading

DEFAULT_LIMIT = 30.0  # seconds for a module to run


@dataclass(frozen=True, kw_only=True)
class Execution(Reading):
    """One deployment of a module, and the `Reading` of what it wrote.

    `request_ns` and `answer_ns` are host monotonic stamps of the agent's start and end on the line; `start` and `end`
    are offsets in the transcript. `restored` is the reason for which the board was made fresh before, None if it was
    not. `stopped` is true if `RunningModule` has ended it with ^C: its verdict is then no failure of the module.
    `pins` are the names of the pins, analogue channels and buses that the module could use, `env` its variables,
    `directories` the paths of its directories, with `:rw` if they were writable. `outputs` are the files that it left,
    which `files` returns.
    """

    module: Module
    arguments: tuple[str, ...]
    agent_status: int | None
    request_ns: int
    answer_ns: int
    transcript: Path
    start: int
    end: int
    restored: str | None = None
    stopped: bool = False
    pins: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    directories: tuple[str, ...] = ()
    outputs: Outputs = field(default=NONE, repr=False, compare=False)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files that the module left in its writable directories, by the path that it has for them.

        Raises `RunnerError` if they did not come back.
        """
        if self.outputs.problem:
            raise RunnerError(
                f"the files of {self.call} did not come back: {self.outputs.problem}",
                hint="Let the module write less, or check its verdict.",
            )
        return self.outputs.files

    @property
    def text(self) -> str:
        return self.output.decode("utf-8", "replace")

    @property
    def lines(self) -> list[str]:
        """The lines of the output without line ends."""
        return split_lines(self.text)

    @property
    def good(self) -> bool:
        """Whether the module exited with 0 and its output is not garbled."""
        return self.verdict.good and self.intact is not False

    @property
    def aot(self) -> bool:
        """Whether the module was compiled ahead of time."""
        return self.module.native is not None

    @property
    def call(self) -> str:
        """The module and its arguments on one line."""
        return call_of(self.module, self.arguments)

    @property
    def shown(self) -> str:
        """The call, with a mark for a compiled module."""
        return f"{self.call} (aot)" if self.aot else self.call

    def __str__(self) -> str:
        stopped = " (stopped by the test)" if self.stopped else ""
        state = {True: "", None: ", output without a seal", False: ", output GARBLED on the line"}[self.intact]
        tail = "".join(f"\n  | {line}" for line in self.diagnostics[-5:])
        restored = f"\n  | {self.restored}" if self.restored else ""
        return f"{self.shown}: {self.verdict}{stopped}, {len(self.output)} bytes{state}{restored}{tail}"
