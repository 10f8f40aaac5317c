"""The serial line: noisy, stalled, cut."""

import pytest

pytestmark = [pytest.mark.board, pytest.mark.destructive]


@pytest.mark.parametrize("fault", ["line-noise", "line-stall", "line-cut"])
def test_line(faults, fault):
    finding = faults.attempt(fault)
    assert finding.good, finding
