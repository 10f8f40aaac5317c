"""What is known of a board's power, and a limit on the wait for its switch."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterator

import pytest
from labgrid.step import step

from hil.board import power_watch
from hil.board.power_watch import Switch, in_time
from hil.errors import InfrastructureError


class Power:
    """A driver as labgrid's are; `says` is what its switch answers, or raises."""

    def __init__(self) -> None:
        self.says: bool | Exception = True

    @step()
    def on(self) -> None:
        if isinstance(self.says, Exception):
            raise self.says

    @step()
    def off(self) -> None: ...

    @step()
    def cycle(self) -> None:
        self.off()
        self.on()

    def get(self) -> bool:
        if isinstance(self.says, Exception):
            raise self.says
        return self.says


@pytest.fixture
def power() -> Power:
    return Power()


@pytest.fixture
def known(power: Power) -> Iterator[Switch]:
    made = Switch(power)
    yield made
    made.close()


@pytest.mark.parametrize("way", ["on", "cycle"])
def test_power_that_goes_by_itself_is_told(power: Power, known: Switch, way: str) -> None:
    getattr(power, way)()
    assert known.trouble() == ""
    power.says = False
    assert known.trouble() == "its power is off, and was not switched off here"
    power.off()
    assert known.trouble() == ""


def test_a_board_that_was_not_switched_on_here_is_not_asked(power: Power, known: Switch) -> None:
    power.says = OSError("no route")
    assert known.trouble() == ""
    with pytest.raises(InfrastructureError, match="no route"):
        power.on()
    Power().on()
    assert known.trouble() == ""


def test_the_login_of_a_switch_is_in_no_failure(power: Power, known: Switch) -> None:
    power.says = OSError("url: /tgi/control.tgi?l=p:admin:admin&p=1uuu (Caused by http://me:s3c@pdu.lab/x: refused)")
    with pytest.raises(InfrastructureError) as caught:
        power.on()
    shown = "".join(traceback.format_exception(caught.value))
    assert "admin" not in shown
    assert "s3c" not in shown
    assert "/tgi/control.tgi?l=***&p=*** (Caused by http://***@pdu.lab/x: refused)" in caught.value.message


def test_a_switch_that_is_dead_is_told_and_one_that_cannot_tell_is_not(power: Power, known: Switch) -> None:
    power.on()
    power.says = OSError("no route")
    assert known.trouble() == "its power switch failed: OSError: no route"
    power.says = NotImplementedError()
    assert known.trouble() == ""


def test_a_switch_that_does_not_answer_is_not_waited_for(
    power: Power, known: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power_watch, "READ_LIMIT", 0.1)
    monkeypatch.setattr(power, "get", lambda: os.read(os.pipe()[0], 1))
    power.on()
    assert known.trouble() == "its power switch did not answer in 0.1 s"


def test_the_limit_leaves_another_s_alarm_alone(power: Power) -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 100)
        with pytest.raises(InfrastructureError, match=r"did not answer in 0\.1 s"), in_time(power, 0.1):
            time.sleep(5)
        left = signal.getitimer(signal.ITIMER_REAL)[0]
        assert 90 < left < 100
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with in_time(power, 5):
            time.sleep(0.2)
        assert rung == [signal.SIGALRM], "a nearer one of a test's goes first"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
