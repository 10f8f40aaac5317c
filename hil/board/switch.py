"""A board's power switch: how it was left, whether it is still so, and a limit on the wait for it."""

from __future__ import annotations

import functools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from labgrid.driver import ManualPowerDriver
from labgrid.step import StepEvent, steps

from hil.board.machine import MachineDriver
from hil.board.seam import guarded
from hil.errors import InfrastructureError

LIMIT = 60.0  # seconds; some switches take their time
ASK_LIMIT = 10.0
SWITCHING = ("on", "off", "cycle", "reset", "get")


class Switch:
    """What is known of the power that labgrid's driver `power` switches, whoever has it do so; to be closed.

    Until then each switching is bounded, and its errors are ours, see `in_time`.
    """

    def __init__(self, power: Any) -> None:
        self._power = power
        self._on = False
        for name in () if isinstance(power, MachineDriver) else SWITCHING:
            if hasattr(power, name):
                setattr(power, name, _bounded(power, getattr(power, name)))
        steps.subscribe(self._hear)

    def close(self) -> None:
        steps.unsubscribe(self._hear)
        for name in SWITCHING:
            vars(self._power).pop(name, None)

    def _hear(self, event: StepEvent) -> None:
        if event.step.source is self._power and event.step.title in ("on", "off", "cycle"):
            state = event.data.get("state")
            self._on = state == "stop" and event.step.title != "off" and "exception" not in event.data

    def trouble(self) -> str:
        """What is wrong with the power of a board that was switched on here, asked now.

        Empty where nothing is, where the switch cannot tell, and for a machine of this process, which tells by itself.
        """
        if not self._on or isinstance(self._power, MachineDriver) or not hasattr(self._power, "get"):
            return ""
        try:
            with in_time(self._power, ASK_LIMIT):
                on = self._power.get()
        except NotImplementedError:
            return ""
        except InfrastructureError as error:
            return error.message
        return "" if on else "its power is off, and was not switched off here"


@contextmanager
def in_time(power: Any, limit: float = LIMIT) -> Iterator[None]:
    """Bound what is done with labgrid's driver `power`, which itself may wait for a dead switch for ever.

    Raises `InfrastructureError` after `limit` seconds; by a signal, so in the main thread alone. A human who switches
    by hand may take longer, and so may a machine of this process, whose image may have to be built, and whose errors
    are ours already. Of all others' errors an `InfrastructureError` is made.
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


def _bounded(power: Any, method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*arguments: Any, **options: Any) -> Any:
        with in_time(power):
            return method(*arguments, **options)

    return call


@contextmanager
def _alarm(limit: float) -> Iterator[None]:
    left, interval = signal.getitimer(signal.ITIMER_REAL)  # of a test's time limit, say
    if 0 < left < limit or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: object) -> None:
        raise InfrastructureError(
            f"its power switch did not answer in {limit:g} s", hint="can the switch be reached from here?"
        )

    begun = time.monotonic()
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - begun)) if left else 0.0, interval)
        signal.signal(signal.SIGALRM, before)
