"""A slow host, simulated: a process gets only a share of the time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hil.errors import ConfigurationError, InfrastructureError

END_LIMIT = 10.0  # seconds for the thread to end; a period is far shorter


@contextmanager
def slowed(pid: int, share: float, *, period: float = 0.05) -> Iterator[None]:
    """Let the process `pid` run for `share` (0.05 to 0.95) of each `period` (0.01 to 1 s) within the block.

    Afterwards it runs again; if this process is killed, QEMU's keeper ends QEMU. Raises `ConfigurationError` for
    numbers out of range, `InfrastructureError` if the process does not exist.
    """
    if not 0.05 <= share <= 0.95 or not 0.01 <= period <= 1:
        raise ConfigurationError(
            f"cannot give a process {share:g} of each {period:g} s", hint="give a share of 0.05 to 0.95, 0.01 to 1 s"
        )
    try:
        process = os.pidfd_open(pid)  # identifies the process, also after its end
    except OSError as error:
        raise InfrastructureError(f"cannot slow process {pid} down: {error.strerror}") from error
    ended = threading.Event()

    def work() -> None:
        try:
            while not ended.is_set():
                signal.pidfd_send_signal(process, signal.SIGSTOP)
                ended.wait(period * (1 - share))
                signal.pidfd_send_signal(process, signal.SIGCONT)
                ended.wait(period * share)
        except ProcessLookupError:  # it has ended
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
