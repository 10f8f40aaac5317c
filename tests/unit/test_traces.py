"""The timeline of a test, and what VCD readers and Perfetto's trace processor read of it."""

from __future__ import annotations

import gzip
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from executions import execution
from report_pages import recorded
from trace_processor import query
from vcd_reader import VCDVCD

from hil.board.boot_report import BootReport, StageTime
from hil.errors import ConfigurationError, InfrastructureError
from hil.measure.clock import CONSOLE, VIRTUAL, Clock
from hil.measure.decision import decide
from hil.measure.figures import misses
from hil.measure.series import Series
from hil.measure.units import ms, percent
from hil.signals.captures import read_vcd
from hil.signals.edges import AXIS, Edges
from hil.signals.loop.result import LoopResult
from hil.signals.loop.sampled import SampledSignal
from hil.signals.pins import PinFault
from hil.signals.trace.axes import merged, shifted
from hil.signals.trace.loop_timeline import loop_timeline
from hil.signals.trace.perfetto import perfetto_blocks, perfetto_bytes, write_perfetto
from hil.signals.trace.pins_timeline import pins_timeline
from hil.signals.trace.placing import console_timeline, series_timeline
from hil.signals.trace.timeline import Events, FrameOnBus, Moment, Period, Signal, Timeline
from hil.signals.trace.vcd_writer import vcd_blocks, write_vcd

MS = 1_000_000
CLOCK = Clock(VIRTUAL, 1e-9, exact=True, floor=0.0)
HOSTILE = [
    "a b\t\n",
    "$end",
    "data[3]",
    "top.sub",
    "",
    "\x1b[2J\x00",
    "\udcff",
    "n" * 100_000,
    "a b",
    "ä°\u202e",
    "at 5 kHz",
]
ERRORS = "select name, value from stats where severity in ('error', 'data_loss') and value > 0"


def edges(name: str, *changes: tuple[int, int], end: int = 3000 * MS, rate: float = 1e9) -> Edges:
    ticks, levels = (
        np.array(column, dtype=kind)
        for column, kind in zip(zip(*changes, strict=True), (np.int64, np.uint8), strict=True)
    )
    return Edges(name, ticks, levels, end, rate, CLOCK)


def whole() -> Timeline:
    moments = np.arange(0, 3000, 10) * MS
    return Timeline(
        VIRTUAL,
        stages=[Period(0, 40 * MS, "xen"), Period(40 * MS, 90 * MS, "linux")],
        lines=[Moment(100 * MS, "login: \x1b[31m", {"line": "7"}), Moment(150 * MS, "x" * 100_000)],
        executions=[Period(200 * MS, 2900 * MS, "thermostat.wasm: exited 0", {"verdict": "exited 0"})],
        releases=[Events("release jitter", moments)],
        misses=[Events("release jitter > 2 ms", [500 * MS, 800 * MS])],
        stimuli=[edges("BUTTON", (0, 0), (500 * MS, 1), (600 * MS, 0))],
        outputs=[edges("LED", (0, 0), (500 * MS + 49_300, 1), (600 * MS + 50_000, 0)), edges("SPARE", (0, 2), (MS, 1))],
        signals=[
            Signal("temperature", moments, 20 + moments / 1e9, "°C"),
            Signal("AO0", [5, 6, 7], [1.0, np.nan, 2.0], driver="partition"),
        ],
        frames=[
            FrameOnBus(700 * MS, 700 * MS + 230_000, 0x123, b"\1\2\xff", sender="partition"),
            FrameOnBus(700 * MS + 100_000, 701 * MS, 0x1ABCDEF0, extended=True, kind="remote"),
        ],
        faults=[Period(1000 * MS, 1500 * MS, "BUTTON stuck at 0"), Period(1200 * MS, 1700 * MS, "glitches")],
        overruns=[Period(2000 * MS, 2003 * MS, "step 2000")],
        left_out={"stages": 3},
    )


# VCD


def test_a_vcd_file_read_back_has_the_same_edges(tmp_path: Path) -> None:
    path = tmp_path / "signals.vcd"
    write_vcd(whole(), path)
    found = read_vcd(path)
    assert list(found) == ["BUTTON", "LED", "SPARE"]
    for pin in whole().pins:
        assert found[pin.channel].ticks.tolist() == pin.ticks.tolist()
        assert found[pin.channel].levels.tolist() == pin.levels.tolist()
        assert found[pin.channel].end == 3000 * MS
        assert found[pin.channel].rate == 1e9
    assert [f"{sample:.9g}" for sample in found["BUTTON"].latency_to(found["LED"]).samples] == ["4.93e-05"]


def test_another_reader_finds_wires_and_real_values(tmp_path: Path) -> None:
    path = tmp_path / "signals.vcd"
    write_vcd(whole(), path)
    other = VCDVCD(str(path))
    assert float(other.timescale["timescale"]) == 1e-9
    assert other["partition.LED"].tv == [(0, "0"), (500 * MS + 49_300, "1"), (600 * MS + 50_000, "0")]
    assert other["partition.SPARE"].tv == [(0, "x"), (MS, "1")]
    temperature = other["bench.temperature"]
    assert temperature.var_type == "real"
    assert [(at, float(value)) for at, value in temperature.tv[:2]] == [(0, 20.0), (10 * MS, 20.01)]
    assert str(other["partition.AO0"].tv[1][1]) == "nan"
    assert "$comment temperature is in °C $end" in path.read_text()


def test_ticks_of_a_capture_become_nanoseconds(tmp_path: Path) -> None:
    write_vcd(
        Timeline("logic analyser", outputs=[edges("LED", (0, 0), (24, 1), end=48, rate=24e6)]), tmp_path / "x.vcd"
    )
    assert read_vcd(tmp_path / "x.vcd")["LED"].ticks.tolist() == [0, 1000]
    assert (tmp_path / "x.vcd").read_text().endswith("#2000\n")


def test_hostile_names_stay_apart_and_break_no_reader(tmp_path: Path) -> None:
    pins = [edges(name, (0, 0), (number, 1)) for number, name in enumerate(HOSTILE, 1)]
    timeline = Timeline("x $end \n", outputs=pins, signals=[Signal(name, [1], [2.0], name) for name in HOSTILE])
    write_vcd(timeline, tmp_path / "x.vcd")
    found = read_vcd(tmp_path / "x.vcd")
    assert sorted(int(pin.ticks[-1]) for pin in found.values()) == list(range(1, len(HOSTILE) + 1))
    assert all(pin.rate == 1e9 for pin in found.values()), "the comment states no sample rate"
    assert len(VCDVCD(str(tmp_path / "x.vcd")).signals) == 2 * len(HOSTILE)
    assert (tmp_path / "x.vcd").stat().st_size < 50_000


# Perfetto


def test_the_trace_processor_finds_edges_executions_and_all_else() -> None:
    slices, counters, processes, units, facts, errors = query(
        perfetto_bytes(whole()),
        "select s.ts, s.dur, s.name, s.category, t.name as track, p.name as process from slice s "
        "join process_track t on t.id = s.track_id join process p using (upid) where category != 'release' order by s.id",
        "select c.ts, c.value, t.name from counter c join counter_track t on t.id = c.track_id "
        "where t.name in ('LED', 'BUTTON', 'SPARE', 'AO0') order by t.name, c.ts",
        "select pid, name from process where pid > 0 order by pid",
        "select name, unit from counter_track where unit is not null",
        "select s.name, a.key, a.display_value as fact from slice s join args a using (arg_set_id) where key like 'debug.%' "
        "order by s.id, a.key",
        ERRORS,
    )
    assert errors == []
    assert processes == [(1, "partition"), (2, "guest"), (3, "bench")]
    found = {(name, category): (at, length, track, process) for at, length, name, category, track, process in slices}
    assert found["thermostat.wasm: exited 0", "execution"] == (200 * MS, 2700 * MS, "executions", "partition")
    assert found["linux", "stage"] == (40 * MS, 50 * MS, "boot stages", "guest")
    assert found["login: \\x1b[31m", "console"] == (100 * MS, 0, "console", "guest")
    assert found["123", "frame"] == (700 * MS, 230_000, "CAN0", "bench")
    assert found["1ABCDEF0 remote", "frame"] == (700 * MS + 100_000, 900_000, "CAN0 2", "bench")
    assert found["BUTTON stuck at 0", "fault"] == (1000 * MS, 500 * MS, "faults", "bench")
    assert found["glitches", "fault"] == (1200 * MS, 500 * MS, "faults 2", "bench")
    assert found["step 2000", "overrun"] == (2000 * MS, 3 * MS, "step overruns", "bench")
    assert [row[0] for row in slices if row[3] == "miss"] == [500 * MS, 800 * MS]
    assert found["not finite", "not finite"] == (6, 0, "AO0: not finite", "partition")
    assert counters == [
        *((5, 1.0, "AO0"), (7, 2.0, "AO0")),
        *((0, 0.0, "BUTTON"), (500 * MS, 1.0, "BUTTON"), (600 * MS, 0.0, "BUTTON")),
        *((0, 0.0, "LED"), (500 * MS + 49_300, 1.0, "LED"), (600 * MS + 50_000, 0.0, "LED")),
        *((0, 0.5, "SPARE"), (MS, 1.0, "SPARE")),
    ]
    assert units == [("temperature", "°C")]
    assert ("123", "debug.data", "01 02 FF") in facts
    assert ("login: \\x1b[31m", "debug.line", "7") in facts
    (text,) = (fact for _, key, fact in facts if key == "debug.text")
    assert len(text) == 4096, "a long line is cut"


def test_hostile_names_are_names_in_perfetto() -> None:
    timeline = Timeline(
        HOSTILE[5],
        lines=[Moment(0, name, {name: name}) for name in HOSTILE],
        outputs=[edges(name, (0, 1)) for name in HOSTILE],
        executions=[Period(0, 0, name) for name in HOSTILE],
    )
    found = perfetto_bytes(timeline)
    names, tracks, errors = query(
        found, "select name from slice", "select count(*) as n, max(length(name)) as longest from counter_track", ERRORS
    )
    assert errors == []
    assert tracks == [(len(HOSTILE), 200)]
    assert len(names) == 2 * len(HOSTILE)
    assert all((name or "").isprintable() for (name,) in names)
    assert len(found) < 50_000


def test_an_empty_timeline_is_a_file_without_events(tmp_path: Path) -> None:
    empty = Timeline(VIRTUAL)
    assert empty.empty
    assert (empty.begin_ns, empty.end_ns) == (None, None)
    events, processes, errors = query(
        perfetto_bytes(empty), "select * from slice", "select name from process where pid > 0", ERRORS
    )
    assert (events, len(processes), errors) == ([], 3, [])
    write_vcd(empty, tmp_path / "x.vcd")
    with pytest.raises(ConfigurationError, match="no one-bit signal"):
        read_vcd(tmp_path / "x.vcd")
    silent = Timeline(VIRTUAL, outputs=[Edges("LED", np.empty(0, np.int64), np.empty(0, np.uint8), 0, 1e9, CLOCK)])
    assert silent.begin_ns is None
    assert query(perfetto_bytes(silent), "select name from counter_track", ERRORS) == [[], []]


def test_the_same_timeline_gives_the_same_bytes(tmp_path: Path) -> None:
    assert perfetto_bytes(whole()) == perfetto_bytes(whole())
    assert list(vcd_blocks(whole())) == list(vcd_blocks(whole()))
    for name in ("a.pftrace.gz", "b.pftrace.gz"):
        write_perfetto(whole(), tmp_path / name)
    assert (tmp_path / "a.pftrace.gz").read_bytes() == (tmp_path / "b.pftrace.gz").read_bytes()
    assert (tmp_path / "a.pftrace.gz").read_bytes()[4:8] == bytes(4), "without the time at which it was made"
    assert gzip.decompress((tmp_path / "a.pftrace.gz").read_bytes()) == perfetto_bytes(whole())


def test_a_million_edges_take_seconds_and_no_memory() -> None:
    count = 1_000_000
    ticks = np.arange(count, dtype=np.int64) * 1500
    timeline = Timeline(
        VIRTUAL, outputs=[Edges("LED", ticks, (ticks // 1500 % 2).astype(np.uint8), count * 1500, 1e9, CLOCK)]
    )
    for blocks in (vcd_blocks, perfetto_blocks):
        began, total = time.process_time(), 0
        for block in blocks(timeline):
            assert len(block) < 4 << 20
            total += len(block)
        assert 10 * count < total < 50 * count
        assert time.process_time() - began < 10  # about 1 s and 0.3 s


def test_a_file_that_cannot_be_written_is_an_error_of_the_infrastructure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (write_vcd, write_perfetto):
        with pytest.raises(InfrastructureError):
            write(whole(), tmp_path / "file" / "x")


# the data


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Period(5, 4, "x"), "lasts from 5 ns to 4 ns"),
        (lambda: Period(0, 1 << 63, "x"), "lasts from"),
        (lambda: Moment(-1, "x"), "is at -1 ns"),
        (lambda: Events("late", [3, 2]), "time 2 of 'late' is 2 ns"),
        (lambda: Events("late", [0.5]), "not whole nanoseconds"),
        (lambda: Signal("x", [1, 2], [1.0]), "has 1 values, but 2 times"),
        (lambda: Signal("x", [1], [1.0], driver="me"), "driven by 'me'"),
        (lambda: merged(Timeline(VIRTUAL), Timeline("logic analyser")), "no common axis"),
    ],
)
def test_wrong_data_is_refused(make, message) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_parts_on_the_host_clock_are_placed_by_the_zero_of_the_axis_or_counted() -> None:
    host = Timeline(CONSOLE, lines=[Moment(50, "early"), Moment(150, "late")], executions=[Period(120, 130, "x")])
    alone = merged(Timeline(VIRTUAL, outputs=[edges("LED", (0, 0))]), host)
    assert (alone.lines, alone.executions, alone.left_out) == ((), (), {"lines": 2, "executions": 1})
    placed = merged(Timeline(VIRTUAL, host_zero_ns=100), host)
    assert placed.clock == VIRTUAL
    assert placed.lines == (Moment(50, "late"),)
    assert placed.executions == (Period(20, 30, "x"),)
    assert placed.left_out == {"lines": 1}


def test_all_parts_can_be_moved() -> None:
    moved = shifted(whole(), 7, CONSOLE)
    assert (moved.begin_ns, moved.end_ns) == (7, 3000 * MS + 7)
    assert moved.outputs[0].ticks.tolist() == [7, 500 * MS + 49_307, 600 * MS + 50_007]
    assert moved.frames[0].begin_ns == 700 * MS + 7
    assert moved.signals[1].times_ns.tolist() == [12, 13, 14]
    assert shifted(whole(), -6, CONSOLE).left_out["signals"] == 2


# what the framework has


class VirtualStamps:
    """Virtual stamps of 1 s and more, from the tenth byte on."""

    def stamp(self, offset: int) -> int | None:
        return 1000 * MS + offset if offset >= 10 else None


def line(directory: Path, *, virtual: bool = False) -> SimpleNamespace:
    transcript = recorded(
        directory, ("<", b"# run\n"), ("<", b"before\n"), ("<", b"\xff\x00hello\n"), ("<", b"done\n# ")
    )
    lockstep = VirtualStamps() if virtual else None
    return SimpleNamespace(transcript=transcript, lockstep=lockstep, virtual=virtual, lines=transcript.lines)


def test_host_stamps_place_console_stages_executions_and_samples(tmp_path: Path) -> None:
    console = line(tmp_path)
    path = console.transcript.path
    boot = BootReport("b", "i", MS, (StageTime("kernel", 0.001, 3), StageTime("shell", 0.0015, 6)), path)
    run = replace(execution(output=b"hello\n", name="hello.wasm"), transcript=path, start=6, end=27)
    other = execution(name="elsewhere.wasm")
    series = Series(
        "release jitter", "x", [0.001, 0.003], Clock(CONSOLE, 1e-6), offsets=[13, 22], times=[0.0, 0.001],
        provenance={"transcript": str(path)},
    )  # fmt: skip
    bound = misses(2 * ms) <= 1 * percent
    elsewhere = Series("latency", "y", [1.0], Clock(CONSOLE, 1e-6))
    found = console_timeline(
        console, 6, boot=boot, executions=[run, other],
        checked=[(series, (decide(bound, series, 0.95),)), (elsewhere, ())],
    )  # fmt: skip
    assert found.clock == CONSOLE
    assert [(instant.at_ns, instant.name) for instant in found.lines] == [
        (3 * MS, "before"), (4 * MS, "\\xff\\x00hello"), (5 * MS, "done"), (5 * MS, "# "),
    ]  # fmt: skip
    assert [(stage.begin_ns, stage.end_ns, stage.name) for stage in found.stages] == [
        (MS, 2 * MS, "kernel"), (2 * MS, round(2.5 * MS), "shell"),
    ]  # fmt: skip
    assert [(span.begin_ns, span.end_ns, span.name) for span in found.executions] == [
        (2 * MS, 5 * MS, "hello.wasm: exited(0)")
    ]
    assert [events.times_ns.tolist() for events in found.releases] == [[4 * MS, 5 * MS]]
    assert [(events.name, events.times_ns.tolist()) for events in found.misses] == [
        ("release jitter of x > 2 ms", [5 * MS])
    ]
    assert found.left_out == {"executions": 1, "samples": 1}


def test_virtual_stamps_are_used_alone_and_what_lacks_one_is_counted(tmp_path: Path) -> None:
    console = line(tmp_path, virtual=True)
    boot = BootReport("b", "i", 5, (StageTime("kernel", 0.25, 3),), tmp_path / "other.raw", restored=0.4)
    by_axis = Series("release jitter", "LED", [0.1], CLOCK, times=[1.5], provenance={AXIS: VIRTUAL})
    fault = SimpleNamespace(
        fault="drop", done="dropped a byte", did="", transcript=console.transcript.path, start=14, end=99
    )
    found = console_timeline(console, boot=boot, faults=[fault], checked=[(by_axis, ())])
    assert found.releases == ()
    assert found.clock == VIRTUAL
    assert [instant.at_ns for instant in found.lines] == [1000 * MS + offset for offset in (13, 21, 26)]
    assert found.left_out == {"console lines": 2, "stages": 1}
    assert [(span.begin_ns, span.end_ns, span.name) for span in found.faults] == [
        (1000 * MS + 13, 1000 * MS + 27, "drop")
    ]
    placed = series_timeline(VIRTUAL, [(by_axis, ())])
    assert [events.times_ns.tolist() for events in placed.releases] == [[1500 * MS]]
    elsewhere = series_timeline("logic analyser", [(by_axis, ())])
    assert (elsewhere.releases, elsewhere.left_out) == ((), {"samples": 1})


def test_pins_have_stimuli_outputs_and_faults_and_a_zero_where_their_clock_follows_the_host() -> None:
    class Wiring:
        inputs, outputs, observed, clock = ("BUTTON", "FAULT"), ("LED", "BEAT"), ("BUTTON", "LED"), CLOCK

        def now_ns(self) -> int:
            return 50

    pins = SimpleNamespace(
        wiring=Wiring(), edges=lambda pin: edges(pin, (-1, 0), (7, 1)), faults=[PinFault("LED", "is open", 3, 9)]
    )
    found = pins_timeline(pins)
    assert [pin.channel for pin in found.stimuli] == ["BUTTON"]
    assert [pin.channel for pin in found.outputs] == ["LED"]
    assert found.faults == [Period(3, 9, "LED is open")]
    assert found.host_zero_ns is None
    assert found.begin_ns == 0, "the level from before the zero of the axis begins there"
    before = time.monotonic_ns()
    zero = pins_timeline(pins, follows_host=True).host_zero_ns
    assert before - 50 <= zero <= time.monotonic_ns() - 50


def test_a_loop_has_signals_and_overruns_on_the_axis_of_its_wires() -> None:
    temperature = SampledSignal(
        "signal", "temperature", [20.0, 21.0, 22.0], CLOCK, "1", [0.0, 0.001, 0.002], physical_unit="°C", start_ns=40
    )
    lateness = Series("step lateness", "oven", [0.0, 0.0004], CLOCK)
    loop = LoopResult({"temperature": temperature}, 0.001, 40, 0.002, lateness, (1,), lateness, 1.0, {})
    found = loop_timeline(loop)
    assert found.clock == VIRTUAL
    assert found.signals[0].unit == "°C"
    for source, driver in (("AO3", "partition"), ("AI3", "bench"), ("HEATER", "bench")):
        assert loop_timeline(replace(loop, sources={"temperature": source})).signals[0].driver == driver
    assert found.signals[0].times_ns.tolist() == [40, MS + 40, 2 * MS + 40]
    assert [(span.begin_ns, span.end_ns, span.name) for span in found.overruns] == [(MS + 40, MS + 400_040, "step 1")]


# the documentation


def test_the_queries_of_the_page_are_answered() -> None:
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text()
    (block,) = re.findall(r"```sql\n(.*?)```", page, re.DOTALL)
    latencies, runs = query(perfetto_bytes(whole()), *block.split(";")[:2])
    assert latencies == [(500 * MS, 49.3)]
    assert runs == [(200 * MS, 2700 * MS, "thermostat.wasm: exited 0", "exited 0")]


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs" / "traces.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(block, {})
    assert {path.name for path in tmp_path.iterdir()} == {"echo.pftrace", "echo.vcd"}
