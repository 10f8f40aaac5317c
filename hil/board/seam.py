"""The seam to labgrid: what its drivers raise becomes an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import CalledProcessError

from hil.console.lines import printable
from hil.errors import HilError, InfrastructureError


@contextmanager
def guarded(what: str, hint: str | None = None) -> Iterator[None]:
    """Convert what labgrid's drivers raise into an `InfrastructureError` of `what`, but for `NotImplementedError`."""
    try:
        yield
    except (HilError, NotImplementedError):
        raise
    except Exception as error:
        raise InfrastructureError(f"{what}: {described(error)}", hint=hint) from error


def described(error: Exception) -> str:
    """Return the class and the message of an exception of labgrid's, and the last line of a command that failed."""
    message = str(getattr(error, "msg", error))  # labgrid's print as a tuple of all they have
    if isinstance(error, CalledProcessError) and error.output:
        output = error.output if isinstance(error.output, bytes) else error.output.encode("utf-8", "surrogateescape")
        if lines := output.strip().splitlines():
            message += f"; its output: {printable(lines[-1])}"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
