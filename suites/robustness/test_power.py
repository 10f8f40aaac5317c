"""Power and machine: cut, reset, frozen, killed, starved."""

import pytest

pytestmark = pytest.mark.destructive


@pytest.mark.board
def test_power_cut_in_each_stage_of_a_boot(faults, board):
    findings = [faults.attempt(f"power-cut@{stage.name}") for stage in board.manifest.stages]
    assert all(finding.good for finding in findings), "\n".join(map(str, findings))
    for finding, stage in zip(findings, board.manifest.stages, strict=True):
        if finding.verdict == "no-boot":  # the image's own, and in the report
            continue
        assert repr(stage.name) in finding.did, f"the error names another stage: {finding}"


@pytest.mark.board
@pytest.mark.parametrize("fault", ["power-cut", "reset"])
def test_power(faults, fault):
    finding = faults.attempt(fault)
    assert finding.good, finding


@pytest.mark.emulator
@pytest.mark.parametrize("fault", ["freeze", "qemu-killed", "slow-host"])
def test_machine(faults, fault):
    finding = faults.attempt(fault)
    assert finding.good, finding
