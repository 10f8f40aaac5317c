"""Release jitter: of loops in the guest and in the partition, and of periodic modules."""

import pytest

from hil import cycle_to_cycle_jitter, ms, period_jitter

pytestmark = [pytest.mark.board, pytest.mark.timing, pytest.mark.severity("critical")]


@pytest.mark.parametrize("partition", [False, True], ids=["guest", "partition"])
def test_loop_is_released_in_time(guest, measure, partition):
    measure.check(measure.releases(guest, 5 * ms, count=400, partition=partition))


def test_periodic_module_is_released_in_time(runner, sample, measure):
    """By the module's own clock."""
    series = measure.periodic(runner, sample("periodic.wasm"), 5 * ms, count=400)
    measure.check(series)
    measure.check(measure.derived(period_jitter(series, 5 * ms)))
    measure.check(measure.derived(cycle_to_cycle_jitter(series)))


def test_ticking_module_is_seen_in_time(runner, sample, measure):
    """From outside, by the lines on the console."""
    measure.check(measure.ticks(runner, sample("ticker.wasm"), 20 * ms, count=100))
