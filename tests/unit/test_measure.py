"""Taking series: on a guest, a probe and a runner that are not there."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hil import Clock, ms, p50, percent, us
from hil.errors import ConfigurationError, Evidence, RunnerError
from hil.measure import measure as module
from hil.measure.checking import BoundsNotKept
from hil.measure.decision import Check, decide
from hil.measure.host import HostLoad, HostWindow
from hil.measure.measure import Measure
from hil.measure.probe_record import Executions
from hil.measure.series import Series
from hil.qemu.lockstep import Virtual
from hil.wasm import Module
from hil.wasm.execution import DEFAULT_LIMIT
from hil.wasm.verdict import Exited, Failed

HZ = 62_500_000
MODULE = Module.raw("m.wasm", b"")
BOUND = """
[[bound]]
quantity = "response time"
subject = "m.wasm"
figure = "p90"
limit = "1 ms"
reason = "a test"
"""


class Line:
    """A console whose byte at offset n came n ns after power-on."""

    lockstep = None
    transcript = SimpleNamespace(path=Path("t.raw"))

    def stamp(self, offset: int) -> int:
        return offset

    def evidence(self) -> Evidence:
        return Evidence(Path("t.raw"), (), 0)


@dataclass(frozen=True, eq=False)
class Guest:
    board: Any


class Runner:
    """Every run is good, its output at bytes 1000 to 3000 of the line, unless a test changes it."""

    def __init__(self) -> None:
        image = SimpleNamespace(digest="d")
        board = SimpleNamespace(
            name="fake",
            emulated=False,
            origin=Path("t.raw"),
            report=None,
            console=Line(),
            manifest=SimpleNamespace(name="none"),
            image=lambda: image,
            virtual=Virtual(1, proof="it was seen"),
        )
        self.guest: Any = Guest(board)
        self.verdict: Any = Exited(0)
        self.called: list[tuple[str, ...]] = []

    def place(self, module: Module) -> str:
        return f"/tmp/{module.name}"

    def run(self, module: Module, *arguments: str, limit: float = 1.0) -> Any:
        self.called.append(arguments)
        return SimpleNamespace(good=self.verdict.good, verdict=self.verdict, start=1000, end=3000)


class Probe:
    """Executions of `ticks` each, exit code 0, no stamps of the partition's."""

    ticks = 6250
    codes: tuple[int, ...] = ()
    asked: list[int]
    limits: list[tuple[float, float]]

    def __init__(self, guest: object) -> None:
        self.guest = guest

    def executions(
        self, place: str, arguments: Any = (), *, count: int, warm_up: int, limit: float, timeout: float
    ) -> Executions:
        self.asked.append(count)
        self.limits.append((limit, timeout))
        request = np.arange(count, dtype=np.uint64) * np.uint64(1_000_000)
        zeros, words = np.zeros(count, np.uint64), np.ones(count, np.uint32)
        codes = np.resize(np.array(self.codes or (0,), np.uint32), count)
        answer = request + np.uint64(self.ticks)
        return Executions(HZ, count, count, True, 625, request, zeros, zeros, answer, words, codes, zeros, words)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(module.guest_probe, "Probe", type("FakeProbe", (Probe,), {"asked": [], "limits": []}))
    return Runner()


@pytest.fixture
def kept() -> list[tuple[Series, tuple[Check, ...]]]:
    return []


@pytest.fixture
def measure(tmp_path: Path, kept: Any) -> Measure:
    (tmp_path / "bounds.toml").write_text(BOUND)
    return Measure(tmp_path / "bounds.toml", lambda series, checks: kept.append((series, checks)))


def probe() -> Any:
    return module.guest_probe.Probe


def test_a_check_without_bounds_names_file_and_nearest_row_and_marks_the_series(measure, tmp_path, kept) -> None:
    (tmp_path / "bounds.toml").write_text(
        "".join(BOUND.replace("m.wasm", subject) for subject in ("m.wasm 100", "n.wasm 10", "m.wasm"))
        + 'clock = "guest counter"\n'
    )
    for subject, line in (("m.wasm", ":16: "), ("m.wasm 10", ":2: "), ("n.wasm 11", ":9: ")):
        taken = Series("response time", subject, [1.0], Clock("virtual time", 1e-9))
        with pytest.raises(ConfigurationError) as caught:
            measure.check(taken)
        assert f"{tmp_path}/bounds.toml{line}p90 of 'response time'" in caught.value.message
        assert f"{tmp_path}/bounds.toml" in (caught.value.hint or "")
        assert "suggest" in (caught.value.hint or "")
    measure.flush()
    assert [(series.lacks_verdict, checks) for series, checks in kept] == [(True, ())] * 3


def test_a_series_carries_clock_and_origin_and_is_recorded_once(measure, runner, kept) -> None:
    measure.test = "t.py::test_x[fake]"
    series = measure.executions(runner, MODULE, repeats=40)
    assert list(series.samples) == [pytest.approx(100e-6)] * 40
    assert series.clock.exact
    assert series.provenance["test"] == "t.py::test_x[fake]"
    assert series.provenance["exactness"] == str(runner.guest.board.virtual)
    measure.check(series)
    measure.flush()
    assert [one.quantity for one, _ in kept] == ["response time", "transfer time"]
    assert [str(check.outcome) for check in kept[0][1]] == ["pass"]


def test_a_bound_that_is_not_kept_is_recorded_before_it_is_raised(measure, runner, kept) -> None:
    probe().ticks = HZ
    with pytest.raises(BoundsNotKept, match=r": p90 is .* limit 1 ms"):
        measure.check(measure.executions(runner, MODULE, repeats=40))
    assert [str(check.outcome) for check in kept[0][1]] == ["fail"]


def test_no_bound_for_a_series_is_no_pass(measure, runner) -> None:
    series = measure.executions(runner, MODULE, "other", repeats=40)
    with pytest.raises(ConfigurationError, match=r"response time of m\.wasm other"):
        measure.check(series)


def test_samples_are_topped_up_only_where_they_decide_nothing(measure, runner) -> None:
    runner.guest.board.virtual = Virtual(1)  # not exact: limits need samples
    measure.executions(runner, MODULE, repeats=10, up_to=400)
    assert probe().asked == [10, 10, 20, 40], "p90 needs 47 samples where it is looked 7 times"


@pytest.mark.parametrize(("repeats", "up_to"), [(0, None), (10, 5), (-1, None)])
def test_numbers_of_executions_that_make_no_sense_are_refused(measure, runner, repeats, up_to) -> None:
    with pytest.raises(ConfigurationError, match=f"{repeats}.*{up_to or repeats}"):
        measure.executions(runner, MODULE, repeats=repeats, up_to=up_to)


def test_one_execution_may_run_as_long_as_in_a_deployment_and_all_together_as_long_as_that_needs(
    measure, runner
) -> None:
    measure.executions(runner, MODULE, repeats=40)
    measure.executions(runner, MODULE, repeats=40, warm_up=2, limit=10)
    measure.executions(runner, MODULE, repeats=2, limit=0.5)
    assert probe().limits == [(DEFAULT_LIMIT, 300), (10, 42 * 10 + 30), (0.5, 300)]


def test_executions_that_fail_make_no_series(measure, runner, kept) -> None:
    """A program that refuses its arguments answers faster than any bound."""
    probe().codes = (0, 0, 64)
    with pytest.raises(RunnerError, match=r"execution 3 of m\.wasm x .*64"):
        measure.executions(runner, MODULE, "x", repeats=5)
    probe().codes = (64,)
    with pytest.raises(RunnerError, match="64"):
        measure.transfers(runner, MODULE, repeats=2)
    measure.flush()
    assert not kept


def test_a_deployment_begins_before_the_agents_first_word(measure, runner) -> None:
    series = measure.deployments(runner, MODULE, repeats=3)
    assert list(series.samples) == [pytest.approx(2001e-9)] * 3, "from the end of the mark before the output"
    runner.verdict = Failed("trapped")
    with pytest.raises(RunnerError, match="1 of 4.*trapped"):
        measure.deployments(runner, MODULE, repeats=3)


@pytest.mark.parametrize(
    ("period", "count", "expected"),
    [
        (5 * percent, 3, "5 %"),
        (0.5 * us, 3, "500 ns"),
        (33.3333 * ms, 3, "33.33 ms"),
        (5 * ms, 0, "0 releases"),
    ],
)
def test_a_period_that_the_module_cannot_keep_is_refused(measure, runner, period, count, expected) -> None:
    """Rounded, it would drift away from the grid that its releases are held against."""
    for take in (measure.periodic, measure.ticks):
        with pytest.raises(ConfigurationError, match=expected):
            take(runner, MODULE, period, count=count)
    assert not runner.called


def test_parts_of_a_runner_that_takes_no_stamps_are_not_there(measure, runner) -> None:
    parts = measure.parts(runner, MODULE, repeats=2)
    with pytest.raises(ConfigurationError, match="none"):
        _ = parts.execution


def test_what_is_measured_once_determinism_is_lost_says_so(measure, runner) -> None:
    runner.guest.board.virtual = Virtual(1, proof="it was seen", lost="typed at random")
    series = measure.executions(runner, MODULE, repeats=3)
    assert not series.clock.exact
    assert "typed at random" in series.clock.remark


def test_a_series_relative_to_another_is_bounded_as_a_share(measure, runner, kept) -> None:
    short, long = (measure.executions(runner, MODULE, name, repeats=40) for name in ("1", "2"))
    half = measure.relative(short, replace(long, samples=long.samples * 2))
    assert (half.quantity, half.subject, half.unit) == ("relative time", "m.wasm 1 to m.wasm 2", "1")
    assert list(half.samples) == [pytest.approx(0.5)] * 40
    measure.check(half, p50 <= 51 * percent)
    with pytest.raises(BoundsNotKept):
        measure.check(half, p50 <= 49 * percent)
    with pytest.raises(ConfigurationError, match="m.wasm 1 by .*m.wasm 2"):
        measure.relative(short, replace(long, clock=Clock("host monotonic", 1e-9)))
    host = [HostWindow(40, HostLoad(1.0, {"emulator": 3e-3}, 0.0, 9.0, 2))]
    slow = measure.relative(replace(short, host=host), long)
    assert decide(p50 <= 99.9 * percent, replace(slow, clock=Clock("guest counter", 1e-9))).origin == "infrastructure"


def test_what_the_host_took_is_in_the_series_of_a_real_board(measure, runner, kept) -> None:
    """Not in virtual time. The console's stamps alone can be delayed by it: a board's counter is its own."""
    runner.guest.board.virtual = None
    runner.guest.board.console.reader = os.getpid()
    clocks = SimpleNamespace(
        guest_counter=lambda: Clock("guest counter", 16e-9), console=lambda: Clock("host monotonic", 1e-9)
    )
    measure._clocks[runner.guest] = clocks
    counted, stamped = measure.executions(runner, MODULE, repeats=9), measure.deployments(runner, MODULE, repeats=9)
    assert [len(counted.host), [window.count for window in stamped.host]] == [0, [1] * 9]
    assert {"host load", "host steal", "test process waited"} <= set(counted.provenance) & set(stamped.provenance)
