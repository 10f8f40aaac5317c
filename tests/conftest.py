"""What holds for all tests."""

import signal

# a script's background job, as some CI systems make of a run, ignores SIGINT, and under nohup SIGHUP, and so would all
# that tests start
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
