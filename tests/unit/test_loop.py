"""Plants in a loop with wires that have a virtual time of their own, and with wires at the clock of the host."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from fake_wires import BenchWires, FakeWires
from limits import HANG
from test_plugin import run  # noqa: F401  a fixture

from hil import (
    Analogue,
    BoundsNotKept,
    ConditionNotMet,
    Duty,
    Edge,
    Loop,
    Pins,
    PlantError,
    Quadrature,
    iae,
    maximum,
    ms,
    ns,
    overshoot,
    percent,
    ratio,
    s,
    settling_time,
    steady_state_error,
    us,
)
from hil.errors import ConfigurationError
from hil.measure.clock import VIRTUAL, Clock
from hil.signals.loop.encoder import encoder_edges
from hil.signals.plants.motor import Motor
from hil.signals.plants.oven import Oven

pytest_plugins = ["pytester"]
STEP: dict[str, Any] = {"step": 1 * ms, "inputs": {}, "outputs": {}, "until": 10 * ms}


def thermostat(wires: FakeWires, pin: str, level: int) -> None:
    if pin == "BUTTON":
        wires.put("HEATER", 1 - level)


def pi_controller(setpoint: float) -> Callable[[FakeWires], None]:
    """A controller of AO0, 0 to 1, by AI0, 0 to 100, every 5 ms."""
    total = 0.0

    def control(wires: FakeWires) -> None:
        nonlocal total
        error = setpoint - wires.raw["AI0"] / 65535 * 100
        wanted = 0.02 * error + total
        if 0 < wanted < 1 or wanted * error < 0:
            total += 0.02 * error * 0.005 / 0.5
        wires.out("AO0", round(min(max(wanted, 0.0), 1.0) * 65535))

    return control


def counting(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
    return {"y": t + dt}


def test_a_thermostat_holds_its_temperature_and_repeats_to_the_bit() -> None:
    def hold() -> Any:
        wires = FakeWires(thermostat)
        wires.put("HEATER", 1)
        outputs = {"hot": "BUTTON"}
        result = Loop(wires).run(Oven(), step=1 * ms, inputs={"heater": "HEATER"}, outputs=outputs, until=3 * s)
        return result, wires

    (result, wires), (again, _) = hold(), hold()
    temperature = result["temperature"]
    assert result.signals.keys() == {"heater", "temperature", "hot"}
    assert len(temperature) == 3001
    assert temperature.times is not None
    assert temperature.times[[0, 1, -1]].tolist() == [0.0, 1e-3, 3.0]
    assert temperature.samples[0] == 20
    assert abs(temperature.samples[1000:] - 50).max() < 3
    assert 0 < result["heater"].samples[1000:].mean() < 1
    assert (temperature.physical_unit, temperature.unit, temperature.clock.exact) == ("°C", "1", True)
    assert result.overruns == ()
    assert {at % 1_000_000 for at, _ in wires.log["BUTTON"]} == {0}
    assert np.array_equal(temperature.samples, again["temperature"].samples)


def test_a_pi_controller_settles_within_its_bounds() -> None:
    wires = FakeWires()
    wires.every(5_000_000, pi_controller(50))
    result = Loop(wires).run(
        Oven(),
        step=1 * ms,
        inputs={"heater": Analogue("AO0")},
        outputs={"temperature": Analogue("AI0", low=0, high=100, noise=0.05, seed=1)},
        until=5 * s,
    )
    response = result.response("temperature", setpoint=50)
    bounds = (overshoot <= 5 * percent, settling_time <= 3 * s, steady_state_error <= 1 * percent, iae <= 1 * s)
    checks = response.check(*bounds)
    assert [check.outcome for check in checks] == ["pass"] * 4
    assert checks[1].estimate.value > 0.1
    with pytest.raises(BoundsNotKept, match=r"FAIL: settling_time is .* limit 50 ms"):
        response.check(settling_time <= 50 * ms)
    assert "real-time factor" in str(result)


def test_steps_do_not_drift_and_inputs_are_held_during_a_step() -> None:
    wires = FakeWires(now=7)
    times: list[tuple[int, float, float, float]] = []

    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
        times.append((wires.now, t, dt, inputs["u"]))
        return {}

    wires.later(100_001, lambda: wires.put("LED", 1))
    Loop(wires).run(plant, step=100 * us, inputs={"u": "LED"}, outputs={}, until=500 * us)
    assert times == [(7 + k * 100_000, k / 10_000, 1e-4, k > 1) for k in range(5)]


def test_outputs_appear_at_the_end_of_their_step() -> None:
    wires = FakeWires()
    outputs = {"high": "BUTTON"}
    result = Loop(wires).run(lambda t, dt, inputs: {"high": t >= 0.002}, **{**STEP, "outputs": outputs})
    assert wires.log["BUTTON"] == [(0, 0), (3_000_000, 1)]
    assert wires.calls == [("set", "BUTTON", 0, None), ("set", "BUTTON", 1, None)]
    assert result["high"].times is not None
    assert result["high"].times[0] == 1e-3  # the plant gives no outputs at the start


def test_the_result_names_the_wires_of_the_inputs() -> None:
    inputs = {"u": Analogue("AO1", low=0, high=1), "on": "LED", "heat": Duty("HEATER")}
    assert Loop(FakeWires()).run(counting, **{**STEP, "inputs": inputs}).sources == {"u": "AO1", "on": "LED"}


def test_a_duty_cycle_is_that_of_the_last_step() -> None:
    wires = FakeWires()
    for at, level in ((250_000, 1), (500_000, 0), (1_900_000, 1), (2_000_000, 0), (3_000_000, 1)):
        wires.later(at, lambda level=level: wires.put("HEATER", level))
    result = Loop(wires).run(lambda t, dt, inputs: {"y": 0}, **{**STEP, "inputs": {"duty": Duty("HEATER")}})
    assert result["duty"].samples[:4].tolist() == pytest.approx([0.25, 0.1, 0.0, 1.0])


def test_analogue_outputs_are_quantised_noisy_by_seed_and_saturate() -> None:
    def raws(noise: float, seed: int) -> tuple[list[int], Any]:
        wires = FakeWires()
        to = Analogue("AI3", low=-10, high=10, noise=noise, seed=seed)
        result = Loop(wires).run(lambda t, dt, inputs: {"v": t * 2000 - 5}, **{**STEP, "outputs": {"v": to}})
        return [call[2] for call in wires.calls if call[0] == "write"], result  # type: ignore[misc]

    exact, result = raws(0, 0)
    assert exact[:2] == [round(0.25 * 65535), round(0.35 * 65535)]
    assert exact[-1] == 65535
    assert result.saturated == {"v": 2}  # 11 and 13 V
    assert "v saturated 2 times" in str(result)
    noisy, again, other = raws(0.5, 1)[0], raws(0.5, 1)[0], raws(0.5, 2)[0]
    assert noisy == again != other != exact


def test_a_continued_run_counts_its_own_saturated_samples() -> None:
    loop, plant = Loop(FakeWires()), lambda t, dt, inputs: {"v": 2}
    wiring = {**STEP, "outputs": {"v": Analogue("AI0")}}
    assert loop.run(plant, **wiring).saturated == {"v": 10}
    assert loop.run(plant, **wiring, reset=False).saturated == {"v": 10}


def test_a_plant_may_return_the_same_mapping_each_time() -> None:
    values = {"y": 0.0}

    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
        values["y"] += 1
        return values

    assert Loop(FakeWires()).run(plant, **STEP)["y"].samples.tolist() == list(range(1, 11))


def test_an_encoder_changes_many_times_in_a_step_at_the_exact_moments() -> None:
    wires = FakeWires()

    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
        return {"position": 10 * (t + dt) if t < 0.005 else 10 * (0.01 - t - dt)}

    encoder = Quadrature("ENCODER_A", "ENCODER_B", counts=400)  # 4 edges in a step
    Loop(wires).run(plant, **{**STEP, "outputs": {"position": encoder}})
    edges = sorted((at, pin) for pin in ("ENCODER_A", "ENCODER_B") for at, _ in wires.log[pin][1:])
    up = [(at, pin) for at, pin in edges if at < 5_000_000]
    assert [at for at, _ in up] == [1_000_000 + k * 250_000 for k in range(1, 16)]  # the first step gives the position
    assert [pin[-1] for _, pin in up[:4]] == ["A", "B", "A", "B"]
    assert count(wires) == -4  # from 4 to 0


def test_faults_of_a_pin_that_the_loop_drives() -> None:
    wires = FakeWires()
    pins = Pins(wires)

    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, Any]:
        return {"p": round(t * 1e3) // 3 % 2}

    def harm() -> None:
        pins.glitch("FAULT", 100 * us)
        pins.glitch("FAULT", 200 * us, at=pins.now + 3.1 * ms)
        pins.stuck("FAULT", 0, 2.5 * ms, at=pins.now + 4 * ms)
        with pytest.raises(ConfigurationError, match="FAULT has another fault at that time, from 6 ms to 8.5 ms"):
            pins.glitch("FAULT", 2 * us, at=pins.now + 6 * ms)
        with pytest.raises(ConfigurationError, match="another fault"), pins.fault("FAULT", stuck=1):
            pass

    loop = Loop(wires, own=pins.owned)
    loop.run(plant, **{**STEP, "outputs": {"p": "FAULT"}}, at={2 * ms: harm})
    us_and_levels = [(at / 1000, level) for at, level in wires.log["FAULT"][1:]]
    assert us_and_levels == [(2000, 1), (2100, 0), (4000, 1), (5100, 0), (5300, 1), (6000, 0), (10000, 1)]
    assert [str(fault).partition(" from")[0] for fault in pins.faults] == [
        "FAULT has a glitch of 100 us",
        "FAULT has a glitch of 200 us",
        "FAULT is stuck at 0",
    ]


def test_virtual_time_that_goes_in_steps_of_two_ns_makes_no_overruns() -> None:
    class Coarse(FakeWires):
        """Wires that pause 1 ns after the limit, as after an edge at an odd nanosecond."""

        def run_until(self, at_ns: int) -> None:
            super().run_until(at_ns)
            self.now += any(at % 2 for pin in self.inputs for at, _ in self.log[pin][-1:])

        def set_levels(self, pin: str, levels: Any, times_ns: Any, *, after_now: bool = False) -> None:
            super().set_levels(pin, levels, [at | 1 for at in times_ns], after_now=after_now)

    wires = Coarse()
    wires.clock = Clock(VIRTUAL, 2e-9, "stand-in", 0.0, exact=True)
    encoder = Quadrature("ENCODER_A", "ENCODER_B", counts=400)
    times: list[int] = []
    result = Loop(wires).run(
        lambda t, dt, inputs: {"position": 10.0 * (t + dt)},
        **{**STEP, "outputs": {"position": encoder}},
        at={2.5 * ms: lambda: times.append(wires.now)},
    )
    assert wires.now % 2 == 1
    assert times == [2_500_001]
    assert (result.overruns, result.lateness.samples.max()) == ((), 0)
    assert result["position"].samples[-1] == pytest.approx(0.1)
    assert count(wires) == 35  # the last edge is at 10.000001 ms


def count(wires: FakeWires) -> int:
    """Return the position that a decoder of both lines counts."""
    order = {(0, 0): 0, (1, 0): 1, (1, 1): 2, (0, 1): 3}
    levels, position = [0, 0], 0
    edges = [(at, line, level) for line in (0, 1) for at, level in wires.log[("ENCODER_A", "ENCODER_B")[line]][1:]]
    for _, line, level in sorted(edges):
        before = order[levels[0], levels[1]]
        levels[line] = level
        moved = (order[levels[0], levels[1]] - before) % 4
        assert moved in (1, 3)
        position += 1 if moved == 1 else -1
    return position


@pytest.mark.parametrize(
    ("before", "after"), [(0.0, 7.5), (7.5, 0.0), (3.0, 2.9), (-2.2, 2.2), (2.0, -2.0), (1.5, 1.6)]
)
def test_each_count_passed_is_one_edge(before: float, after: float) -> None:
    edges = encoder_edges(Quadrature("A", "B"), "p", before, after, 0, 1000)
    assert len(edges) == abs(math.floor(after) - math.floor(before))
    assert all(0 < at <= 1000 for at, _, _ in edges)


def test_a_motor_runs_to_its_end_switch() -> None:
    wires = FakeWires(lambda wires, pin, level: wires.put("HEATER", 1 - level) if pin == "BUTTON" else None)
    wires.put("HEATER", 1)
    motor = Motor(length=2.0)
    encoder = Quadrature("ENCODER_A", "ENCODER_B", counts=400)
    outputs = {"position": encoder, "at_end": "BUTTON"}
    result = Loop(wires).run(motor, step=1 * ms, inputs={"drive": "HEATER"}, outputs=outputs, until=500 * ms)
    assert result["position"].samples[-1] == 2.0
    assert wires.level("HEATER") == 0
    assert count(wires) == 800
    gaps = np.diff(sorted(at for pin in ("ENCODER_A", "ENCODER_B") for at, _ in wires.log[pin][1:]))
    assert gaps.min() == pytest.approx(1 / (400 * 20) * 1e9, rel=0.3)


def test_a_plant_may_return_edges_within_a_step() -> None:
    wires = FakeWires()
    pulse = [Edge(100e-6, 1), Edge(120e-6, 0)]
    result = Loop(wires).run(
        lambda t, dt, inputs: {"p": pulse if t == 0.002 else 0}, **{**STEP, "outputs": {"p": "FAULT"}}
    )
    assert wires.log["FAULT"] == [(0, 0), (2_100_000, 1), (2_120_000, 0)]
    assert result["p"].samples.tolist() == [0] * 10


@pytest.mark.parametrize("wrong", [[Edge(2e-3, 1)], [Edge(5e-4, 1), Edge(1e-4, 0)], [Edge(0, 2)], 2, 0.5, "high", [1]])
def test_a_wrong_level_or_edge_is_named(wrong: Any) -> None:
    with pytest.raises(PlantError, match=r"the plant <lambda> in step 0 at 0 ns: p "):
        Loop(FakeWires()).run(lambda t, dt, inputs: {"p": wrong}, **{**STEP, "outputs": {"p": "FAULT"}})


def test_a_storm_of_edges_is_refused() -> None:
    encoder = Quadrature("ENCODER_A", "ENCODER_B", counts=1e9)
    with pytest.raises(PlantError, match="more than 100000 edges in one step"):
        Loop(FakeWires()).run(counting, **{**STEP, "outputs": {"y": encoder}})


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "returned None"),
        ({"y": math.nan}, r"returned nan as y; inputs: u = 0"),
        ({"y": math.inf}, "returned inf as y"),
        ({"y": None}, "returned None as y"),
        ({"y": "1"}, "returned '1' as y"),
        ({"Y": 1.0}, r"did not return 'y', but 'Y'"),
        ({}, "did not return 'y', but nothing"),
    ],
)
def test_a_wrong_output_is_named_with_step_and_inputs(returned: Any, message: str) -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> Any:
        return {"y": 1.0} if t < 0.003 else returned

    wires = FakeWires()
    with pytest.raises(PlantError, match="the plant plant in step 3 at 3 ms " + message):
        Loop(wires).run(plant, **{**STEP, "inputs": {"u": "LED"}, "outputs": {"y": Analogue("AI0")}})


def test_names_must_stay_the_same() -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> Any:
        return {"y": 1.0} if t < 0.003 else {"y": 1.0, "late": 2}

    with pytest.raises(PlantError, match="returned 'late', which it did not return before"):
        Loop(FakeWires()).run(plant, **STEP)


def test_an_exception_of_the_plant_is_named_and_is_the_cause() -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> Any:
        return {"y": 1 / (0.004 - t)}

    loop = Loop(FakeWires())
    with pytest.raises(PlantError, match=r"in step 4 at 4 ms failed: ZeroDivisionError: .*; inputs: u = 0") as caught:
        loop.run(plant, **{**STEP, "inputs": {"u": "LED"}})
    assert len(loop.results[0]["y"]) == 4  # what there is, for the report
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.origin == "test"


def test_an_input_that_is_not_connected_is_named() -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> Any:
        return {"y": inputs["level"] if t > 0.001 else {"x": 1}["x"]}

    with pytest.raises(PlantError, match=r"in step 2 .* read the input 'level', which is not connected") as caught:
        Loop(FakeWires()).run(plant, **{**STEP, "inputs": {"levle": "LED"}})
    assert caught.value.hint == "did you mean 'levle'? Connect it by inputs={'level': ...}, or read one of: 'levle'."
    assert isinstance(caught.value.__cause__, KeyError)


def test_ctrl_c_stays_what_it_is() -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> Any:
        raise KeyboardInterrupt

    wires = FakeWires()
    loop = Loop(wires)
    with pytest.raises(KeyboardInterrupt):
        loop.run(plant, **STEP)
    with pytest.raises(ConfigurationError, match="cannot continue"):
        loop.run(plant, **STEP, reset=False)


def test_a_plant_that_blocks_is_interrupted_after_the_limit() -> None:
    began = time.monotonic()
    with pytest.raises(PlantError, match=r"in step 0 at 0 ns took .* more than the limit of 100 ms"):
        Loop(FakeWires()).run(lambda t, dt, inputs: time.sleep(30), **STEP, host_limit=0.1)  # type: ignore[arg-type]
    assert time.monotonic() - began < 10


def test_a_plant_that_cannot_be_interrupted_is_an_error_afterwards() -> None:
    def act() -> None:
        with pytest.raises(PlantError, match="took .* more than the limit of 10 ms"):
            Loop(FakeWires()).run(lambda t, dt, inputs: time.sleep(0.05) or {}, **STEP, host_limit=0.01)
        passed.append(True)

    passed: list[bool] = []
    thread = threading.Thread(target=act)
    thread.start()
    thread.join(HANG)
    assert passed


def test_the_same_wire_twice_is_refused() -> None:
    outputs = {"a": "ENCODER_A", "position": Quadrature("ENCODER_A", "ENCODER_B")}
    with pytest.raises(ConfigurationError, match="the outputs a and position are both connected to ENCODER_A"):
        Loop(FakeWires()).run(counting, **{**STEP, "outputs": outputs})


def test_a_pin_of_the_loop_has_no_other_owner_while_it_runs() -> None:
    wires = FakeWires()
    pins = Pins(wires)
    loop = Loop(wires, own=pins.owned)
    wiring = {**STEP, "inputs": {"u": "LED"}, "outputs": {"position": Quadrature("ENCODER_A", "ENCODER_B")}}
    motor = Motor()
    wiring["inputs"] = {"drive": "HEATER"}
    with pytest.raises(ConfigurationError, match="ENCODER_B is driven by the loop with the plant Motor already"):
        loop.run(motor, **wiring, at={5 * ms: lambda: pins.drive("ENCODER_B", 1)})
    with pytest.raises(ConfigurationError, match="ENCODER_A is driven by the loop with the plant Motor already"):
        loop.run(motor, **wiring, at={5 * ms: lambda: Loop(wires, own=pins.owned).run(motor, **wiring)})
    loop.run(motor, **wiring, at={5 * ms: lambda: pins.drive("FAULT", 1)})
    pins.drive("ENCODER_B", 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"outputs": {"y": "LED"}}, "the output y is connected to LED, which the partition drives"),
        ({"outputs": {"y": "BUTON"}}, "'BUTON', which is no such pin"),
        ({"outputs": {"y": 3}}, "connected to 3"),
        ({"outputs": {"y": Analogue("AO0")}}, "AO0, which is no analogue input"),
        ({"outputs": {"y": Analogue("AI9")}}, "no analogue channel 'AI9'"),
        ({"inputs": {"u": "AO0"}}, "'AO0', which is no such pin"),
        ({"inputs": {"u": Analogue("AO0", noise=1)}}, "the input u has noise"),
        ({"inputs": {"u": Duty("LEED")}}, "'LEED'"),
        ({"inputs": {"y": "LED"}, "outputs": {"y": "BUTTON"}}, "'y' is both an input and an output"),
        ({"step": 0 * ms}, "the step of the loop is 0 s"),
        ({"step": 0.5 * ns}, "the step of the loop is 5e-10 s"),
        ({"step": 1 * ratio}, "a time"),
        ({"until": 10.5 * ms}, "10.5 steps"),
        ({"until": 0 * s}, "0 steps"),
        ({"until": lambda t, values: True}, "no limit"),
        ({"within": 1 * s}, "limit of a condition"),
        ({"at": {11 * ms: print}}, "no event"),
    ],
)
def test_wrong_connections_and_times_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Loop(FakeWires()).run(counting, **{**STEP, **changes})


@pytest.mark.parametrize("plant", [None, 3, Oven])
def test_what_is_no_plant_is_refused(plant: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a plant"):
        Loop(FakeWires()).run(plant, **STEP)


@pytest.mark.parametrize("wrong", [{"low": 1, "high": 1}, {"high": math.inf}, {"noise": -1}])
def test_a_wrong_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="the channel AI0 has"):
        Analogue("AI0", **wrong)  # type: ignore[arg-type]


def test_a_condition_ends_the_loop_or_fails_with_the_result() -> None:
    loop = Loop(FakeWires())
    wiring = {**STEP, "until": lambda t, values: values["y"] >= 0.004}
    assert loop.run(counting, **wiring, within=10 * ms)["y"].samples[-1] == 0.004
    with pytest.raises(ConditionNotMet, match=r"not met within 2 ms; at the end y = 0.002") as caught:
        loop.run(counting, **wiring, within=2 * ms)
    assert len(caught.value.result["y"]) == 2
    assert caught.value.origin == "image"


def test_events_happen_at_their_time_and_a_slow_one_is_an_overrun() -> None:
    wires = FakeWires()
    times: list[int] = []

    def slow() -> None:
        times.append(wires.now)
        wires.run_until(wires.now + 2_500_000)

    result = Loop(wires).run(counting, **STEP, at={4.2 * ms: slow, 1 * ms: lambda: times.append(wires.now)})
    assert times == [1_000_000, 4_200_000]
    assert result.overruns == (5, 6)
    assert result.lateness.samples[4:8].tolist() == pytest.approx([0, 1.7e-3, 0.7e-3, 0])
    assert result.seconds == 0.01


def test_a_loop_continues_and_is_restored_with_its_plant() -> None:
    def loop() -> tuple[Loop, Oven, dict[str, Any]]:
        wires = FakeWires()
        to = Analogue("AI0", 0, 100, noise=1, seed=3)
        wiring = {**STEP, "inputs": {"heater": "HEATER"}, "outputs": {"temperature": to}}
        wires.put("HEATER", 1)
        return Loop(wires), Oven(delay=0), wiring

    whole, oven, wiring = loop()
    expected = whole.run(oven, **{**wiring, "until": 30 * ms})["temperature"].samples
    parts, oven, wiring = loop()
    written: list[Any] = parts.wiring.calls  # type: ignore[attr-defined]
    parts.run(oven, **wiring)
    state, before = parts.state(), len(written)
    second = parts.run(oven, **wiring, reset=False)["temperature"].samples
    after = written[before:]
    parts.run(oven, **wiring, reset=False)
    assert np.array_equal(second, expected[10:21])
    parts.restore(state)
    before = len(written)
    assert np.array_equal(parts.run(oven, **wiring, reset=False)["temperature"].samples, second)
    assert written[before:] == after  # with the same noise
    parts.restore(state)
    with pytest.raises(ConfigurationError, match="cannot continue"):
        parts.run(Oven(), **wiring, reset=False)
    with pytest.raises(ConfigurationError, match="no state before its first run"):
        Loop(FakeWires()).state()


def test_an_unknown_signal_is_named() -> None:
    with pytest.raises(ConfigurationError, match="no signal 'temprature'"):
        _ = Loop(FakeWires()).run(Oven(), **{**STEP, "inputs": {"heater": "LED"}})["temprature"]


def test_on_a_bench_the_loop_runs_at_the_clock_and_counts_overruns() -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
        if t == 0.04:
            time.sleep(0.035)
        return {"y": t}

    wires = BenchWires()
    result = Loop(wires).run(plant, step=20 * ms, inputs={}, outputs={"y": Analogue("AI0")}, until=200 * ms)
    assert result.wall >= 0.2
    assert 3 in result.overruns
    assert 0 not in result.overruns
    assert result.lateness.samples[3] >= 0.014
    assert 0.1 < result.real_time_factor <= 1.01
    assert not result["y"].clock.exact


def test_on_a_bench_no_edge_of_an_encoder_is_lost() -> None:
    def plant(t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
        if t == 0.05:
            time.sleep(0.03)
        return {"position": t + dt + 1e-4}

    wires = BenchWires()
    encoder = Quadrature("ENCODER_A", "ENCODER_B", counts=1000)
    result = Loop(wires).run(plant, step=10 * ms, inputs={}, outputs={"position": encoder}, until=100 * ms)
    wires.run_until(wires.now_ns() + 20_000_000)
    assert result.overruns
    assert count(wires) == 100 - 10 + 2  # from 10, whose lines are those of 2
    gaps = np.diff(sorted(at for pin in ("ENCODER_A", "ENCODER_B") for at, _ in wires.log[pin][1:]))
    assert (abs(gaps - 1e6) <= 1).sum() > 9, "scheduled, and not set at once"


def test_a_step_finer_than_the_bench_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"a step of 1 ms is too fine for this bench: .* 2 ms") as caught:
        Loop(BenchWires(floor=2e-3)).run(counting, **STEP)
    assert "4 ms or more" in str(caught.value)


def test_a_signal_is_a_series_with_bounds() -> None:
    result = Loop(FakeWires()).run(counting, **STEP)
    result["y"].check(maximum <= 0.01 * ratio)
    with pytest.raises(BoundsNotKept):
        result["y"].check(maximum <= 0.009 * ratio)
    assert result["y"].at(0.0045) == 0.004


def test_the_fixture_runs_on_the_wiring_of_the_pins(run: Callable[..., pytest.RunResult]) -> None:  # noqa: F811
    result = run(
        """
import types
import pytest
from fake_wires import FakeWires
from hil import Pins, ms
from hil.signals.plants.oven import Oven

@pytest.fixture
def pins():
    return Pins(FakeWires())

@pytest.fixture
def measure():
    return types.SimpleNamespace(test="a test")

def test_loop(loop, pins):
    result = loop.run(Oven(), step=1 * ms, inputs={"heater": "HEATER"}, outputs={"hot": "BUTTON"}, until=5 * ms)
    assert result["temperature"].provenance == {"board": "fake", "test": "a test", "step": "1 ms", "plant": "Oven"}
    assert loop.wiring is pins.wiring
    assert loop.results == [result]
"""
    )
    result.assert_outcomes(passed=1)


def test_a_failure_says_that_steps_in_real_time_were_late(run: Callable[..., pytest.RunResult]) -> None:  # noqa: F811
    result = run(
        """
import time, types
import pytest
from fake_wires import BenchWires, FakeWires
from hil import Pins, ms

@pytest.fixture(params=[BenchWires, FakeWires])
def pins(request):
    return Pins(request.param())

@pytest.fixture
def measure():
    return types.SimpleNamespace(test="a test")

def test_loop(loop, pins):
    late = {20 * ms: lambda: time.sleep(0.03), 25 * ms: lambda: pins.wiring.run_until(pins.wiring.now_ns() + 20_000_000)}
    loop.run(lambda t, dt, inputs: {"y": t}, step=10 * ms, inputs={}, outputs={}, until=100 * ms, at=late)
    assert loop.results[0].overruns == ()
"""
    )
    result.assert_outcomes(failed=2)
    result.stdout.re_match_lines(
        [".* the loop's steps were late .*", "the loop had [1-9] overruns in 10 steps, .*10 ms"]
    )
    assert result.stdout.str().count("the loop's steps were late") == 1


def test_a_signal_is_bounded_by_a_bare_number_in_its_own_unit() -> None:
    result = Loop(FakeWires()).run(counting, **STEP, units={"y": "turns"})
    (check,) = result["y"].check(maximum <= 3.6)
    assert str(check) == "PASS: max is 0.01 turns, limit 3.6 turns"
    with pytest.raises(BoundsNotKept, match=r"(?s)max is 0.01 turns, limit 0.005 turns.*#10 0.01 turns"):
        result["y"].check(maximum <= 0.005)
    with pytest.raises(BoundsNotKept, match="limit -1 turns"):
        result["y"].check(maximum <= -1)
    with pytest.raises(ConfigurationError, match=r"max of step lateness is compared with 3.6, which has no unit"):
        result.lateness.check(maximum <= 3.6)
