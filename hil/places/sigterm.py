"""SIGTERM while a place is acquired: it ends the process as Ctrl-C does, so that the place is released."""

from __future__ import annotations

import signal
import threading

_users = 0  # acquired places, and waits for one


def catch() -> None:
    """Make SIGTERM raise `KeyboardInterrupt` until `release` is called as often."""
    _count(1)


def release() -> None:
    """Undo one `catch`."""
    _count(-1)


def _count(change: int) -> None:
    global _users  # noqa: PLW0603
    if threading.current_thread() is not threading.main_thread():
        return
    _users += change
    handler = signal.getsignal(signal.SIGTERM)
    if _users and handler is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)
    elif not _users and handler is _interrupt:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt("SIGTERM")
