"""Figures of control quality, on responses whose figures are known by formula, and in files."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_wires import FakeWires

from hil import (
    BoundsNotKept,
    Loop,
    Measure,
    Series,
    iae,
    ms,
    overshoot,
    p50,
    percent,
    ratio,
    s,
    settling_time,
    steady_state_error,
)
from hil.errors import ConfigurationError
from hil.history.figures import stored_figures
from hil.measure import results
from hil.measure.bounds_file import Bounds
from hil.measure.response import RESPONSE_FIGURES
from hil.measure.results import SeriesRecord
from hil.measure.seeds import pool


def response(y: Callable[[float], float], setpoint: float = 1.0, until: float = 10.0, **options: Any) -> Series:
    """Return the response of a signal that is a function of time."""

    class Signal:
        def reset(self) -> dict[str, float]:
            return {"y": y(0.0)}

        def step(self, t: float, dt: float, inputs: object) -> dict[str, float]:
            return {"y": y(t + dt)}

    result = Loop(FakeWires()).run(Signal(), step=1 * ms, inputs={}, outputs={}, until=until * s)
    return result.response("y", setpoint, **options)


def values(series: Series) -> dict[str, float]:
    return {name: figure.estimate(series).value for name, figure in RESPONSE_FIGURES.items()}


def second_order(zeta: float, omega: float) -> Callable[[float], float]:
    damped, root = omega * math.sqrt(1 - zeta**2), math.sqrt(1 - zeta**2)
    return lambda t: 1 - math.exp(-zeta * omega * t) * (math.cos(damped * t) + zeta / root * math.sin(damped * t))


def test_a_first_order_lag_has_its_textbook_figures() -> None:
    found = values(response(lambda t: 1 - math.exp(-t)))
    assert found["overshoot"] == 0
    assert found["settling_time"] == pytest.approx(-math.log(0.02), abs=1e-3)  # 3.912 time constants
    assert found["iae"] == pytest.approx(1 - math.exp(-10), rel=1e-6)  # the time constant
    assert found["steady_state_error"] == pytest.approx(math.exp(-9) - math.exp(-10), rel=1e-2)


def test_a_second_order_system_overshoots_by_ogatas_formula() -> None:
    zeta = 0.5
    series = response(second_order(zeta, 4.0))
    assert values(series)["overshoot"] == pytest.approx(math.exp(-zeta * math.pi / math.sqrt(1 - zeta**2)), abs=1e-5)
    assert values(series)["settling_time"] == pytest.approx(2.02, abs=0.02)  # 8.08 / omega, Ogata's figure 5-11
    wide = response(second_order(zeta, 4.0), band=20 * percent)
    assert values(wide)["settling_time"] < 0.8


def test_shares_do_not_depend_on_the_size_or_direction_of_the_step() -> None:
    up = response(second_order(0.3, 4.0))
    down = response(lambda t: 100 - 60 * second_order(0.3, 4.0)(t), setpoint=40)
    for name, value in values(up).items():
        assert values(down)[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name


def test_a_constant_error_is_the_steady_state_error() -> None:
    found = values(response(lambda t: 0.9 * (1 - math.exp(-5 * t))))
    assert found["steady_state_error"] == pytest.approx(0.1, rel=1e-6)
    assert found["settling_time"] == math.inf


def test_a_signal_that_does_not_settle_fails_every_bound() -> None:
    series = response(lambda t: t, setpoint=100.0, until=0.1)
    with pytest.raises(BoundsNotKept, match=r"FAIL: settling_time is inf, limit 3600 s \(not within"):
        series.check(settling_time <= 3600 * s)


def test_a_disturbance_is_judged_from_its_time_by_a_given_span() -> None:
    def y(t: float) -> float:
        return 50.0 + 20 * math.exp(-20 * t) if t < 2 else 50 - 5 * math.exp(-(t - 2))

    found = values(response(y, setpoint=50, start=2 * s, initial=50.0, span=10.0))
    assert found["overshoot"] == 0.5  # the largest deviation, to either side
    assert found["settling_time"] == pytest.approx(math.log(25), abs=1e-3)
    assert found["iae"] == pytest.approx(0.5, rel=1e-3)
    with pytest.raises(ConfigurationError, match="a span of 0"):
        response(y, setpoint=70)


def test_a_time_is_known_to_one_step() -> None:
    series = response(lambda t: 1 - math.exp(-t))
    settled = values(series)["settling_time"]
    assert series.check(settling_time <= (settled + 1.5e-3) * s)[0].outcome == "pass"
    with pytest.raises(BoundsNotKept, match="INCONCLUSIVE.*closer to the figure than the uncertainty of the clock"):
        series.check(settling_time <= (settled + 0.5e-3) * s)
    with pytest.raises(BoundsNotKept, match=r"FAIL: settling_time is 3.913 s, limit 3.911 s"):
        series.check(settling_time <= (settled - 1.5e-3) * s)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 10 * s}, "cannot start at 10 s"),
        ({"start": 1 * ratio}, "a time"),
        ({"band": 0 * percent}, "a band of 0"),
        ({"band": 1 * s}, "a ratio"),
        ({"tail": 200 * percent}, "a tail of 2"),
        ({"span": math.nan}, "not finite"),
        ({"setpoint": math.inf}, "not finite"),
    ],
)
def test_wrong_facts_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        response(lambda t: t, **options)


def test_other_series_have_no_such_figures() -> None:
    plain = Loop(FakeWires()).run(lambda t, dt, u: {"y": t}, step=1 * ms, inputs={}, outputs={}, until=5 * ms)["y"]
    with pytest.raises(ConfigurationError, match="overshoot is a figure of a step response, not of signal of y"):
        plain.check(overshoot <= 1 * percent)


def test_a_bound_in_the_wrong_unit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="settling_time is a time"):
        _ = settling_time <= 1 * percent
    with pytest.raises(ConfigurationError, match="overshoot is a ratio"):
        _ = overshoot <= 1 * s


def test_a_results_file_keeps_the_figures(tmp_path: Path) -> None:
    series = response(second_order(0.5, 4.0))
    checks = series.check(overshoot <= 20 * percent, iae <= 1 * s)
    results.write(tmp_path / "results.jsonl", series, checks)
    [record] = results.load(tmp_path / "results.jsonl").records
    assert record.series.response == series.response
    assert values(record.series) == values(series)
    stored = {figure["name"]: figure["value"] for figure in stored_figures(record)}
    assert stored["overshoot"] == values(series)["overshoot"]


def test_a_bounds_file_bounds_a_response(tmp_path: Path) -> None:
    row = '[[bound]]\nquantity = "step response"\nsubject = "y"\nfigure = "{}"\nlimit = "{}"\nreason = "test"\n'
    file = tmp_path / "board.bounds.toml"
    file.write_text(row.format("overshoot", "20 %") + row.format("settling_time", "3 s"))
    checks = Measure(file).check(response(second_order(0.5, 4.0)))
    assert [(check.bound.figure.name, check.outcome) for check in checks] == [
        ("overshoot", "pass"),
        ("settling_time", "pass"),
    ]
    file.write_text(row.format("overshot", "20 %"))
    with pytest.raises(ConfigurationError, match="did you mean 'overshoot'"):
        Bounds(file)


def test_responses_of_several_seeds_are_not_pooled() -> None:
    from dataclasses import replace

    several = [replace(response(lambda t: t), provenance={"seed": seed, "board": "b"}) for seed in "12"]
    assert not list(pool(several))
    plain = [replace(series, response=None) for series in several]
    assert len(list(pool(plain))) == 1


def test_usual_figures_of_a_response_are_those_of_its_samples() -> None:
    series = response(lambda t: t)
    assert p50.estimate(series).value == pytest.approx(np.median(series.samples))
    assert SeriesRecord(series).row["max"] == "10"
    assert steady_state_error.estimate(series).unit == "1"
    assert iae.estimate(series).unit == "s"
