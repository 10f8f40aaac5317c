"""A board's power switch: how it was left, whether it is still so, and a limit on the wait for it."""

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
from hil.errors import InfrastructureError

LIMIT = 60.0  # seconds; some switches take their time
ASK_LIMIT = 10.0


class Switch:
    """What is known of the power that labgrid's driver `power` switches, whoever has it do so; to be closed."""

    def __init__(self, power: Any) -> None:
        self._power = power
        self._on = False
        steps.subscribe(self._hear)

    def close(self) -> None:
        steps.unsubscribe(self._hear)

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
        except InfrastructureError as error:  # ours, of the limit
            return error.message
        except Exception as error:
            return f"its power switch does not tell: {error}"
        return "" if on else "its power is off, and was not switched off here"


@contextmanager
def in_time(power: Any, limit: float = LIMIT) -> Iterator[None]:
    """Bound what is done with labgrid's driver `power`, which itself may wait for a dead switch for ever.

    Raises `InfrastructureError` after `limit` seconds; by a signal, so in the main thread alone. A human who switches
    by hand may take longer, and so may a machine of this process, whose image may have to be built.
    """
    unbounded = isinstance(power, (ManualPowerDriver, MachineDriver))
    left, interval = signal.getitimer(signal.ITIMER_REAL)  # of a test's time limit, say
    if unbounded or 0 < left < limit or threading.current_thread() is not threading.main_thread():
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
