"""What wears out: one module over and over on one boot, and one cold boot after the other."""

import pytest

import hil

pytestmark = [pytest.mark.board, pytest.mark.soak]


@pytest.mark.parametrize(("file", "case"), [("hello.wasm", "default"), ("nbody-c.wasm", "10")])
def test_the_last_deployment_is_as_the_first(soak, measure, sample, file, case):
    """Right output each time; no drift of times; no growth of the memory of guest, partition, runner and QEMU."""
    expected = sample[file][case]
    soaked = soak(sample(file), *expected.arguments, problems=expected.problems)
    print(soaked)
    soaked.check(measure)


def test_every_cold_boot_comes_up(board, request):
    booted = hil.boots(board, request.config.getoption("--hil-soak-boots"))
    print(booted)
    assert not booted.failures, str(booted)
