"""The seam to labgrid: exceptions of its drivers as our errors, and our work as steps on its bus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CalledProcessError

from labgrid.step import steps

from hil.console.lines import printable
from hil.errors import HilError, InfrastructureError
from hil.text import without_credentials


@contextmanager
def guarded(failure: str, hint: str | None = None) -> Iterator[None]:
    """Convert exceptions of labgrid's drivers, except NotImplementedError, into `InfrastructureError`: `failure`."""
    try:
        yield
    except (HilError, NotImplementedError):
        raise
    except Exception as error:
        # a cause that holds a login would be printed with the failure
        cause = error if without_credentials(str(error)) == str(error) else None
        raise InfrastructureError(f"{failure}: {described(error)}", hint=hint) from cause


@contextmanager
def step_on_bus(title: str, tag: str, source: object) -> Iterator[None]:
    """Report the block as a step on labgrid's bus."""
    step = steps.get_new(title, tag, source, (__file__, "seam.py", 0))
    step.start()
    try:
        yield
    except BaseException as error:
        step.exception = error
        raise
    finally:
        step.stop()


def described(error: Exception) -> str:
    """Return class and message of an exception, with the last output of a command that failed, without credentials."""
    message = str(getattr(error, "msg", error))  # str() of labgrid's is the tuple of their attributes
    if isinstance(error, CalledProcessError) and error.output:
        output = error.output if isinstance(error.output, bytes) else error.output.encode("utf-8", "surrogateescape")
        if lines := output.strip().splitlines():
            message += f"; its output: {printable(lines[-1])}"
    message = without_credentials(message)
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
