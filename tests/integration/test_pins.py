"""The wires between bench and partition, on the reference image: exact stimuli, storms, refusals, and a restored machine.

`test_module_pins.py` has what modules do with them.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

import pytest
from limits import HANG

from hil import Duty, Loop, Pins, maximum, ms, ns, s, us
from hil.board import qemu_driver
from hil.errors import ConfigurationError, RunnerError
from hil.qemu.lockstep import Refusal
from hil.signals.emulated import EmulatedWiring

pytestmark = [pytest.mark.board, pytest.mark.emulator]  # in virtual time with the fixture `pins`, else in real time

STORM = 100_000  # edges


def test_stimuli_are_exact_and_time_stands_still_between_two_calls(pins):
    begin = round(pins.now.value * 1e9)
    pins.drive("BUTTON", 1)
    pins.pulse("FAULT", 20 * us, at=pins.now + 5 * ms)
    pins.train("ENCODER_A", period=400 * ns, count=3, at=pins.now + 1 * ms)
    time.sleep(0.05)
    assert round(pins.now.value * 1e9) == begin
    assert (pins.level("BUTTON"), pins.level("FAULT")) == (1, 0)
    pins.advance(10 * ms)
    assert round(pins.now.value * 1e9) == begin + 10_000_000
    since = {pin: (pins[pin].ticks[1:] - begin).tolist() for pin in ("BUTTON", "FAULT", "ENCODER_A")}
    assert since == {
        "BUTTON": [0],
        "FAULT": [5_000_000, 5_020_000],
        "ENCODER_A": [1_000_000 + at for at in (0, 200, 400, 600, 800, 1000)],
    }


def test_the_monitor_answers_while_the_test_thinks(board, pins):
    pins.drive("BUTTON", 1)
    now = pins.now
    begun = time.monotonic()
    assert board.qemu.monitor.execute("query-status")["running"]
    assert time.monotonic() - begun < HANG / 10
    assert pins.now == now


def test_a_storm_of_edges_passes_in_bounded_time(pins):
    begun = time.monotonic()
    pins.train("ENCODER_A", period=2 * us, count=STORM // 2)
    pins.advance(STORM * us + 1 * ms)
    assert len(pins["ENCODER_A"].rising) == len(pins["ENCODER_A"].falling) == STORM // 2
    pins["ENCODER_A"].period().check(maximum <= 2.01 * us)
    assert time.monotonic() - begun < 30


REFUSED: dict[str, tuple[Callable[[Pins], object], str]] = {
    "unknown pin": (lambda pins: pins.drive("BUTTN", 1), "has no pin 'BUTTN'(?s:.*)BUTTON"),
    "output": (lambda pins: pins.drive("LED", 1), "LED is an output"),
    "no level": (lambda pins: pins.drive("BUTTON", 2), "is not 0 or 1"),
    "past": (lambda pins: pins.drive("BUTTON", 1, at=1 * ms), "BUTTON cannot change at 0.001"),
    "too many": (lambda pins: pins.train("BUTTON", period=1 * us, count=3_000_000), "3000000 pulses"),
    "unknown channel": (lambda pins: pins.wiring.write_analogue("AI9", 1), "AI9"),
}


def test_what_cannot_be_is_refused(pins):
    for refused, message in REFUSED.values():
        with pytest.raises(ConfigurationError, match=message):
            refused(pins)
    assert not len(pins["BUTTON"].rising)


def test_a_pin_has_one_owner(pins):
    loop = Loop(pins.wiring, own=pins.owned)
    wires = {"inputs": {"x": Duty("LED")}, "outputs": {"y": "BUTTON"}}

    def drive(t: float, dt: float, inputs: object) -> dict[str, int]:
        pins.drive("FAULT", 1)  # which the loop does not drive
        pins.drive("BUTTON", 1)
        return {"y": 0}

    with pytest.raises(ConfigurationError, match="BUTTON is driven by the loop with the plant drive already"):
        loop.run(drive, step=1 * ms, until=2 * ms, **wires)
    pins.drive("BUTTON", 1)
    assert pins.level("BUTTON") == pins.level("FAULT") == 1


def test_an_edge_that_does_not_come_has_a_limit_in_virtual_time(pins):
    begin = pins.now
    with pytest.raises(RunnerError, match="no edge of LED came in 20 ms"):
        pins.wait("LED", timeout=20 * ms)
    with pytest.raises(RunnerError, match="LED did not become 1 in 20 ms"):
        pins.wait_for("LED", 1, timeout=20 * ms)
    assert pins.now.value - begin.value == pytest.approx(0.04, abs=1e-6)


@pytest.mark.destructive
def test_wires_work_in_real_time_and_a_restored_machine_has_levels_and_stimuli(
    board, guest, runner, sample, monkeypatch
):
    # a level, and stimuli to come, in a machine that is restored from a snapshot
    pins = Pins(EmulatedWiring(guest))
    pins.drive("FAULT", 1)
    due = pins.now + 4 * s
    pins.drive("FAULT", 0, at=due)
    pins.drive("ENCODER_A", 1, at=due)
    saved = base64.b64encode(board.qemu.wires.save()).decode()
    monkeypatch.setitem(board._snapshot.facts, "wires", saved)
    board.fresh()
    pins = Pins(EmulatedWiring(guest))
    assert (pins.level("FAULT"), pins.level("ENCODER_A")) == (1, 0)
    assert pins.now < due
    pins.wait_for("ENCODER_A", 1, timeout=60 * s)
    fault = pins.edges("FAULT", since=0 * s)
    assert (fault.levels.tolist(), pins.level("FAULT")) == ([1, 0], 0)
    assert due.value <= fault.falling[0] < due.value + 5
    assert pins["LED"].clock.name == "emulator"
    with runner.start(sample("echo-pin.wasm"), "2") as run:
        for level in (1, 0):
            pins.drive("BUTTON", level)
            pins.wait_for("LED", level, timeout=10 * s)
        assert run.wait().lines == ["ready", "echoed 2 edges, lost 0"]


@pytest.mark.destructive
def test_a_restored_machine_in_virtual_time_has_levels_and_the_stimuli_to_come(board, pins, monkeypatch):
    """The state of the wires is put into a snapshot that was taken earlier, so that the stimuli are still to come."""
    start = round(pins.now.value * 1e9)
    pins.drive("BUTTON", 1)
    pins.pulse("FAULT", 3 * ms, at=pins.now + 200 * ms)
    monkeypatch.setitem(board._snapshot.facts, "wires", base64.b64encode(board.qemu.wires.save()).decode())
    pins.advance(300 * ms)
    expected = pins["FAULT"].ticks[1:].tolist()
    assert len(expected) == 2
    board.fresh()
    assert pins.level("BUTTON") == 1
    pins.wiring.run_until(start + 300_000_000)
    assert pins["FAULT"].ticks[1:].tolist() == expected


@pytest.mark.destructive
def test_a_board_runs_without_pins_where_the_emulator_lacks_a_symbol(board, guest, runner, sample, monkeypatch):
    lacking = Refusal(
        wires="QEMU does not export qdev_connect_gpio_out", can="QEMU does not export can_bus_client_send"
    )
    monkeypatch.setattr(qemu_driver.lockstep, "refusal", lambda emulator, library: lacking)
    board.fresh()
    assert runner.run(sample("hello.wasm")).good
    with pytest.raises(ConfigurationError, match=r"qemu-reference has no pins: QEMU does not export qdev_connect"):
        EmulatedWiring(guest)
