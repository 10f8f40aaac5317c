"""The answers of can-echo.wasm at 10 to 100 % bus load; `bench/frames.py` runs it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from hil import us

COUNT = 200


@pytest.mark.parametrize("percent", [10, 25, 50, 75, 90, 100])
def test_echo(can, runner, sample, percent):
    data = bytes(range(8))
    with runner.start(sample("can-echo.wasm"), str(COUNT)) as module:
        can.send(0x100, data)
        can.advance(2000 * us)
        pair = sum(frame.end_ns - frame.begin_ns + 3e9 / can.bitrate for frame in can.frames())
        period = pair / percent / 10 * us
        begin, start = time.monotonic(), can.now
        with can.cyclic(0x100, data, period=period):
            while module.running and len(can.frames(0x101)) < COUNT and (can.now - start).value < 10:
                can.advance(20 * period)
        wall = time.monotonic() - begin
        load = can.load(since=start)
    waits = can.latency(0x100, 0x101).samples[1:] * 1e6
    p50, p99, worst = np.percentile(waits, [50, 99, 100])
    lost = sum(event.kind == "lost" for event in can.events)
    print(
        f"\n{percent:3} %: load {load}, {len(can.frames(0x101))} answers, latency us p50 {p50:.1f} p99 {p99:.1f} "
        f"max {worst:.1f}, lost on the way {lost}, {module.execution.lines[-1] if module.execution else 'no end'}, "
        f"{len(can.frames()) / wall:,.0f} frames/s of wall time"
    )
