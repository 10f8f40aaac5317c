"""The set-up for all tests."""

import os
import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "unit"))  # integration tests share its helpers

# a background job of a script, as in some CI systems, ignores SIGINT, and under nohup SIGHUP, and hands that down to the
# processes that tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# the runs of pytest that tests start leave out two plugins, of which each start would take two seconds: hypothesis's, as
# the project's own runs do, and labgrid's, which the tests that need it keep by `WITH_LABGRID` (limits.py)
os.environ["PYTEST_ADDOPTS"] = "-p no:hypothesispytest -p no:labgrid"
