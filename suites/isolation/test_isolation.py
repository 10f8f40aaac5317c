"""Does the partition notice what the guest does? The same figures with the guest idle and under load."""

import pytest

from hil import DISTRESS, LOADS, ms

pytestmark = [pytest.mark.board, pytest.mark.timing, pytest.mark.severity("critical")]

PERIOD, COUNT = 5 * ms, 300


@pytest.mark.parametrize("load", LOADS)
def test_releases_in_the_partition_under_load(guest, measure, load):
    idle = measure.releases(guest, PERIOD, count=COUNT, partition=True)
    with measure.under(guest, load):
        loaded = measure.releases(guest, PERIOD, count=COUNT, partition=True)
    measure.check(loaded)
    measure.check(measure.added(loaded, idle))


@pytest.mark.destructive  # the clock may stay a day off, and the kernel's log is full
@pytest.mark.parametrize("distress", DISTRESS)
def test_releases_in_the_partition_while_the_guest_suffers(guest, measure, distress):
    idle = measure.releases(guest, PERIOD, count=COUNT, partition=True)
    with measure.under(guest, distress):
        suffering = measure.releases(guest, PERIOD, count=COUNT, partition=True)
    measure.check(suffering)
    measure.check(measure.added(suffering, idle))


@pytest.mark.parametrize("load", LOADS)
def test_executions_in_the_partition_under_load(runner, guest, sample, measure, load):
    module = sample("nbody-c.wasm")
    idle = measure.parts(runner, module, "10", repeats=60).execution
    with measure.under(guest, load):
        loaded = measure.parts(runner, module, "10", repeats=60).execution
    measure.check(loaded)
    measure.check(measure.added(loaded, idle))
