"""Edges from VCD files and raw samples, the series that they give, and captures with a stand-in for sigrok-cli."""

from __future__ import annotations

import math
import re
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from hil.board.sigrok import Instant, capture
from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.clock import Clock
from hil.measure.units import ratio, us
from hil.signals.captures import read_vcd
from hil.signals.edges import Edges

HEADER = """\
$date today $end
$timescale {scale} $end
$scope module top $end
$var wire 1 ! clk $end
$var wire 1 " data $end
$upscope $end
$enddefinitions $end
"""
HOST = Clock("host monotonic", 1e-9, floor=1e-3)


@pytest.fixture
def vcd(tmp_path: Path):
    """Writes a VCD file with the channels clk (!) and data (")."""

    def write(body: str, scale: str = "1 us", header: str = HEADER) -> Path:
        path = tmp_path / "capture.vcd"
        path.write_text(header.replace("{scale}", scale) + body)
        return path

    return write


@pytest.fixture
def clk(vcd):
    """The edges of clk, of a file with this body."""
    return lambda body, scale="1 us": read_vcd(vcd(body, scale), ["clk"])["clk"]


def rising_at(times: np.ndarray, high: float, rate: float = 1e12) -> Edges:
    """A channel that rises at `times` and falls `high` seconds later."""
    ticks = np.rint(np.column_stack([times, times + high]).ravel() * rate).astype(np.int64)
    levels = np.tile([1, 0], len(times)).astype(np.uint8)
    ticks, levels = np.append(0, ticks), np.append(0, levels).astype(np.uint8)
    return Edges("clk", ticks, levels, int(ticks[-1]) + 1, rate, Clock("logic analyser", 1 / rate, floor=1 / rate))


# ---- series ----

SQUARE = "#0 0!\n#10 1!\n#13 0!\n#20 1!\n#24 0!\n#31 1!\n#40\n"


def test_each_series_of_a_square_wave(clk) -> None:
    edges = clk(SQUARE)
    assert edges.rising.tolist() == [10e-6, 20e-6, 31e-6]
    assert edges.falling.tolist() == [13e-6, 24e-6]
    assert edges.period().samples.tolist() == [10e-6, 11e-6]
    assert edges.period().times.tolist() == [10e-6, 20e-6]
    assert edges.high_time().samples.tolist() == [3e-6, 4e-6]
    assert edges.low_time().samples.tolist() == [7e-6, 7e-6]
    assert edges.duty_cycle().samples.tolist() == [3 / 10, 4 / 11]
    assert edges.duty_cycle().unit == "1"
    assert edges.cycle_to_cycle_jitter().samples.tolist() == [1e-6]
    assert edges.period_jitter(10 * us).samples == pytest.approx([0, 1e-6], abs=1e-15)
    assert edges.period_jitter().samples == pytest.approx([-0.5e-6, 0.5e-6])
    assert edges.period_jitter().provenance["nominal period"] == "10.5 us (mean)"
    assert edges.period().subject == "clk"
    assert edges.period().provenance["capture"].endswith("capture.vcd")


def test_equal_intervals_give_equal_samples(clk) -> None:
    body = "#0 0!\n" + "".join(f"#{n} 1!\n#{n + 3} 0!\n" for n in range(10**9, 10**9 + 7000, 7))
    assert set(clk(body).period().samples) == {7e-6}


def test_jitter_of_noisy_edges_is_what_theory_says() -> None:
    sigma, nominal, n = 20e-9, 10e-6, 200_000
    times = np.arange(1, n + 1) * nominal + np.random.default_rng(1).normal(0, sigma, n)
    edges = rising_at(times, 3e-6)
    period, cycles = edges.period_jitter(nominal * 1e6 * us), edges.cycle_to_cycle_jitter()
    assert np.sqrt(np.mean(period.samples**2)) == pytest.approx(math.sqrt(2) * sigma, rel=0.01)
    assert np.sqrt(np.mean(cycles.samples**2)) == pytest.approx(math.sqrt(6) * sigma, rel=0.01)
    assert edges.duty_cycle().samples.mean() == pytest.approx(0.3, rel=1e-3)


def test_latency_to_another_channel(vcd) -> None:
    channels = read_vcd(vcd('#0 0! 0"\n#10 1!\n#12 1"\n#15 0! 0"\n#20 1!\n#25 0!\n#30 1!\n#31 1"\n#33 0" 0!\n#34 1"\n'))
    latency = channels["clk"].latency_to(channels["data"])
    assert latency.samples == pytest.approx([2e-6, 1e-6])  # the second edge has no answer before the third
    assert latency.times == pytest.approx([10e-6, 30e-6])
    assert latency.provenance["unanswered"] == "1 of 3"
    assert latency.subject == "clk rising to data rising"
    assert channels["clk"].latency_to(channels["data"], "falling", "falling").samples[0] == 0
    with pytest.raises(ConfigurationError, match="'up'"):
        channels["clk"].latency_to(channels["data"], "up")


def test_latency_to_an_unanswered_channel_or_another_capture(vcd) -> None:
    channels = read_vcd(vcd('#0 0! 0"\n#10 1!\n'))
    with pytest.raises(ConfigurationError, match="1 edge") as caught:
        channels["clk"].latency_to(channels["data"])
    assert 'answer="falling" or answer="any"' in str(caught.value.hint)
    assert "data has 0 rising and 0 falling edges" in str(caught.value.hint)
    other = read_vcd(vcd('#0 0! 0"\n#10 1"\n', "10 us"))["data"]
    with pytest.raises(ConfigurationError, match=r"clk and data.* 1e\+06 and 100000"):
        channels["clk"].latency_to(other)


def test_latency_to_the_console_carries_the_uncertainty_of_the_start(clk) -> None:
    edges = clk("#0 0!\n#100 1!\n#150 0!\n#200 1!\n#250 0!\n#300 1!\n#400\n", "1 ms")
    began = Instant(5_000_000_000, uncertainty=2e-3)
    stamps = [5_110_000_000, 5_199_500_000, 5_220_000_000]  # the second is before its edge, within the uncertainty
    series = edges.latency_to_console(stamps, began, HOST)
    assert series.samples == pytest.approx([10e-3, -0.5e-3])
    assert series.provenance["unanswered"] == "1 of 3"
    assert series.clock.floor == pytest.approx(2e-3 + 1e-3 + 1e-3 + 0.3 * 100e-6)  # start, host, tick, drift
    assert "2 ms" in series.clock.remark
    assert series.subject == "clk rising to the console"


def test_edges_too_close_for_the_uncertainty_are_refused(clk) -> None:
    edges = clk("#0 0!\n#100 1!\n#101 0!\n#105 1!\n", "1 ms")
    with pytest.raises(ConfigurationError, match=r"5 ms.*4.01\d* ms"):
        edges.latency_to_console([1], Instant(0, 2e-3), HOST)


@pytest.mark.parametrize(
    ("body", "quantity"),
    [
        ("#0 0!\n", "period"),
        ("#0 0!\n#5 1!\n", "period"),
        ("#0 0!\n#5 1!\n#6 0!\n", "period"),
        ("#0 0!\n#5 1!\n#6 0!\n#9 1!\n#10 0!\n", "cycle_to_cycle_jitter"),
        ("#0 0!\n#5 1!\n", "duty_cycle"),
        ("#0 0!\n#5 1!\n", "high_time"),
        ("#0 1!\n#5 0!\n", "low_time"),
        ("", "period"),
    ],
)
def test_too_few_edges_are_refused(clk, body: str, quantity: str) -> None:
    with pytest.raises(ConfigurationError, match=r"clk: \d rising and \d falling"):
        getattr(clk(body), quantity)()


def test_a_nominal_period_needs_a_time(clk) -> None:
    with pytest.raises(ConfigurationError, match="nominal period"):
        clk(SQUARE).period_jitter(10 * ratio)


# ---- glitches ----


def test_glitches_go_only_when_asked_and_are_counted(clk) -> None:
    edges = clk("#0 0!\n#1000 1!\n#1400 0!\n#1401 1!\n#1500 0!\n#1700 1!\n#1701 0!\n#2000 1!\n#3000\n")
    assert len(edges.period()) == 3
    clean = edges.without_glitches(10 * us)
    assert clean.period().samples.tolist() == [1e-3]
    assert clean.high_time().samples.tolist() == [0.5e-3]
    assert clean.period().provenance["glitches removed"] == "2 shorter than 10 us"
    assert edges.without_glitches(1 * us).period().samples.tolist() == edges.period().samples.tolist()


def test_a_bouncing_contact_has_its_edge_at_the_last_bounce(clk) -> None:
    edges = clk("#0 0!\n#100 1!\n#102 0!\n#104 1!\n#106 0!\n#108 1!\n#300 0!\n#500\n")
    assert edges.without_glitches(10 * us).rising.tolist() == [108e-6]


def test_a_width_of_a_glitch_needs_a_time(clk) -> None:
    with pytest.raises(ConfigurationError, match="glitch"):
        clk(SQUARE).without_glitches(3)


# ---- VCD files ----


@pytest.mark.parametrize(
    ("scale", "tick"), [("1s", 1), ("10 ms", 1e-2), ("100\n ns", 1e-7), ("1ps", 1e-12), ("10fs", 1e-14)]
)
def test_the_time_scale_counts(clk, scale: str, tick: float) -> None:
    edges = clk(SQUARE, scale)
    assert edges.period().samples == pytest.approx([10 * tick, 11 * tick], rel=1e-15)
    assert edges.clock.resolution == pytest.approx(tick)
    assert edges.clock.floor is None  # how often the instrument sampled is not in the file


def test_what_passes_through_the_unknown_is_no_edge_and_no_interval(clk) -> None:
    edges = clk("#0 x!\n#5 1!\n#8 0!\n#10 1!\n#12 z!\n#14 1!\n#15 0!\n#20 1!\n#22 0!\n#25 1!\n#26 X!\n#27 0!\n#30 1!\n")
    assert edges.rising.tolist() == [10e-6, 20e-6, 25e-6, 30e-6]
    assert edges.falling.tolist() == [8e-6, 15e-6, 22e-6]
    assert edges.period().samples.tolist() == [5e-6]
    assert edges.without_glitches(2 * us).rising.tolist() == [10e-6, 20e-6, 30e-6]


def test_forms_that_instruments_write(tmp_path: Path) -> None:
    path = tmp_path / "other.vcd"
    path.write_bytes(
        b"$version some instrument $end $timescale\r\n\t1\r\n ns $end\r\n"
        b"$var wire 1\r\n a1 SCL $end $var wire 8 ! bus [7:0] $end $var real 64 r volts $end\r\n"
        b"$var reg 1 b SDA [0] $end\r\n$enddefinitions $end\r\n"
        b"$dumpvars 0a1 bxxxxxxxx ! r1.5 r b1 b $end\r\n"
        b"$comment 1a1 #99 $end\r\n#10\r\n1a1\r\nb01 !\r\n#15 1a1 1a1 r0.5 r\r\n#20\r\n0a1 b0 b\r\n$dumpoff xa1 $end\r\n#25 0a1\r\n#30 1a1 0a1"
    )
    channels = read_vcd(path, ["SCL", "SDA[0]"])
    assert channels["SCL"].rising.tolist() == [10e-9]  # written again at 15; no time passes at 30
    assert channels["SCL"].falling.tolist() == []  # at 20 the dump went off
    assert channels["SDA[0]"].falling.tolist() == [20e-9]
    assert list(read_vcd(path)) == ["SCL", "SDA[0]"]
    assert read_vcd(path, ["bus[0]"])["bus[0]"].rising.tolist() == []  # it was unknown before
    with pytest.raises(ConfigurationError, match=r"'bus\[7:0\]'.* 8 bits(?s:.*)SCL"):
        read_vcd(path, ["bus[7:0]"])
    with pytest.raises(ConfigurationError, match=r"'volts'.*real"):
        read_vcd(path, ["volts"])


# as other tools write them: header, events, channel, its rising edges in seconds
TOOLS = {
    "ghdl": (
        "$date\n  Sat Nov 28\n$end\n$version\n  GHDL v0\n$end\n$timescale\n  1 fs\n$end\n$var reg 1 ! clk $end\n"
        '$var reg 8 " cnt[7:0] $end\n$var real 64 # level $end\n$comment state is not dumped $end\n$enddefinitions $end\n',
        '#0\nU!\nbUUUUUUUU "\nr0.0 #\n#1000000\n0!\nb00000000 "\n#2000000\n1!\n#3000000\nL!\n#4000000\nH!\n#5000000\n-!\n',
        "clk",
        [2e-9, 4e-9],
    ),
    "verilator": (
        "$version Generated by VerilatedVcd $end\n$timescale 1ps $end\n\n $scope module TOP $end\n  $scope module my_top $end\n"
        "   $var wire  1 # irq $end\n   $var wire 32 $ count [31:0] $end\n  $upscope $end\n $upscope $end\n"
        "$enddefinitions $end\n\n\n",
        "#0\n0#\nb00000000000000000000000000000000 $\n#10\n1#\nb00000000000000000000000000000001 $\n#20\n0#\n",
        "my_top.irq",
        [1e-11],
    ),
    "iverilog": (
        '$timescale\n\t1s\n$end\n$scope module tb $end\n$var parameter 32 ! WIDTH $end\n$var wire 1 " \\bus-1.ack  $end\n'
        "$scope begin names $end\n$var string 1 # phase $end\n$upscope $end\n$upscope $end\n$enddefinitions $end\n"
        "$comment Show the parameter values. $end\n$dumpall\nb1000 !\n$end\n",
        '#0\n$dumpvars\nsRESET #\n0"\n$end\n#2\n1"\nsa state " with blanks #\n#3\ns #\n0"\nsA # 1"\n#4 sB # 0"\n',
        "bus-1.ack",
        [2.0],
    ),
    "saleae": (
        "$timescale 10 ns $end\n$scope module logic $end\n$var wire 1 0 Channel 0 $end\n$var wire 1 1 Channel 1 $end\n"
        "$upscope $end\n$enddefinitions $end\n",
        "#0 00 01\n#50 10\n#60 00 11\n#70\n",
        "Channel 0",
        [5e-7],
    ),
    "vivado": (
        "$timescale 1.25 NS $end\n$scope module ila $end\n$var reg 1 ! probe0[0:0] $end\n$var wire 4 # data [3:0] $end\n"
        "$upscope $end\n$enddefinitions $end\n",
        "#0\nb0 !\nb0 #\n#4\nb1 !\nb110 #\n#8\nb0 !\n",
        "probe0",
        [5e-9],
    ),
    "a bit of a vector": (
        "$timescale 1us $end $var wire 4 # data [3:0] $end $enddefinitions $end\n",
        "#0 b0 # #4 b110 # #5 bx # #6 b0 # #8 B1111 #\n",
        "data[2]",
        [4e-6, 8e-6],
    ),
    "a bit of a vector the other way round": (
        "$timescale 1us $end $var wire 4 # data [0:3] $end $enddefinitions $end\n",
        "#0 b0 # #4 b100 #\n",
        "data[1]",
        [4e-6],
    ),
    "modelsim": (
        "$timescale\n\t1ps\n$end\n$scope module dut $end\n$var port 1 <0 irq $end\n$var port [1:0] <1 data $end\n"
        "$upscope $end\n$enddefinitions $end\n",
        "#0\n$dumpports\npL 6 0 <0\npDD 66 00 <1\n$end\n#100\npH 0 6 <0\npDU 60 06 <1\n#200\n$dumpportsoff\npX 6 6 <0\n"
        "$end\n#300\n$dumpportson\npl 6 0 <0\n$end\n#400\nph 0 6 <0\n$vcdclose #500 $end\n",
        "irq",
        [1e-10, 4e-10],
    ),
    "all on one line": (
        "$timescale 100 \u00b5s $end $var wire 1 ! p $end $enddefinitions $end ",
        "#0 0! #1 1 ! # 2 0!",
        "p",
        [1e-4],
    ),
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_of_other_tools_are_read(tmp_path: Path, tool: str, encoding: str) -> None:
    header, events, channel, rising = TOOLS[tool]
    path = tmp_path / "other.vcd"
    path.write_bytes((header + events).encode(encoding))
    assert read_vcd(path, [channel])[channel].rising == pytest.approx(rising, rel=1e-15)


def test_an_extended_file_ends_where_it_was_closed(tmp_path: Path) -> None:
    header, events, channel, _ = TOOLS["modelsim"]
    path = tmp_path / "ports.vcd"
    path.write_text(header + events)
    assert read_vcd(path)[channel].end == 500
    assert read_vcd(path, ["data[0]"])["data[0]"].rising == pytest.approx([1e-10])


@pytest.mark.parametrize("scale", ["6666ps", "0.001fs", "1 NS", "2.5 Us", "1e-3 s", "1 as"])
def test_any_time_scale_counts(clk, scale: str) -> None:
    number, unit = re.fullmatch(r"(\S+?) ?([a-z]+)", scale.lower()).groups()
    tick = float(number) * {"s": 1, "us": 1e-6, "ns": 1e-9, "ps": 1e-12, "fs": 1e-15, "as": 1e-18}[unit]
    assert clk(SQUARE, scale).period().samples == pytest.approx([10 * tick, 11 * tick], rel=1e-12)


def test_names_with_and_without_their_scope(vcd) -> None:
    header = HEADER.replace(
        '$var wire 1 " data', "$scope module sub $end $var wire 1 # clk $end $upscope $end $var wire 1 ! copy"
    )
    path = vcd("#0 0! 0#\n#5 1!\n#6 1#\n", header=header)
    assert {name: edges.rising.tolist() for name, edges in read_vcd(path).items()} == {
        "top.clk": [5e-6],
        "top.sub.clk": [6e-6],
        "copy": [5e-6],
    }
    assert list(read_vcd(path, ["copy", "top.sub.clk"])) == ["copy", "top.sub.clk"]
    with pytest.raises(ConfigurationError, match="'clk'.*top.clk, top.sub.clk"):
        read_vcd(path, ["clk"])


def test_an_unknown_channel_is_reported_with_the_near_one_and_all(vcd) -> None:
    with pytest.raises(ConfigurationError, match=r"'dta'(?s:.*)'data'.*top.clk, top.data"):
        read_vcd(vcd(SQUARE), ["clk", "dta"])


SIGROK = HEADER.replace("$date today $end", "$comment\n  Acquisition with 2/8 channels at 24 MHz\n$end").format(
    scale="100 ps"
)


def test_edges_of_a_sampling_instrument_lie_on_its_samples(vcd) -> None:
    edges = read_vcd(vcd("#0 0!\n#417 1!\n#833 0!\n#1667 1!\n#2083 0!\n#2917 1!\n#5000\n", header=SIGROK), ["clk"])[
        "clk"
    ]
    assert edges.period().samples.tolist() == [3 / 24e6, 3 / 24e6]  # not 125.0 and 125.1 ns, as in the file
    assert edges.clock.resolution == edges.clock.floor == 1 / 24e6
    assert edges.cycle_to_cycle_jitter().clock.floor == 2 / 24e6
    assert edges.end == 12


def test_a_sample_rate_that_is_given_counts_and_must_fit(vcd) -> None:
    path = vcd("#0 0!\n#10 1!\n#20 0!\n#30 1!\n", "100 ns")
    assert read_vcd(path, ["clk"], samplerate=1e6)["clk"].clock.floor == 1e-6
    for wrong in (3e5, 1e9):
        with pytest.raises(ConfigurationError, match=r"clk.* Hz"):
            read_vcd(path, ["clk"], samplerate=wrong)
    with pytest.raises(ConfigurationError, match="0 Hz"):
        read_vcd(path, ["clk"], samplerate=0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("hello world\n", r"\$enddefinitions"),
        (HEADER[:60], r"\$enddefinitions"),
        (HEADER.replace("$timescale {scale} $end\n", ""), "time ?scale"),
        (HEADER.format(scale="2 weeks"), "'2weeks'"),
        (HEADER.format(scale="0 us"), "'0us'"),
        (HEADER.format(scale="1 us").replace("1 ! clk", "1"), "`.var wire 1`"),
        (HEADER.format(scale="1 us") + "#0 0!\n#10 1!\n#5 0!\n", "#10: '#5'"),
        (HEADER.format(scale="1 us") + "#0 0!\n#zz 1!\n", "#0: '#zz'"),
        (HEADER.format(scale="1 us") + "#99999999999999999999 1!\n", "#99999999999999999999"),
        (HEADER.format(scale="1 us") + "#0 0!\n#10 1", "#10: '1'"),
        (HEADER.format(scale="1 us") + "#0 0!\n#10 1%\n", "#10: '1%'"),
        (HEADER.format(scale="1 us") + "#0 b01 %\n", "'b01 %'"),
        (HEADER.format(scale="1 us") + "#0 b", "'b '"),
        (HEADER.format(scale="1 us") + "\x00\xff\n", "#0: "),
        ("x" * (1 << 20) + "y" * (1 << 20), "VCD"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.vcd"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        read_vcd(path)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_vcd(tmp_path / "none.vcd")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_vcd(tmp_path)


def test_words_may_lie_across_the_pieces_that_a_file_is_read_in(clk) -> None:
    count = 200_000
    edges = clk("#0 0!\n" + "".join(f"#{10 * n} {n % 2}!\n" for n in range(1, count)))
    assert len(edges.rising) == count // 2
    assert set(edges.period().samples) == {20e-6}


# ---- captures ----

SHOW = "demo - Demo device with 6 channels: D0 D1 D2 D3 A0 A1"
CAPTURED = r"""
printf 'sr: [00:00.020000] hwdriver: demo: Starting acquisition.\n' >&2
sleep 0.15
printf 'cli: Received SR_DF_LOGIC (%s bytes, unitsize = 1).\n' 60 40 >&2
printf '$comment Acquisition with 1/4 channels at 1 kHz $end $timescale 1 ms $end $var wire 1 ! D0 $end $enddefinitions $end\n#0 0!\n#5 1!\n#100\n'
"""


@pytest.fixture
def tool(tmp_path: Path):
    """Makes a stand-in for sigrok-cli that shows a device and, asked to capture, runs `script`."""

    def make(script: str, show: str = f"echo '{SHOW}'") -> str:
        path = tmp_path / "sigrok-cli"
        path.write_text(f'#!/bin/sh\necho "$@" >>"$0.calls"\ncase "$*" in *--show*) {show}; exit;; esac\n{script}\n')
        path.chmod(0o755)
        return str(path)

    return make


def run(tool: str, path: Path, channels=("D0",), samplerate=1000, seconds=0.1, device="demo", **more):
    return capture(device, channels, samplerate, seconds, path, tool=tool, **more)


def test_a_capture_and_what_it_knows_of_its_start(tool, tmp_path: Path) -> None:
    before = time.monotonic_ns()
    got = run(tool(CAPTURED), tmp_path / "c.vcd", ["D2=CLK", "D0"], options=["-g", "Logic"])
    after = time.monotonic_ns()
    assert (got.channels, got.samples, got.samplerate) == (("CLK", "D0"), 100, 1000)
    assert read_vcd(got.path)["D0"].rising.tolist() == [5e-3]
    earliest, latest = (got.began.ns + sign * got.began.uncertainty * 1e9 for sign in (-1, 1))
    assert before + 20e6 <= earliest  # what the log says that passed before the start
    assert before + 150e6 - 99e6 <= latest <= after - 99e6  # the last of 100 samples came, and was taken before
    show, call = (tmp_path / "sigrok-cli.calls").read_text().splitlines()
    assert show == "-d demo -g Logic --show"
    # all up to the last that is wanted: libsigrok's VCD writer names the first bits
    assert call == "-d demo -g Logic -l 4 -C D0,D1,D2=CLK --config samplerate=1000 --samples 100 -O vcd"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"channels": ["D00"]}, r"'D00'\n.*'D0'.* D0, D1, D2, D3, A0, A1"),
        ({"channels": []}, r"\[\]"),
        ({"channels": "D0"}, "'D0'"),
        ({"samplerate": 0}, r"rate 0\b"),
        ({"samplerate": 0.5}, r"0\.5"),
        ({"samplerate": math.nan}, "nan"),
        ({"seconds": 0}, r"\b0 s"),
        ({"seconds": 1e-9}, "1e-09 s"),
        ({"seconds": math.inf}, "inf s"),
    ],
)
def test_a_capture_that_cannot_be(tool, tmp_path: Path, wrong, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        run(tool(CAPTURED), tmp_path / "c.vcd", **wrong)
    assert not (tmp_path / "c.vcd").exists()


@pytest.mark.parametrize(
    ("show", "kind", "expected"),
    [
        ("echo Driver nope not found. >&2; exit 1", ConfigurationError, r"status 1\b.*Driver nope .*\n.*-L"),
        ("echo No devices found. >&2; exit 1", InfrastructureError, r"No devices found"),
        ("exit 127", InfrastructureError, r"status 127\n.* sigrok-cli"),
        ("exit 0", InfrastructureError, "status 0"),
    ],
)
def test_a_device_that_is_not_there(tool, tmp_path: Path, show: str, kind, expected: str) -> None:
    with pytest.raises(kind, match=expected):
        run(tool(CAPTURED, show), tmp_path / "c.vcd")


@pytest.mark.parametrize(
    ("script", "kind", "expected"),
    [
        (
            "echo \"Failed to set device option 'samplerate': invalid argument.\" >&2; exit 1",
            ConfigurationError,
            "option 'samplerate'.*\n.*--show",
        ),
        ("exit 3", InfrastructureError, "status 3"),
        ("kill -9 $$", InfrastructureError, "status -9"),
        ("true", InfrastructureError, "samples\n.*trigger"),
        (CAPTURED.replace("60 40", "60"), InfrastructureError, "100 samples, 60 "),
        (
            CAPTURED.replace(r"\n#100\n", r"\n#7"),
            InfrastructureError,
            "100 samples, 100 (.|\n)*disk",
        ),
        (CAPTURED.replace("at 1 kHz", "at 500 Hz"), ConfigurationError, "demo samples at 500 Hz, not at 1000"),
    ],
)
def test_a_capture_that_fails(tool, tmp_path: Path, script: str, kind, expected: str) -> None:
    with pytest.raises(kind, match=expected):
        run(tool(script), tmp_path / "c.vcd")


@pytest.mark.parametrize("close", ["", "exec 2>&-;"])
def test_a_capture_that_hangs_ends_with_its_children(
    tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, close: str
) -> None:
    monkeypatch.setattr("hil.board.sigrok.GRACE", 0.9)
    with pytest.raises(InfrastructureError, match=r"1 s.*waiting for it"):
        run(tool(f"echo waiting for it >&2; sleep 100 & echo $! >{tmp_path}/pid; {close} wait"), tmp_path / "c.vcd")
    child = int((tmp_path / "pid").read_text())
    with suppress(FileNotFoundError, ProcessLookupError):
        until = time.monotonic() + 20
        # a zombie is dead; who waits for it is up to the system
        while (state := Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]) != "Z":
            assert time.monotonic() < until, state
            time.sleep(0.01)


def test_a_device_that_hangs_when_it_is_looked_for(tool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hil.board.sigrok.SCAN_LIMIT", 0.2)
    with pytest.raises(InfrastructureError, match=r"--show` did not end within 0.2 s"):
        run(tool(CAPTURED, "exec sleep 30"), tmp_path / "c.vcd")


def test_sigrok_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=r"(?s)/nowhere/sigrok-cli .* sigrok-cli"):
        run("/nowhere/sigrok-cli", tmp_path / "c.vcd")


def test_a_capture_that_cannot_be_written(tool, tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match="cannot write the capture .*: No such file"):
        run(tool(CAPTURED), tmp_path / "none" / "c.vcd")
