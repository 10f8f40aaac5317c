"""The guest: its kernel panics, its memory is gone, its clock jumps."""

import pytest

pytestmark = [pytest.mark.board, pytest.mark.destructive]


@pytest.mark.parametrize("fault", ["panic", "out-of-memory", "clock-forward", "clock-back"])
def test_guest(faults, fault):
    finding = faults.attempt(fault)
    assert finding.good, finding
