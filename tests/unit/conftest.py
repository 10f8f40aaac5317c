"""Set-up for all unit tests: the lines of `support` as fixtures, and no deadlines for hypothesis."""

from __future__ import annotations

import os

from hypothesis import settings
from support import fake_shell, tty_shell, wire

settings.register_profile("quick", deadline=None, database=None, max_examples=30)
settings.register_profile("all", deadline=None, database=None)
settings.load_profile(os.environ.get("HIL_TESTS", "quick"))  # the tier, as ./bootstrap test has it

# pytest runs within tests must not act as workers of this run
for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
    os.environ.pop(name, None)

__all__ = ["fake_shell", "tty_shell", "wire"]
