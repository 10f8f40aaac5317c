"""A host that is slow: a process that gets a share of the time only, and all of it again at the end."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hil.errors import ConfigurationError, InfrastructureError

END_LIMIT = 10.0  # seconds for the thread to end; a period is far shorter


@contextmanager
def slowed(pid: int, share: float, *, period: float = 0.05) -> Iterator[None]:
    """Let the process `pid` run for `share` (0.05 to 0.95) of each `period` (0.01 to 1 s) while entered.

    It runs again at the end however that comes; where this process is killed, QEMU's keeper ends QEMU.
    Raises `ConfigurationError` for numbers out of range, `InfrastructureError` where there is no such process.
    """
    if not 0.05 <= share <= 0.95 or not 0.01 <= period <= 1:
        raise ConfigurationError(
            f"cannot give a process {share:g} of each {period:g} s", hint="give a share of 0.05 to 0.95, 0.01 to 1 s"
        )
    try:
        process = os.pidfd_open(pid)  # no other can take its number
    except OSError as error:
        raise InfrastructureError(f"there is no process {pid} to slow down: {error.strerror}") from error
    ended = threading.Event()

    def work() -> None:
        try:
            while not ended.is_set():
                signal.pidfd_send_signal(process, signal.SIGSTOP)
                ended.wait(period * (1 - share))
                signal.pidfd_send_signal(process, signal.SIGCONT)
                ended.wait(period * share)
        except ProcessLookupError:  # it is gone
            pass

    thread = threading.Thread(target=work, name="hil-slow-host", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(END_LIMIT)
        try:
            signal.pidfd_send_signal(process, signal.SIGCONT)
        except ProcessLookupError:
            pass
        os.close(process)


class Later:
    """Does something `seconds` after it is entered, in a thread; leaving waits for it.

    What it raised is raised when it is left. `early` says whether it was done before the block had ended.
    """

    def __init__(self, seconds: float, act: Callable[[], object], *, limit: float = 90.0) -> None:
        self._seconds, self._act, self._limit = seconds, act, limit
        self._error: BaseException | None = None
        self._left = threading.Event()
        self.early = False
        self._thread = threading.Thread(target=self._work, name="hil-fault", daemon=True)

    def _work(self) -> None:
        time.sleep(self._seconds)
        self.early = not self._left.is_set()
        try:
            self._act()
        except BaseException as error:  # it belongs to who waits
            self._error = error

    def __enter__(self) -> Later:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(self._seconds + self._limit)
        if self._thread.is_alive():
            raise InfrastructureError(f"a fault was not made in {self._limit:g} s")
        if self._error is not None:
            raise self._error
