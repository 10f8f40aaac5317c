"""Response time and jitter of repeated executions, against the bounds in the board's file."""

import pytest

pytestmark = [pytest.mark.board, pytest.mark.timing]


def test_hello_responds_in_time(runner, sample, measure):
    measure.check(measure.executions(runner, sample("hello.wasm"), repeats=60))


def test_nbody_responds_in_time(runner, sample, measure):
    measure.check(measure.executions(runner, sample("nbody-c.wasm"), "10", repeats=300))


def test_longer_work_takes_longer(runner, sample, measure):
    short = measure.executions(runner, sample("nbody-c.wasm"), "10", repeats=20)
    long = measure.executions(runner, sample("nbody-c.wasm"), "1000", repeats=20)
    assert min(long.samples) > max(short.samples[1:-1]), "1000 steps were not slower than 10: is the work done?"
