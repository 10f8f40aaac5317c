"""The errors of a console's waits."""

from __future__ import annotations

import pexpect

from hil.errors import HilError, InfrastructureError


class LineTimeout(HilError):
    """The expected bytes did not arrive in time."""

    origin = "image"


class LineClosed(InfrastructureError):
    """The other end of the line is closed."""


class ExpectTimeout(LineTimeout, pexpect.TIMEOUT):  # type: ignore[misc]
    """`LineTimeout` of a pexpect call."""


class ExpectClosed(LineClosed, pexpect.EOF):  # type: ignore[misc]
    """`LineClosed` of a pexpect call."""
