"""The load of the host: counted from the kernel's numbers, and distinguished from delays by the image."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hil import (
    BoundsNotKept,
    Clock,
    Series,
    maximum,
    mean,
    misses,
    ms,
    p50,
    p90,
    p99,
    peak_to_peak,
    percent,
    period_jitter,
    rms,
    s,
)
from hil.measure.bound import Bound
from hil.measure.clock import VIRTUAL
from hil.measure.decision import decide
from hil.measure.host import EMULATOR, OWN, READER, HostLoad, HostWindow, Watch, total
from hil.plugin.origins import origin_of

COUNTER = Clock("guest counter", 16e-9, floor=1e-6)


def load(waited: float, steal: float = 0.0, seconds: float = 30.0) -> HostLoad:
    return HostLoad(seconds, {EMULATOR: waited}, steal, 10.3, 2)


# 300 response times of nbody-c.wasm 10 under plain emulation: 25 ms, of which some were hit by a preemption
RECORDED = np.concatenate([np.full(250, 0.025), np.full(38, 0.26), np.full(12, 0.9)])
BUSY, IDLE = load(11.4), load(0.031)  # as counted beside ten CPU hogs, and on an idle host


def series(samples: object = RECORDED, *windows: HostLoad, **more: object) -> Series:
    count = len(samples) // max_of(1, len(windows))  # type: ignore[arg-type]
    host = [HostWindow(count, one) for one in windows]
    return Series("response time", "nbody-c.wasm 10", samples, COUNTER, host=host, **more)  # type: ignore[arg-type]


def max_of(*numbers: int) -> int:
    return sorted(numbers)[-1]


def proc(root: Path, waits: dict[str, dict[int, int]], steal: int, average: str) -> None:
    """The files of /proc that are looked at, with the numbers that the kernel has in them."""
    for pid, threads in waits.items():
        for thread, ns in threads.items():
            task = root / pid / "task" / str(thread)
            task.mkdir(parents=True, exist_ok=True)
            (task / "schedstat").write_text(f"5021345678 {ns} 4711\n")
    (root / "stat").write_text(f"cpu  191377 0 22544 77023 644 0 363 {steal} 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    (root / "loadavg").write_text(f"{average} 5.07 2.70 11/467 7349\n")


def test_waits_and_steal_are_counted_from_the_kernels_numbers(tmp_path: Path) -> None:
    proc(tmp_path, {"10": {10: 1_000_000, 11: 5_000_000_000}, "20": {20: 7}}, 547, "3.11")
    watch = Watch({EMULATOR: 10, READER: 20, OWN: 30}, tmp_path)
    proc(tmp_path, {"10": {10: 251_000_000, 11: 6_500_000_000, 12: 40_000_000}, "20": {20: 2_000_007}}, 597, "10.26")
    found = watch.load()
    assert found.waits == {EMULATOR: pytest.approx(1.79), READER: pytest.approx(0.002)}, "30 is not counted"
    assert found.steal == pytest.approx(50 / os.sysconf("SC_CLK_TCK"))
    assert found.delay == pytest.approx(1.792 + found.steal)
    assert (found.facts["host load"].split()[0], found.facts["emulator waited"].split(" in ")[0]) == ("10.26", "1.79 s")
    assert "10.3" in str(found)


def test_a_kernel_that_counts_no_waits_explains_nothing(tmp_path: Path) -> None:
    proc(tmp_path, {}, 5, "9.0")
    assert Watch({EMULATOR: 10}, tmp_path).load().delay == 0.0


def test_a_process_that_shares_its_processor_waits() -> None:
    """By this machine's own kernel: of two that compute on one processor each waits for the other."""
    place = min(os.sched_getaffinity(0))
    code = f"import os\nos.sched_setaffinity(0, {{{place}}})\nwhile True: pass"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    try:
        watch = Watch({EMULATOR: both[0].pid})
        deadline = time.monotonic() + 30
        while watch.load().waits[EMULATOR] < 0.2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert watch.load().waits[EMULATOR] >= 0.2
    finally:
        for one in both:
            one.kill()
            one.wait()


@pytest.mark.parametrize(
    "bound",
    [
        *(p99 <= 300 * ms, p90 <= 30 * ms, maximum <= 500 * ms, mean <= 60 * ms),
        *(misses(300 * ms) <= 1 * percent, peak_to_peak <= 500 * ms),
    ],
    ids=str,
)
def test_what_the_host_explains_is_the_hosts_and_only_that(bound: Bound) -> None:
    busy = decide(bound, series(RECORDED, BUSY))
    assert (busy.outcome, busy.origin) == ("inconclusive", "infrastructure")
    assert "11.4 s" in str(busy)
    for other in (series(RECORDED, IDLE), series()):
        idle = decide(bound, other)
        assert (idle.outcome, idle.origin) == ("fail", "image"), "an image that is slow on an idle host fails"


def test_an_image_that_is_worse_than_the_host_explains_fails_on_a_busy_host() -> None:
    slow = series(RECORDED + 0.5, BUSY)  # 300 samples, half a second too slow each; the host took 11 s
    assert decide(p50 <= 100 * ms, slow).origin == "image"
    assert decide(p90 <= 300 * ms, slow).outcome == "fail"


def test_what_keeps_its_bound_passes_on_a_busy_host() -> None:
    assert decide(p50 <= 30 * ms, series(RECORDED, BUSY)).outcome == "pass"


def test_a_delay_explains_the_samples_of_its_own_window_only() -> None:
    """Ten deployments, each watched by itself: the host took its time from the third, the slow one is the seventh."""
    samples = [0.06] * 10
    samples[6] = 2.0
    host = [load(2.5 if number == 2 else 0.001, seconds=0.1) for number in range(10)]
    assert decide(maximum <= 1 * s, series(samples, *host)).outcome == "fail"
    host[6], host[2] = host[2], host[6]
    assert decide(maximum <= 1 * s, series(samples, *host)).origin == "infrastructure"


def test_jitter_that_was_worked_out_of_a_series_is_the_hosts_too() -> None:
    late = np.zeros(1200)
    late[600] = 0.04
    taken = Series("release jitter", "loop", late, COUNTER, times=np.arange(1200) * 5e-3 + late)
    for host, origin in ((load(0.05), "infrastructure"), (load(0.001), "image")):
        jitter = period_jitter(replace(taken, host=[HostWindow(1200, host)]), 5 * ms)
        assert decide(peak_to_peak <= 10 * ms, jitter).origin == origin
        assert decide(rms <= 0.5 * ms, jitter).origin == origin


def test_windows_add_up() -> None:
    both = total([HostWindow(3, load(1.0, 0.5)), HostWindow(4, replace(load(2.0), load=3.0))])
    assert (both.delay, both.steal, both.seconds, both.load) == (3.5, 0.5, 60.0, 10.3)


@pytest.mark.parametrize(
    ("taken", "bounds", "origin"),
    [
        (series(RECORDED, BUSY), [p90 <= 30 * ms], "infrastructure"),
        (series(RECORDED + 0.5, BUSY), [p90 <= 1 * s, p50 <= 1 * ms], "image"),
        (series(RECORDED[:20]), [p99 <= 2 * s], "test"),  # too few samples
        (replace(series(), clock=Clock("host monotonic", 1e-9, floor=0.2)), [p50 <= 500 * ms], "infrastructure"),
        (replace(series(), clock=Clock("a watch", 1.0)), [p50 <= 500 * ms], "configuration"),
    ],
)
def test_who_has_to_act_on_a_bound_that_is_not_kept(taken: Series, bounds: list[Bound], origin: str) -> None:
    with pytest.raises(BoundsNotKept) as caught:
        taken.check(*bounds)
    assert caught.value.origin == origin
    assert origin_of(caught.value, on_board=True) == origin


def test_virtual_time_that_lost_its_lock_step_is_not_the_images() -> None:
    lost = replace(series(), clock=Clock(VIRTUAL, 16e-9, "NOT EXACT: typed late"), provenance={"mode": "lock step"})
    check = decide(p50 <= 1 * ms, lost)
    assert (check.outcome, check.origin) == ("inconclusive", "infrastructure")
    assert decide(p50 <= 30 * ms, lost).outcome == "pass"
    for mode in ("no lock step", "pooled"):  # figures that vary, but not by the host
        assert decide(p50 <= 1 * ms, replace(lost, provenance={"mode": mode})).origin == "image"
