"""Modules that run while the test goes on, on the reference image: in real time, and to the bit in virtual time."""

from __future__ import annotations

import os
import signal
import time

import pytest

from hil.console import LineClosed
from hil.errors import ConfigurationError, RunnerError
from hil.wasm.verdict import exited, failed, stuck

pytestmark = pytest.mark.board


def test_a_module_runs_while_the_test_goes_on(board, guest, runner, sample):
    with runner.start(sample("ticker.wasm"), "20000", "100000") as ticker:  # a tick each 20 ms
        while len(ticker.lines) < 3:
            time.sleep(0.05)
        with pytest.raises(ConfigurationError, match=r"the module ticker\.wasm 20000 100000 runs in the foreground"):
            guest.run("true")
        assert ticker.running
    run = ticker.execution
    assert (run.verdict, run.intact) == (failed("aborted"), True), str(run)
    assert run.lines[:3] == ["tick 1", "tick 2", "tick 3"]
    assert run.lines == [f"tick {number}" for number in range(1, len(run.lines) + 1)]
    assert board.dirty is None
    assert guest.run("echo free", check=True).text == "free\n"
    assert runner.run(sample("hello.wasm")).good


def test_a_module_that_ends_by_itself_is_waited_for(runner, sample):
    with runner.start(sample("loop.wasm"), limit=1) as loop:
        assert loop.output == b"looping\n"
        assert loop.wait().verdict == failed("limit of 1000 ms exceeded")
    with runner.start(sample("periodic.wasm"), "1000", "50", ready="periodic 1000 us, 50 releases") as periodic:
        pass
    with runner.start(sample("periodic.wasm"), "1000", "50", ready=None) as periodic:
        run = periodic.wait(20)
    assert (run.verdict, run.intact, len(run.lines)) == (exited(0), True, 52), str(run)
    with pytest.raises(
        RunnerError, match=r"periodic\.wasm 0 ended before (?s:.*)exited\(64\)(?s:.*)\n  > arguments: PER"
    ):
        runner.start(sample("periodic.wasm"), "0", ready="periodic")
    assert runner.run(sample("hello.wasm")).good


@pytest.mark.emulator
@pytest.mark.destructive
def test_a_machine_that_dies_meanwhile_is_reported(board, runner, sample):
    with runner.start(sample("loop.wasm")) as loop:
        os.kill(board.qemu.pid, signal.SIGKILL)
        with pytest.raises(LineClosed):
            loop.wait()
    assert (loop.output, loop.running, loop.execution) == (b"looping\n", False, None)


def test_a_guest_that_panics_meanwhile_does_not_stop_the_module(board, guest, runner, sample):
    guest.run("(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    with runner.start(sample("ticker.wasm"), "20000", "100000") as ticker:
        board.console.wait_for(b"Kernel panic", timeout=30)
        ticks = len(ticker.lines)
        while len(ticker.lines) < ticks + 3:
            time.sleep(0.05)
    assert ticker.execution.verdict == stuck()
    assert "ticker.wasm left the runner stuck" in board.dirty


@pytest.mark.timing
@pytest.mark.emulator
def test_in_virtual_time_a_run_repeats_to_the_bit(board, runner, sample):
    def run():
        console = board.console
        with runner.start(sample("ticker.wasm"), "10000", "100000", ready="tick 3") as ticker:
            ready = console.now
            assert ticker.lines == ["tick 1", "tick 2", "tick 3"]
            time.sleep(0.2)
            assert ticker.lines == ["tick 1", "tick 2", "tick 3"], "virtual time stands still"
            with pytest.raises(RunnerError, match="still runs"):
                ticker.wait(0.0555)
            waited = console.now - ready
            assert waited == pytest.approx(0.0555, abs=1e-4)
            assert len(ticker.lines) == 8
        assert runner.run(sample("hello.wasm")).good
        stopped = ticker.execution
        return stopped.verdict, stopped.output, ready, waited, console.now, console.lockstep.history

    first = run()
    board.fresh()
    assert run() == first
    assert first[0] == failed("aborted")
    assert board.virtual.exact, str(board.virtual)
