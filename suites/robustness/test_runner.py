"""Agent and runner: killed, doubled, fed with bad modules and with requests that break the protocol."""

import pytest

pytestmark = [pytest.mark.board, pytest.mark.destructive]


@pytest.mark.parametrize("fault", ["agent-killed", "two-agents", "bad-requests"])
def test_agent(faults, fault):
    finding = faults.attempt(fault)
    assert finding.good, finding


@pytest.mark.parametrize("kind", ["endless", "trapping", "allocating", "recursing", "flooding", "huge"])
def test_module(faults, kind):
    finding = faults.attempt(f"module-{kind}")
    assert finding.good, finding


def test_malformed_modules(faults):
    finding = faults.attempt("modules-malformed")
    assert finding.good, finding
