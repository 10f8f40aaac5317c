"""What all unit tests share: the lines of `support` as fixtures, and patience on a busy machine."""

from __future__ import annotations

import os

from hypothesis import settings
from support import fake_shell, tty_shell, wire

settings.register_profile("unit", deadline=None, database=None)
settings.load_profile("unit")

# runs inside of tests are no workers of the run that we may be a worker of
for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
    os.environ.pop(name, None)

__all__ = ["fake_shell", "tty_shell", "wire"]
