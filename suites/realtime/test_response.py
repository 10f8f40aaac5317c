"""Response time and jitter of repeated executions, against the bounds in the board's file."""

import pytest

from hil import p50, percent

pytestmark = [pytest.mark.board, pytest.mark.timing, pytest.mark.severity("critical")]


def test_hello_responds_in_time(runner, sample, measure):
    measure.check(measure.executions(runner, sample("hello.wasm"), repeats=60))


def test_nbody_responds_in_time(runner, sample, measure):
    measure.check(measure.executions(runner, sample("nbody-c.wasm"), "10", repeats=300, up_to=1200))


def test_partition_takes_its_time_and_no_more(runner, sample, measure):
    parts = measure.parts(runner, sample("nbody-c.wasm"), "1000", repeats=60)
    measure.check(parts.execution)
    measure.check(parts.overhead)


def test_longer_work_takes_longer(runner, sample, measure):
    short = measure.executions(runner, sample("nbody-c.wasm"), "10", repeats=20)
    long = measure.executions(runner, sample("nbody-c.wasm"), "1000", repeats=20)
    measure.check(measure.relative(short, long), p50 <= 50 * percent)  # else the work is not done


def test_compiled_code_is_faster(board, runner, sample, measure):
    """Ahead-of-time compiled beside interpreted; an image without compiled samples cannot pass."""
    compiled = measure.parts(runner, sample.aot("nbody-c.wasm", board.image()), "1000", repeats=20).execution
    interpreted = measure.parts(runner, sample("nbody-c.wasm"), "1000", repeats=20).execution
    measure.check(measure.relative(compiled, interpreted), p50 <= 90 * percent)


def test_each_sample_compiled_beside_interpreted(board, runner, sample, measure):
    """The figures of all samples that end by themselves; the one that works longest has to be faster compiled.

    Without those whose compilation would take longer than the test: larger ones that the image does not hold compiled.
    """
    for each in sample:
        case = each.case[0]
        if each.pins or case.hazard or case.code or case.verdict != "exited":
            continue
        plain = sample(each.file)
        if len(plain.data) > 4096 and f"{each.name}.aot.wasm" not in board.image().files:
            continue
        compiled, interpreted = (
            measure.parts(runner, module, *case.arguments, repeats=1, warm_up=0).execution
            for module in (runner.compiled(plain), plain)
        )
        measure.relative(compiled, interpreted)
        if each.name == "big":
            assert max(compiled.samples) < min(interpreted.samples)


def test_deployments_are_as_fast_as_they_were(runner, sample, measure):
    measure.check(measure.deployments(runner, sample("hello.wasm"), repeats=60))
