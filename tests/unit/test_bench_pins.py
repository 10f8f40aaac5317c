"""Pins of a real board: labgrid's digital outputs, and a stand-in for the logic analyser that samples them."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import stub_board

import bench
from hil.cli import main
from hil.errors import ConfigurationError, InfrastructureError, RunnerError
from hil.measure.clock import ANALYSER
from hil.measure.units import amount, ms, us
from hil.signals.loop.loop import Loop
from hil.signals.pins import Pins
from hil.signals.trace.pins_timeline import pins_timeline


@pytest.fixture
def wired(tmp_path: Path):
    with contextlib.ExitStack() as stack:

        def make(**options: str) -> Pins:
            wiring = bench.wiring(tmp_path, **options)
            stack.callback(wiring.close)
            return Pins(wiring)

        yield make


def test_stimulus_and_answer_are_those_of_the_analyser(wired) -> None:
    pins = wired()
    for _ in range(3):
        pins.drive("BUTTON", 1)
        pins.wait("LED", timeout=500 * ms)
        pins.drive("BUTTON", 0)
        pins.wait("LED", timeout=500 * ms)
    button, led = pins["BUTTON"], pins["LED"]
    assert (len(button.rising), len(button.falling)) == (3, 3)
    latency = button.latency_to(led)
    assert latency.samples == pytest.approx([bench.ANSWER / 1e3] * 3, abs=1.01 / bench.RATE)
    assert (latency.clock.name, latency.clock.floor, latency.clock.exact) == (ANALYSER, 1 / bench.RATE, False)
    assert Path(latency.provenance["capture"]).name == "board-pins-1.vcd"
    assert not pins.wiring.exact


def test_a_level_left_by_a_former_test_is_cleared(wired, tmp_path) -> None:
    pins = wired()
    assert (tmp_path / "BUTTON").read_text() == "0\n"
    pins.drive("BUTTON", 1)
    pins.wiring.reset()
    assert pins.level("BUTTON") == 0
    assert (tmp_path / "BUTTON").read_text() == "0\n"


def test_pulses_come_at_their_times_while_the_test_waits_elsewhere(wired) -> None:
    pins = wired()
    start = pins.now + 100 * ms
    first = amount(start, "s", "")
    pins.train("BUTTON", period=40 * ms, count=5, high=20 * ms, at=start)
    time.sleep(0.05)
    pins.let_pass()
    rising = pins["BUTTON"].rising
    early = 2 * pins.wiring._capture.time.began.uncertainty
    assert len(rising) == 5
    # never before the time given; how much later is the load of the host
    assert (rising - [first + 0.04 * number for number in range(5)] >= -1 / bench.RATE).all()
    assert rising[0] < first + early + 0.5
    assert "after the time given" in pins["LED"].provenance["stimuli late"]


def test_each_wait_returns_the_next_edge(wired) -> None:
    pins = wired()
    pins.drive("BUTTON", 1)
    pins.wait("BUTTON", timeout=500 * ms)  # both edges have passed before the first wait begins to look
    pins.wait("BUTTON", "LED", timeout=500 * ms)
    with pytest.raises(RunnerError, match="no edge of BUTTON or LED came in 30 ms"):
        pins.wait("BUTTON", "LED", timeout=30 * ms)


def test_levels_are_as_the_analyser_sees_them(wired) -> None:
    pins = wired(drivers="BUTTON FAULT")
    pins.drive("BUTTON", 1)
    assert pins.level("BUTTON") == 1
    assert pins.wait_for("LED", 1, timeout=500 * ms) >= pins.begin_ns / 1e9 * 1000 * ms
    pins.drive("FAULT", 1)  # no channel: what was set
    assert pins.level("FAULT") == 1


def test_a_stuck_input_ignores_stimuli_and_then_has_the_last_one(wired) -> None:
    pins = wired()
    with pins.fault("BUTTON", stuck=0):
        pins.drive("BUTTON", 1)
        assert pins.level("BUTTON") == 0
    assert pins.level("BUTTON") == 1
    assert "BUTTON is stuck at 0" in str(pins.faults[0])


def test_a_glitch_and_a_stuck_time_of_an_input(wired) -> None:
    pins = wired()
    pins.drive("BUTTON", 1)
    pins.wait_for("LED", 1, timeout=500 * ms)
    begin = pins.now
    pins.glitch("BUTTON", 60 * ms)
    pins.stuck("BUTTON", 0, 60 * ms, at=begin + 300 * ms)
    pins.let_pass()
    pins.wait_for("LED", 1, timeout=500 * ms)
    edges = pins.edges("BUTTON", since=begin)
    assert len(edges.falling) == len(edges.rising) == 2
    assert 0.05 < edges.low_time().samples[0] < 0.5
    assert edges.falling[1] >= amount(begin, "s", "") + 0.29


def test_edges_can_be_read_after_the_end(wired) -> None:
    pins = wired()
    pins.drive("BUTTON", 1)
    pins.wait("LED", timeout=500 * ms)
    wiring = pins.wiring
    wiring.reset()
    wiring.close()
    wiring.close()
    assert len(pins["LED"].rising) == 1
    assert len(pins["BUTTON"].falling) == 1 or wiring._capture.written


def test_what_the_bench_cannot_do(wired) -> None:
    pins = wired()
    for act, message in (
        (lambda: pins.drive("LED", 1), "LED is an output of the partition"),
        (lambda: pins.drive("FAULT", 1), "(?s)nothing drives pin FAULT.*name: FAULT"),
        (lambda: pins.drive("BOTTON", 1), "(?s)has no pin 'BOTTON'.*BUTTON"),
        (lambda: pins.edges("BEAT"), "(?s)no channel of the logic analyser observes pin BEAT.*D7=BEAT"),
        (lambda: pins.wait("BEAT", timeout=1 * ms), "observes pin BEAT"),
        (lambda: pins.drive("BUTTON", 2), "the level .*2.* is not 0 or 1"),
        (lambda: pins.drive("BUTTON", 1, at=0 * ms), "cannot change at 0"),
        (lambda: pins.pulse("BUTTON", 0.001 * us), "(?s)cannot change twice within 1 ns.*FileDigitalOutputDriver"),
        (lambda: pins.wiring.force("LED", 0), "cannot be forced"),
        (lambda: pins.glitch("LED", 1 * ms), "cannot be forced"),
        (lambda: pins.stuck("BUTTON", 1, 1 * ms, at=0 * ms), "cannot change at 0"),
        (lambda: pins.stuck("BUTTON", 2, 1 * ms), "cannot be stuck at 2"),
        (lambda: pins.wiring.write_analogue("AI0", 1), "no analogue channel 'AI0'"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            act()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"analyser": ""}, "(?s)has no logic analyser.*HilAnalyserDriver.*digital output"),
        ({"analyser": "limit: 5"}, "no sample rate"),
        ({"analyser": "samplerate: 20000, limit: 0"}, "limit of captures during a test is 0 s"),
        ({"analyser": "samplerate: 0.5"}, "0.5 is not a whole number of Hz"),
        ({"analyser": "samplerate: 50000"}, "samples at 20000 Hz, not at 50000"),
        ({"channels": "D9=LED"}, "no channel 'D9'"),
        ({"channels": "", "drivers": "", "pins": None}, "has no pins"),
    ],
)
def test_a_bench_that_cannot_be_used(wired, options, message) -> None:
    with pytest.raises(ConfigurationError, match=message):
        wired(**options)


def test_without_a_manifest_s_table_the_environment_names_the_pins(wired) -> None:
    pins = wired(pins=None)
    assert (tuple(pins.wiring.inputs), tuple(pins.wiring.outputs)) == (("BUTTON",), ("LED",))


def test_a_device_that_cannot_sample_continuously(wired, tmp_path) -> None:
    (tmp_path / "mode").write_text("finite")
    with pytest.raises(InfrastructureError, match="doesn't support continuous sampling"):
        wired()


def test_an_analyser_that_ends_during_the_test(wired, tmp_path) -> None:
    (tmp_path / "mode").write_text("dies")
    pins = wired()
    with pytest.raises(InfrastructureError, match="failed with status 1.*unplugged"):
        pins.advance(5000 * ms)
    with pytest.raises(InfrastructureError, match="unplugged"):
        pins.edges("LED")


def test_a_capture_that_reaches_its_limit(wired) -> None:
    pins = wired(analyser="samplerate: 20000, limit: 1")
    with pytest.raises(InfrastructureError, match="(?s)ended after .*limit 1 s.*limit: "):
        pins.advance(5000 * ms)


def test_an_analyser_that_delivers_no_more(wired, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("hil.board.live_capture.DELIVERY", 0.5)
    (tmp_path / "mode").write_text("stalls")
    pins = wired()
    pins.advance(600 * ms)
    with pytest.raises(InfrastructureError, match="has delivered .* samples, .* are due"):
        pins.level("LED")


def test_a_digital_output_that_fails_at_its_time(wired, tmp_path) -> None:
    pins = wired()
    pins.drive("BUTTON", 1, at=pins.now + 50 * ms)
    (tmp_path / "BUTTON").unlink()
    (tmp_path / "BUTTON").mkdir()
    with pytest.raises(InfrastructureError, match="pin BUTTON cannot be set to 1 by FileDigitalOutputDriver"):
        pins.advance(300 * ms)


def test_a_loop_refuses_steps_finer_than_the_bench_reacts(wired) -> None:
    pins = wired()
    assert 0.001 < pins.wiring.link < 5
    with pytest.raises(
        ConfigurationError, match="too fine for this bench: it needs .* to read a level and set another"
    ):
        Loop(pins.wiring).run(lambda t, dt, inputs: {}, step=1 * ms, inputs={}, outputs={}, until=9 * ms)


def test_the_trace_has_the_pins_that_the_analyser_sees(wired) -> None:
    pins = wired()
    pins.drive("BUTTON", 1)
    found = pins_timeline(pins, follows_host=True)
    assert [edges.channel for edges in (*found.stimuli, *found.outputs)] == ["BUTTON", "LED"]
    assert found.clock == ANALYSER
    assert abs(found.host_zero_ns - pins.wiring._capture.time.began.ns) < 1e9


BOARD = """
imports: [hil.labgrid]
images: {main: image.toml}
targets:
  main:
    resources:
      NetworkSerialPort: {host: localhost, port: 1, protocol: raw}
      NetworkPowerPort: {model: rest, host: "http://localhost/{index}", index: 1}
      SigrokDevice: {driver: demo, channels: "D0=BUTTON,D3=LED"}
    drivers:
      NetworkPowerDriver: {}
      HilSerialDriver: {}
      HilStrategy: {}
      HilAnalyserDriver: {samplerate: 4000000}
      FileDigitalOutputDriver: {name: BUTTON, filepath: image.toml}
"""


def test_the_command_lists_what_the_board_file_lacks(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    stub_board(tmp_path)
    image = (tmp_path / "stub.toml").read_text()
    pins = '[pins]\ncontroller = "pl061"\ninputs = {BUTTON = 0, FAULT = 1}\noutputs = {LED = 4}\n'
    (tmp_path / "image.toml").write_text(image + pins)
    (tmp_path / "bench.yaml").write_text(BOARD)
    result = CliRunner().invoke(main, ["board", "pins", "--board", "bench.yaml", "--json"])
    assert result.exit_code == 1, result.output
    rows = json.loads(result.stdout)
    assert rows[0] == {
        "pin": "BUTTON",
        "direction": "input",
        "driven by": "FileDigitalOutputDriver(target=main, name=BUTTON)",
        "observed by": "D0",
    }
    assert [(row["pin"], row["driven by"], row["observed by"]) for row in rows[1:]] == [
        ("FAULT", "nothing", "nothing"),
        ("LED", "the partition", "D3"),
    ]
    assert "pin FAULT: no digital output drives it and no channel of the logic analyser has its name" in result.stderr
    (tmp_path / "image.toml").write_text(image)
    result = CliRunner().invoke(main, ["board", "pins", "--board", "bench.yaml"])
    assert result.exit_code == 0, result.output
    (tmp_path / "bench.yaml").write_text(BOARD.replace("      HilAnalyserDriver: {samplerate: 4000000}\n", ""))
    result = CliRunner().invoke(main, ["board", "pins", "--board", "bench.yaml"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code not in (0, 1)
    assert "has no logic analyser" in result.stderr
