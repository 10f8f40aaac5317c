"""Real captures of sigrok's demo device, through labgrid, and their import."""

from __future__ import annotations

import shlex
import shutil
import time

import numpy as np
import pytest
from labgrid import Environment

from hil.board.analyser import HilAnalyserDriver
from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.clock import Clock
from hil.signals.captures import read_vcd

RATE = 1_000_000  # Hz
PATTERN = 64  # samples after which the demo device's picture comes again
ENVIRONMENT = """
targets:
  main:
    resources:
      SigrokDevice: {{driver: {driver}, channels: "{channels}"}}
    drivers:
      HilAnalyserDriver: {{}}
imports: [hil.labgrid]
"""


@pytest.fixture
def analyser(tmp_path):
    """Makes the driver of a device that a labgrid environment describes."""
    assert shutil.which("sigrok-cli"), "sigrok-cli is not installed; ./bootstrap does that"
    made = []

    def make(driver="demo", channels="D0=CLK,D2=DATA") -> HilAnalyserDriver:
        path = tmp_path / "board.yaml"
        path.write_text(ENVIRONMENT.format(driver=driver, channels=channels))
        made.append(Environment(str(path)))
        return made[-1].get_target("main").get_driver("HilAnalyserDriver")

    yield make
    for environment in made:
        environment.cleanup()


def test_a_capture_has_the_pattern_s_edges(analyser, tmp_path):
    before = time.monotonic_ns()
    capture = analyser().capture(tmp_path / "demo.vcd", RATE, 0.3)
    after = time.monotonic_ns()
    assert (capture.channels, capture.samples) == (("CLK", "DATA"), 300_000)
    for edges in read_vcd(capture.path, capture.channels).values():
        assert (edges.rate, edges.end, edges.clock.floor) == (RATE, 300_000, 1 / RATE)
        rises = np.rint(edges.rising * RATE).astype(int)
        again = rises[rises >= PATTERN] - PATTERN
        assert len(rises) > 10_000
        assert (again == rises[: len(again)]).all()
        periods = edges.period().samples
        assert 2 / RATE <= periods.min() < periods.max() < PATTERN / RATE
    # the device samples by the host's clock, so all of the capture lies within the call
    assert before <= capture.began.ns - capture.began.uncertainty * 1e9
    assert capture.began.ns + capture.began.uncertainty * 1e9 <= after - 0.29e9


def test_edges_and_the_lines_that_follow_them(analyser, tmp_path):
    capture = analyser().capture(tmp_path / "demo.vcd", 10, 2.0, ["CLK"])  # a busy host starts it some 100 ms late
    edges = read_vcd(capture.path, ["CLK"])["CLK"]
    lines = [capture.began.ns + round(at * 1e9) + 4_000_000 for at in edges.rising]
    series = edges.latency_to_console(lines, capture.began, Clock("host monotonic", 1e-9, floor=1e-4))
    assert series.samples == pytest.approx(np.full(len(edges.rising), 4e-3), abs=1e-6)
    assert series.clock.floor > capture.began.uncertainty > 0


def test_a_file_written_by_hand_gives_what_sigrok_s_does(analyser, tmp_path):
    sigrok = read_vcd(analyser().capture(tmp_path / "demo.vcd", RATE, 0.01).path)["CLK"]
    changes = "".join(f"#{tick * 100}\n{level}%\n" for tick, level in zip(sigrok.ticks, sigrok.levels, strict=True))
    by_hand = tmp_path / "scope.vcd"
    by_hand.write_text(f"$timescale\n  10 ns\n$end\n$var wire 1 % CH1 $end\n$enddefinitions $end\n{changes}#1000000\n")
    for rate in (None, RATE):
        edges = read_vcd(by_hand, samplerate=rate)["CH1"]
        assert edges.period().samples.tolist() == sigrok.period().samples.tolist()


def test_what_sigrok_refuses_is_told(analyser, tmp_path):
    path = tmp_path / "demo.vcd"
    with pytest.raises(ConfigurationError, match=r"no channel 'CLOCK'\n.*its channels are: D0, .* D7"):
        analyser().capture(path, RATE, 0.01, ["CLOCK"])
    with pytest.raises(ConfigurationError, match=r"Driver nothing not found"):
        analyser("nothing").capture(path, RATE, 0.01)
    with pytest.raises(InfrastructureError, match="No devices found"):
        analyser("fx2lafw").capture(path, RATE, 0.01)


def test_a_device_at_an_exporter_is_reached_through_labgrid(analyser, tmp_path, monkeypatch):
    """The command goes through the resource's prefix, quoted for a remote shell; here one that is near."""
    driver = analyser(channels="D0=A B")
    shell = ["sh", "-c", 'echo "$*" >>"$0"; eval "$*"', str(tmp_path / "log")]
    kind = type(driver.sigrok)
    monkeypatch.setattr(kind, "command_prefix", property(lambda self: shell))
    monkeypatch.setattr(kind, "wrap_command", lambda self, command: shell + [shlex.quote(word) for word in command])
    capture = driver.capture(tmp_path / "demo.vcd", RATE, 0.01)
    assert list(read_vcd(capture.path)) == ["A B"]
    assert "timeout 20 sigrok-cli -d demo -l 4 -C 'D0=A B'" in (tmp_path / "log").read_text()
