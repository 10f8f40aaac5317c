"""What holds for all tests."""

import signal
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "unit"))  # tests of integration use what the unit tests share, too

# a script's background job, as some CI systems make of a run, ignores SIGINT, and under nohup SIGHUP, and so would all
# that tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
