"""The picture of a loop: what it shows, in words and in lines."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hil.measure.clock import VIRTUAL, Clock
from hil.measure.series import Series
from hil.plots import picture
from hil.plots.loop import DENSE, LANES, Target, loop_picture
from hil.signals.edges import Edges
from hil.signals.loop.result import LoopResult
from hil.signals.loop.sampled import SampledSignal

CLOCK = Clock(VIRTUAL, 1e-9, exact=True, floor=0.0)
START = 1_000_000_000
MS = 1_000_000


def signal(name: str, samples: Any, unit: str = "") -> SampledSignal:
    times = np.arange(len(samples)) * 1e-3
    return SampledSignal("signal", name, samples, CLOCK, "1", times, physical_unit=unit, start_ns=START)


def loop(*signals: SampledSignal, overruns: tuple[int, ...] = ()) -> LoopResult:
    steps = max([2, *map(len, signals)]) - 1
    late = np.zeros(steps)
    late[list(overruns)] = 4e-4
    lateness = Series("step lateness", "oven", late, CLOCK)
    signals_by_name = {one.subject: one for one in signals}
    return LoopResult(signals_by_name, 1e-3, START, steps * 1e-3, lateness, overruns, lateness, 1.0, {})


def pin(name: str, *changes: tuple[int, int]) -> Edges:
    ticks, levels = zip(*changes, strict=True)
    return Edges(name, np.array(ticks), np.array(levels, np.uint8), START + 3000 * MS, 1e9, CLOCK)


def words(svg: str) -> list[str]:
    return ["".join(one.itertext()) for one in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def strokes(svg: str, pair: tuple[str, str]) -> int:
    return svg.partition("</style>")[2].count(f"stroke: {pair[0]}")


RAMP = np.linspace(20, 52, 3001)


def test_signals_set_point_pins_and_overruns_are_drawn_and_named() -> None:
    svg = loop_picture(
        loop(signal("temperature", RAMP, "°C"), signal("power", RAMP * 2, "W"), overruns=(500, 1200)),
        [pin("HEATER", (0, 0), (START + 100 * MS, 1), (START + 200 * MS, 0)), pin("BUTTON", (0, 2))],
        [Target("temperature", 50.0, 49.0, 51.0)],
        "thermostat",
    )
    found = words(svg)
    for text in (
        *("thermostat", "3000 steps of 1 ms in 3 s, 2 overruns", "temperature", "power", "°C", "W", "HEATER", "BUTTON"),
        *("set point 50 of temperature, with its band", "2 overruns", "time since the start of the loop [s]"),
    ):
        assert text in found, text
    assert strokes(svg, picture.OUTCOMES["fail"]) == 3 * 2 + 1, "in each row, and in the legend"
    assert "temperature: 20 to 52, at the end 52 °C" in svg
    without = loop_picture(loop(signal("temperature", RAMP, "°C")))
    assert strokes(without, picture.OUTCOMES["fail"]) == 0
    assert "no overruns" in "".join(words(without))


def test_a_signal_of_levels_is_a_lane_and_a_pin_of_that_name_takes_its_place() -> None:
    levels = signal("HEATER", np.array([0.0, 1.0] * 1500))
    alone = loop_picture(loop(levels))
    assert "HEATER" in words(alone)
    assert "value" not in words(alone), "it needs no axis of values"
    beside = loop_picture(loop(levels), [pin("HEATER", (0, 1))])
    assert words(beside).count("HEATER") == 1
    assert len(beside) < len(alone) / 2


def test_an_input_of_the_plant_that_is_a_pin_shown_below_is_not_drawn_twice() -> None:
    made = loop(signal("drive", [0, 1, 0]), signal("speed", [0, 5, 0], "1/s"))
    for sources, drawn in (({"drive": "HEATER"}, False), ({"drive": "SPARE"}, True), ({}, True)):
        shown = words(loop_picture(replace(made, sources=sources), [pin("HEATER", (0, 0), (START + 1 * MS, 1))]))
        assert ("drive" in shown) == drawn
        assert "HEATER" in shown


def test_the_level_at_the_start_is_that_of_the_edge_before() -> None:
    before = loop_picture(loop(signal("x", RAMP)), [pin("LED", (0, 0), (START - 5, 1))])
    high = loop_picture(loop(signal("x", RAMP)), [pin("LED", (START, 1))])
    low = loop_picture(loop(signal("x", RAMP)), [pin("LED", (START, 0))])
    assert before == high != low


def test_many_edges_are_stretches_and_many_pins_are_counted() -> None:
    ticks = START + np.arange(1_000_000, dtype=np.int64) * 1000
    fast = Edges("PWM", ticks, (np.arange(len(ticks)) % 2).astype(np.uint8), START + 3000 * MS, 1e9, CLOCK)
    assert len(ticks) > DENSE
    svg = loop_picture(loop(signal("x", np.sin(np.arange(1_000_000) / 1e3))), [fast])
    assert "many edges" in words(svg)
    assert len(svg) < 150_000
    many = loop_picture(loop(signal("x", RAMP)), [pin(f"P{number}", (0, 0)) for number in range(LANES + 3)])
    assert "3 pins not drawn" in "".join(words(many))


@pytest.mark.parametrize(
    "signals",
    [[], [signal("x", [1.5])], [signal("x", [0.0])], [signal("x", [7.0] * 5)], [signal(f"s{n}", RAMP, f"u{n}") for n in range(12)]],
)  # fmt: skip
def test_any_loop_can_be_drawn(signals: list[SampledSignal]) -> None:
    ET.fromstring(loop_picture(loop(*signals)))


def test_odd_names_are_texts() -> None:
    name = "<b>$x$ \x1b[2J\udcff" + "n" * 1000
    svg = loop_picture(loop(signal(name, RAMP, name)), [pin(name, (0, 1))], [Target(name, 1, 0, 2)], name[:60])
    assert any(word.startswith("<b>$x$ \\x1b[2J\\xff") for word in words(svg))


def test_the_same_loop_gives_the_same_bytes_and_colours_have_dark_partners() -> None:
    made = [loop_picture(loop(signal("x", RAMP), overruns=(3,)), [pin("LED", (0, 1))]) for _ in range(2)]
    assert made[0] == made[1]
    body = made[0].partition("</style>")[2]
    known = {
        light for light, _ in (picture.PAPER, picture.INK, picture.FAINT, *picture.LINES, *picture.OUTCOMES.values())
    }
    used = {part[:7] for key in ("stroke: #", "fill: #") for part in ("#" + rest for rest in body.split(key)[1:])}
    assert used <= known
