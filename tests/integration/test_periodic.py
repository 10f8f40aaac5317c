"""Periodic modules and native code on the reference image: the runner's clock runs, its sleeps are absolute."""

from __future__ import annotations

import itertools
import math

import pytest
from limits import HANG

from hil.errors import ConfigurationError
from hil.wasm import Module
from hil.wasm.periodic import TICK, releases
from hil.wasm.verdict import exited

pytestmark = pytest.mark.board


def test_the_module_reports_its_releases(runner, sample):
    run = runner.run(sample("periodic.wasm"), "2000", "50", limit=10)  # each sleep would take longer, were it relative
    assert run.verdict == exited(0), str(run)
    stamps = releases(run)
    assert len(stamps) == 50
    assert all(a < b for a, b in itertools.pairwise(stamps)), "the clock does not run"
    ideal = int(run.lines[0].split()[-2])
    assert all(stamp >= ideal + n * 2_000_000 for n, stamp in enumerate(stamps)), "a release was early"


def test_the_clock_counts_in_steps_of_16_ns(runner, sample):
    stamps = releases(runner.run(sample("periodic.wasm"), "1000", "100"))
    assert math.gcd(*(b - a for a, b in itertools.pairwise(stamps))) == 16


def test_ticks_are_all_that_the_ticker_prints(runner, sample):
    run = runner.run(sample("ticker.wasm"), "1000", "120")
    assert [int(match["number"]) for line in run.lines if (match := TICK.search(line))] == list(range(1, 121))
    assert len(run.lines) == 120


@pytest.mark.slow
def test_the_largest_report_arrives_whole(runner, sample):
    assert len(releases(runner.run(sample("periodic.wasm"), "1", "30000", limit=HANG))) == 30000


def test_wrong_arguments_are_told(runner, sample):
    with pytest.raises(ConfigurationError, match=r"arguments: PERIOD_US \(1 to 10000000\)"):
        releases(runner.run(sample("periodic.wasm"), "0"))
    with pytest.raises(ConfigurationError, match="hello.wasm reports no releases: line 1 is 'hello, sel4'"):
        releases(runner.run(sample("hello.wasm")))


@pytest.mark.parametrize(("name", "arguments"), [("hello", ()), ("nbody-c", ("10000",))])
def test_native_code_prints_the_same(board, runner, sample, name, arguments):
    native = sample.aot(name, board.image())
    assert native.kind == "aot"
    plain, fast = runner.run(sample(name), *arguments), runner.run(native, *arguments)
    assert fast.verdict == exited(0), str(fast)
    assert fast.output == plain.output
    assert runner.place(native) == f"/usr/bin/{name}.aot.wasm", "it was uploaded, though the image holds it"


def test_native_code_is_many_times_faster(board, runner, sample):
    def ticks(module):
        return min(runner.run(module, "2000").seal.run_ticks for _ in range(3))

    assert ticks(sample("nbody-c.wasm")) > 5 * ticks(sample.aot("nbody-c.wasm", board.image()))


def test_a_module_is_compiled_for_the_board_s_runner(runner, sample):
    plain, native = (runner.run(sample("args.wasm"), "one", "two", aot=aot) for aot in (False, True))
    assert (native.verdict, native.output, native.aot, plain.aot) == (exited(0), plain.output, True, False)
    assert (native.module.name, f"{native}".partition(":")[0]) == ("args.wasm", "args.wasm one two (aot)")
    data = bytearray(native.module.data)
    data[data.index(b"\x08wasmedge") + 9] += 1  # the number of the format
    with pytest.raises(ConfigurationError, match="compiled for linux aarch64, format 2; .* takes linux aarch64, form"):
        runner.run(Module.of("newer.wasm", bytes(data), ""))
    as_it_is = runner.run(Module.raw("newer.wasm", bytes(data)), "one", "two")  # why it is refused
    assert any("Use interpreter mode instead" in line for line in as_it_is.diagnostics), as_it_is
    assert as_it_is.output == plain.output
