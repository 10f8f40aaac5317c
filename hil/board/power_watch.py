"""The power switch of a board: time limits for switching, and detection of power that was lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from labgrid.driver import ManualPowerDriver
from labgrid.step import StepEvent, steps

from hil.board.machine import MachineDriver
from hil.board.seam import guarded
from hil.errors import InfrastructureError

LIMIT = 60.0  # seconds; some switches are slow
READ_LIMIT = 10.0  # seconds
SWITCHING = ("on", "off", "cycle", "reset", "get")


class Switch:
    """The observer of labgrid's driver `power`, whoever uses it.

    The driver's `on`, `off` and `cycle` must be steps of labgrid (`@step()`): by them it is seen who switches. `get`
    returns whether there is power or raises `NotImplementedError`; without it lost power is not detected. Until
    `close`, these methods have a time limit and raise our errors, see `in_time`.
    """

    def __init__(self, power: Any) -> None:
        self._power = power
        self._on = False
        for name in () if isinstance(power, MachineDriver) else SWITCHING:
            if hasattr(power, name):
                setattr(power, name, in_time(power)(getattr(power, name)))
        steps.subscribe(self._note)

    def close(self) -> None:
        steps.unsubscribe(self._note)
        for name in SWITCHING:
            vars(self._power).pop(name, None)

    def _note(self, event: StepEvent) -> None:
        if event.step.source is self._power and event.step.title in ("on", "off", "cycle"):
            state = event.data.get("state")
            self._on = state == "stop" and event.step.title != "off" and "exception" not in event.data

    def trouble(self) -> str:
        """Read the switch and return why a board that was switched on here has no power.

        Empty if it has, if the switch cannot be read, and for a machine of this process, which reports its own end.
        """
        if not self._on or isinstance(self._power, MachineDriver) or not hasattr(self._power, "get"):
            return ""
        try:
            with in_time(self._power, READ_LIMIT):
                on = self._power.get()
        except NotImplementedError:
            return ""
        except InfrastructureError as error:
            return error.message
        return "" if on else "its power is off, and was not switched off here"


@contextmanager
def in_time(power: Any, limit: float = LIMIT) -> Iterator[None]:
    """Limit the block, which uses labgrid's driver `power`, to `limit` seconds: a dead switch may hang for ever.

    Raises `InfrastructureError` then, by a signal and so in the main thread only, and for all errors of the driver.
    There is no limit for a human who switches by hand, nor for a machine of this process: its image may have to be
    built, and it raises our errors.
    """
    if isinstance(power, MachineDriver):
        yield
        return
    with guarded(
        "its power switch failed", "check that the switch is reachable and that its entry in the board file is right"
    ):
        if isinstance(power, ManualPowerDriver):
            yield
        else:
            with _alarm(limit):
                yield


@contextmanager
def _alarm(limit: float) -> Iterator[None]:
    left, interval = signal.getitimer(signal.ITIMER_REAL)  # perhaps of a test's time limit
    if 0 < left < limit or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise InfrastructureError(
            f"its power switch did not answer in {limit:g} s", hint="check that this host can reach the switch"
        )

    begun = time.monotonic()
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - begun)) if left else 0.0, interval)
        signal.signal(signal.SIGALRM, before)
