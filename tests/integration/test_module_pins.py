"""The pins of a module, on the reference image in virtual time: host functions, policy, and the end of a run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hil import ms, us
from hil.wasm import Module
from hil.wasm.verdict import Failed, exited, failed

pytestmark = [pytest.mark.board, pytest.mark.timing]

MODULES = Path(__file__).resolve().parents[1] / "modules"
TRAPS = {
    "pins-bad-pointer": "host function: a pointer is outside the memory or not aligned",
    "pins-bad-result": "host function: a pointer is outside the memory or not aligned",
    "pins-no-memory": "host function: a pointer is outside the memory or not aligned",
    "pins-bad-handle": "host function: 1 is no handle of a digital-in-pin",
    "pins-bad-wait": "host function: wait needs 1 to 64 pins, not 4294967295",
    "pins-no-realloc": "host function: get-config needs the module's export cabi_realloc",
}


def module(name: str) -> Module:
    return Module.load(MODULES / f"{name}.wasm")


def refusals(run):
    return [line.partition("] [error] ")[2] for line in run.diagnostics if "pin-not-allowed" in line]


@pytest.fixture
def any_names(monkeypatch):
    """Let names through that the image does not have: what the runner does about them is of interest."""
    monkeypatch.setattr("hil.wasm.pins.known_names", lambda manifest: [])


def test_each_error_is_that_of_the_interface(runner, any_names):
    run = runner.run(module("pins"), pins=["BUTTON", "LED", "NOPIN"])
    assert run.verdict == exited(42), str(run)
    assert refusals(run) == ["pin-not-allowed BEAT", "pin-not-allowed " + "?" * 31]


def test_what_the_canonical_abi_forbids_is_a_trap(runner):
    ends = {name: runner.run(module(name), pins=["BUTTON", "LED"]).verdict for name in TRAPS}
    assert {name: end.reason for name, end in ends.items() if isinstance(end, Failed)} == TRAPS


def test_a_module_gets_the_pins_that_it_is_given_and_no_others(runner, sample, any_names):
    echo = sample("echo-pin.wasm")
    for pins, refused in (((), "BUTTON"), (("BUTTON",), "LED"), (("LED", "BUTTONS"), "BUTTON")):
        run = runner.run(echo, "0", pins=pins)
        assert run.verdict == exited(69), str(run)
        assert run.lines == [f"{refused}: pin-not-allowed"]
        assert refusals(run) == [f"pin-not-allowed {refused}"]
    assert runner.run(echo, "0").good


@pytest.mark.parametrize("way", ["exit", "trap", "limit", "abort"])
def test_outputs_fall_when_their_module_ends(pins, runner, sample, way):
    watchdog = sample("watchdog.wasm")
    then = {"trap": "trap", "limit": "stuck"}.get(way, "")
    with runner.start(
        watchdog, "1000", "99999999" if way == "abort" else "5", *filter(None, [then]), limit=1
    ) as running:
        if way == "abort":
            pins.advance(5 * ms)
            assert pins.level("SPARE") == 1
        else:
            run = running.wait()
    run = running.execution or run
    assert run.verdict == {"exit": exited(0), "trap": failed("unreachable")}.get(way, run.verdict), str(run)
    spare, beat = pins["SPARE"], pins["BEAT"]
    assert (spare.rising.size, spare.falling.size) == (1, 1)
    assert beat.rising.size == beat.falling.size
    assert (pins.level("SPARE"), pins.level("BEAT")) == (0, 0)


def test_an_echo_keeps_its_time(pins, runner, sample):
    with runner.start(sample("echo-pin.wasm"), "100") as running:
        pins.train("BUTTON", period=2 * ms, high=777 * us, count=50)
        assert running.wait().lines == ["ready", "echoed 100 edges, lost 0"]
    latency = pins["BUTTON"].latency_to(pins["LED"])
    assert len(latency) == 50
    assert 10e-6 < min(latency.samples) <= max(latency.samples) < 150e-6


def test_a_fault_of_a_wire_that_nothing_has_driven_reaches_the_module(pins, runner, sample):
    with runner.start(sample("echo-pin.wasm"), "4") as run:
        begin = pins.now
        pins.glitch("BUTTON", 700 * us, at=begin + 2 * ms)
        pins.stuck("BUTTON", 1, 3 * ms, at=begin + 5 * ms)
        run.wait()
    edges = pins.edges("BUTTON", since=begin)
    assert edges.rising - begin.value == pytest.approx([2e-3, 5e-3], abs=4e-9)
    assert edges.high_time().samples == pytest.approx([700e-6, 3e-3], abs=4e-9)
    assert (pins["LED"].rising.size, pins["LED"].falling.size) == (2, 2)


def test_a_bouncing_contact_is_debounced(pins, runner, sample):
    with runner.start(sample("debounce.wasm"), "2", "5000") as running:
        pins.bounce("BUTTON", 1, within=3 * ms, times=8)
        pins.advance(20 * ms)
        pins.drive("BUTTON", 0)
        run = running.wait()
    # two bounces that are closer together than the kernel's interrupt are one edge or none to it
    ready, counted = run.lines
    assert ready == "ready"
    assert (found := re.fullmatch(r"debounced (\d+) edges to 2", counted)), counted
    assert 12 <= int(found[1]) <= 18
    assert (pins["LED"].rising.size, pins["LED"].falling.size) == (1, 1)


def test_an_encoder_is_counted_in_both_directions(pins, runner, sample):
    with runner.start(sample("encoder.wasm"), "50") as running:
        start = pins.now + 1 * ms
        pins.train("ENCODER_A", period=400 * us, count=25, at=start)
        pins.train("ENCODER_B", period=400 * us, count=25, at=start + 100 * us)
        back = start + 25 * 400 * us + 1 * ms
        pins.train("ENCODER_B", period=400 * us, count=5, at=back)
        pins.train("ENCODER_A", period=400 * us, count=5, at=back + 100 * us)
        run = running.wait()
    assert run.lines == ["ready", "position 80, 120 edges, 0 impossible, 0 lost"]


def test_more_edges_than_the_kernel_keeps_are_counted_as_lost(pins, runner, sample):
    with runner.start(sample("encoder.wasm"), "50") as running:
        pins.train("ENCODER_A", period=4 * us, count=5000, at=pins.now + 1 * ms)
        run = running.wait()
    edges, lost = (int(word) for word in (run.lines[1].split()[2], run.lines[1].split()[6]))
    assert edges + lost <= 10000
    assert edges < 10000


def test_a_thermostat_switches_with_its_sensor(pins, runner, sample):
    with runner.start(sample("thermostat.wasm"), "1000", "20") as running:
        pins.drive("BUTTON", 1, at=pins.now + 10.5 * ms)
        run = running.wait()
    assert run.lines[1].startswith("heated in 1")
    assert (pins["HEATER"].rising.size, pins["HEATER"].falling.size) == (1, 1)
    assert pins["BEAT"].rising.size == 10


def test_a_module_in_rust_blinks(pins, runner, sample):
    assert runner.run(sample("blink.wasm")).lines == ["ready", "blinked"]
    assert (pins["LED"].rising.size, pins["LED"].falling.size) == (10, 10)
    with runner.start(sample("blink.wasm")) as running:
        pins.drive("FAULT", 1, at=pins.now + 2.5 * ms)
        assert running.wait().lines == ["ready", "fault"]


def test_what_a_host_function_costs(runner, sample):
    run = runner.run(sample("pin-cost.wasm"), "1000")
    costs = {name: int(ns) for name, ns, _ in map(str.split, run.lines)}
    print(costs)
    assert 0 < costs["call"] < costs["get"] < 100_000
