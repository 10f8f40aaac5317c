"""The interruption of code that exceeds a limit of the host's time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Interrupted(BaseException):
    """Raised inside code that exceeds its limit; its `except Exception` does not catch this."""


class _Alarm(threading.local):
    armed = False


_alarm = _Alarm()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let `limited` interrupt code in this context; does nothing where it cannot.

    Only the main thread can be interrupted, and only if nothing else uses the alarm of the process. Code outside Python
    is not interrupted.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getitimer(signal.ITIMER_REAL)[0] or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise Interrupted

    signal.signal(signal.SIGALRM, ring)
    _alarm.armed = True
    try:
        yield
    finally:
        _alarm.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


class limited:
    """A context that raises `Interrupted` after `seconds`, inside `interruptible`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        if _alarm.armed:
            signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def __exit__(self, *raised: object) -> None:
        if _alarm.armed:
            signal.setitimer(signal.ITIMER_REAL, 0)
