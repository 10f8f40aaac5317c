"""A watchdog's output falls when the module dies, however it dies: the runner releases the pins of its module."""

import pytest

from hil import Series, failed, ms

pytestmark = [pytest.mark.board, pytest.mark.timing, pytest.mark.severity("critical")]

REPEATS, BEATS = 3, 21  # an odd number of beats: the last edge falls
ARGUMENTS = {"stop": ("1000", "100000"), "limit": ("1000", "20", "stuck"), "trap": ("1000", str(BEATS), "trap")}
REASONS = {"stop": "aborted", "limit": "limit of {limit} ms exceeded", "trap": "unreachable"}


@pytest.mark.parametrize("death", ARGUMENTS)
def test_the_output_falls_with_the_module(pins, runner, sample, measure, death):
    limit_ms = 100 if pins.wiring.exact else 2000  # in real time it begins long before the module
    late, times = [], []
    for _ in range(REPEATS):
        begin = pins.now
        limit = limit_ms / 1e3 if death == "limit" else 30
        with runner.start(sample("watchdog.wasm"), *ARGUMENTS[death], limit=limit) as run:
            if death == "stop":
                pins.advance(20 * ms)
                assert pins.level("SPARE") == 1
                died = pins.now.value
                run.stop()
            run.wait()
        assert run.execution.verdict == failed(REASONS[death].format(limit=limit_ms)), str(run.execution)
        spare, beat = pins.edges("SPARE", since=begin), pins.edges("BEAT", since=begin)
        assert (len(spare.rising), len(spare.falling), pins.level("BEAT")) == (1, 1, 0)
        if death == "limit":
            died = spare.rising[0] + limit_ms / 1e3
        elif death == "trap":
            died = beat.falling[-1]
        late.append(spare.falling[0] - died)
        times.append(died)
    facts = {"provenance": spare.provenance, "host": spare.host}
    measure.check(Series("fall time", f"SPARE after {death}", late, spare.clock, times=times, **facts))
