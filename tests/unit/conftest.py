"""What all unit tests share: the lines of `support` as fixtures, and patience on a busy machine."""

from __future__ import annotations

from hypothesis import settings
from support import fake_shell, tty_shell, wire

settings.register_profile("unit", deadline=None, database=None)
settings.load_profile("unit")

__all__ = ["fake_shell", "tty_shell", "wire"]
