"""The wording of errors in a night's summary."""

from __future__ import annotations

from hil.errors import HilError


def error_text(error: Exception) -> str:
    """Return the error's message; for an error of another library with its class."""
    return error.message if isinstance(error, HilError) else f"{type(error).__name__}: {error}"
