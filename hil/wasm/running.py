"""A module that runs while the test goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import EllipsisType, TracebackType

from hil.console.lines import split_lines
from hil.errors import ConfigurationError, HilError, RunnerError
from hil.guest.foreground import Foreground
from hil.guest.result import CommandTimeout, Result
from hil.text import printable_line
from hil.wasm.execution import Execution
from hil.wasm.module import Module

READY_LIMIT = 20.0  # seconds for a module to be ready; its transfer to the runner is part of it


def ready_text(module: Module, ready: str | EllipsisType | None) -> str | None:
    """Return `ready`, for `...` that of the module. Raises `ConfigurationError` for what begins no line."""
    text = module.ready if isinstance(ready, EllipsisType) else ready
    if text is not None and (not isinstance(text, str) or not text or set(text) & set("\r\n")):
        raise ConfigurationError(
            f"ready is {text!r}, which begins no line of the output of {printable_line(module.name)}",
            hint="Give the beginning of a line as text, without line ends, or None.",
        )
    return text


class RunningModule:
    """A module that runs in the foreground of the guest's shell, from `Runner.start` on.

    As a context manager it stops the module at the end of the block, unless the module has ended. Until then all else
    that needs the guest's shell raises `ConfigurationError`.

    `execution` is None until the end of the module is noticed, by `wait`, `stop`, `running` or the end of the block.
    """

    def __init__(
        self,
        call: str,
        foreground: Foreground,
        output: Callable[[bytes], bytes | None],
        conclude: Callable[[Result | CommandTimeout, bool], Execution],
        before_stop: Callable[[], None],
    ) -> None:
        self.call = call
        self.execution: Execution | None = None
        self._foreground = foreground
        self._output = output
        self._conclude = conclude
        self._before_stop = before_stop
        self._failed: HilError | None = None
        self._searched = 0

    @property
    def output(self) -> bytes:
        """The module's output so far, its last line perhaps incomplete; lets no virtual time pass."""
        if self.running or self.execution is None:
            return self._output(self._foreground.received()) or b""
        return self.execution.output

    @property
    def lines(self) -> list[str]:
        """The lines of `output` without line ends."""
        return split_lines(self.output.decode("utf-8", "replace"))

    @property
    def running(self) -> bool:
        """Whether the module has not ended yet, as far as the line has shown; false if the line has ended."""
        if self.execution is not None or self._failed is not None:
            return False
        try:
            return not self._poll()
        except HilError:
            return False  # the test learns of it by wait, stop or the end of the block

    def wait(self, timeout: float | None = None) -> Execution:
        """Wait until the module ends by itself, and return its execution; lets virtual time pass.

        After its time limit, and a reserve for the agent, the module is stuck and is interrupted. Raises `RunnerError`
        if it still runs after `timeout` seconds, `LineClosed` if the line ends, otherwise as `Guest.run`.
        """
        if self.execution is not None:
            return self.execution
        with self._noting_failure():
            if timeout is None or timeout >= self._foreground.left:
                try:
                    return self._end(self._foreground.result())
                except CommandTimeout as error:
                    return self._end(error)
            result = self._foreground.wait(max(0.0, timeout))
        if result is None:
            raise RunnerError(
                f"{self.call} did not end in {timeout:g} s and still runs",
                hint="Give a longer timeout, or end it with stop().",
                evidence=self._foreground.console.evidence(),
            )
        return self._end(result)

    def stop(self) -> Execution:
        """Stop the module with ^C and return its execution; one that has ended by itself keeps its verdict.

        The runner's report of the abort is the verdict, `failed(aborted)` on the reference image. A module that does
        not stop in 10 seconds is stuck, and the next test gets a fresh board. Raises `LineClosed` if the line has
        ended, otherwise as `Guest.run`.
        """
        try:
            if self.running:
                self._before_stop()
        finally:
            execution = self._interrupt()
        return execution

    def close(self) -> None:
        """Stop the module if it still runs and the line exists."""
        if self.running and not self._foreground.console.ended:
            self._interrupt()

    def await_ready(self, text: str | None) -> str:
        """Wait for a line of output that begins with `text`, for None until the runner executes the module.

        Returns the problem, with the module stopped, if that does not come within `READY_LIMIT`; else nothing.
        """
        foreground = self._foreground
        expected = f"printed a line that begins with {text!r}" if text else "been executed"
        with self._noting_failure():
            deadline = foreground.console.now + READY_LIMIT
            while True:
                ended = self._poll()  # reads, too: what it has read is to be examined before the wait for more
                if self._ready(text):
                    return ""
                if ended:
                    return f"ended before it had {expected}"
                left = deadline - foreground.console.now
                if left <= 0 or not foreground.more(left):
                    self._interrupt()
                    return f"has not {expected} in {READY_LIMIT:g} s"

    def _ready(self, text: str | None) -> bool:
        if text is not None:
            received, begin = self._foreground.text, self._searched
            self._searched = max(0, len(received) - len(text.encode()))
            if received.find(text.encode(), begin) < 0:
                return False  # reading the whole output takes longer
        output = self._output(self._foreground.received())
        if text is None or output is None:
            return output is not None
        whole = output[: output.rfind(b"\n") + 1].decode("utf-8", "replace")
        return any(line.startswith(text) for line in split_lines(whole))

    def _poll(self) -> bool:
        """Return whether the module has ended; lets no virtual time pass."""
        result = self._foreground.poll()
        if result is not None:
            self._end(result)
        return result is not None

    def _interrupt(self) -> Execution:
        if self.execution is not None:
            return self.execution
        with self._noting_failure():
            try:
                result = self._foreground.poll()
                return self._end(result or self._foreground.interrupt(), stopped=result is None)
            except CommandTimeout as error:
                return self._end(error, stopped=True)

    def _end(self, result: Result | CommandTimeout, *, stopped: bool = False) -> Execution:
        if self.execution is None:
            self.execution = self._conclude(result, stopped)
        return self.execution

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Keep the error that leaves the module's end unknown: all later calls raise it again."""
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except HilError as error:
            self._failed = error
            raise

    def __enter__(self) -> RunningModule:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.execution is not None or self._failed is not None or self._foreground.console.closed:
            return  # a test that switches the board off ends the module
        if error is None:
            self.stop()
            return
        try:
            self._interrupt()
        except HilError as problem:
            error.add_note(f"{self.call} was not stopped: {problem.message}")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {printable_line(self.call)}: {self.execution or 'running'}>"
