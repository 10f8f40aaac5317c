"""The guest probe on the reference image: what it measures, and what is left of one that goes wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest

from hil import Measure, p50
from hil.errors import ConfigurationError, RunnerError
from hil.guest import CommandTimeout
from hil.measure.decision import decide
from hil.measure.host import EMULATOR, total
from hil.measure.probe import Probe
from hil.measure.probe_record import EXITED, VERDICTS, Executions, parse
from hil.measure.units import ms, s, us
from hil.wasm import Module

pytestmark = pytest.mark.board
FILE = "/tmp/probe.test"


@pytest.fixture
def probe(guest):
    return Probe(guest)


@pytest.fixture
def nbody(runner, sample):
    return runner.place(sample("nbody-c.wasm"))


def recorded(guest, file=FILE):
    record = parse(guest.get(file))
    guest.run(f"rm {file}", check=True)
    return record


def test_repeated_runs_are_equal(probe, runner, sample, guest, nbody):
    start = guest.board.console.position
    record = probe.executions(nbody, ["10"], count=20, warm_up=2)
    said = guest.board.console.transcript.read(start, guest.board.console.position)
    assert said.count(b"executing wasm file") == said.count(b"execution success, exit code:0") == 22
    assert record.complete
    assert set(record.verdict) == {EXITED}
    once = runner.run(sample("nbody-c.wasm"), "10")
    assert once.good
    assert set(record.output_crc) == {zlib.crc32(once.output)}, "arguments and module are the same each time"
    assert set(record.output_bytes) == {len(once.output)}
    assert np.all(record.execution < record.response)
    assert np.all(record.request[1:] > record.answer[:-1])
    assert record.transfer > 0


def test_the_modules_own_code_is_recorded(probe, runner, sample):
    assert set(probe.executions(runner.place(sample("exit.wasm")), ["7"], count=3).code) == {7}


def test_the_limit_holds_for_each_run(probe, runner, sample):
    with pytest.raises(RunnerError, match="1 of 3.*limit exceeded"):
        probe.executions(runner.place(sample("loop.wasm")), count=3, limit=0.2)
    assert isinstance(probe.last, Executions)
    assert VERDICTS[probe.last.verdict[0]] == "limit exceeded"


@pytest.mark.parametrize("partition", [False, True], ids=["guest", "partition"])
def test_a_loop_is_released_at_its_deadlines(probe, partition):
    record = probe.cycles(1 * ms, count=500, partition=partition)
    assert record.complete
    assert len(record.lateness) == 500
    assert 0 < np.min(record.lateness) < 0.1, "a busy host may delay any of them, but not all"


def test_a_long_loop_in_the_partition_goes_in_batches(probe):
    record = probe.cycles(50 * us, count=20_000, partition=True)
    assert record.complete
    assert len(record.late) == 20_000
    assert record.late.all(), "each release is noted"


def test_the_counter_has_a_floor(probe):
    record = probe.counter(1000)
    assert len(record.steps) == 1000
    assert 0 <= record.floor < 0.01


@pytest.mark.parametrize("signal", ["KILL", "TERM"])
def test_a_probe_that_is_killed_leaves_its_record_and_a_runner(probe, guest, runner, sample, nbody, signal):
    command = f"{probe.place()} run --output {FILE} --count 5000 {nbody} 10"
    # the run that is left ends by itself, and what it writes would cut into the next frame
    guest.run(f"{command} & p=$!; sleep 2; kill -{signal} $p; wait $p; sleep 0.5", timeout=30)
    record = recorded(guest)
    assert not record.complete
    assert record.planned == 5000
    assert 0 < record.done < 5000
    assert set(record.verdict) == {EXITED}
    assert runner.run(sample("hello.wasm")).good
    assert probe.executions(nbody, ["10"], count=2).complete


def test_a_loop_that_nobody_waits_for_ends_with_the_next_module(probe, guest, runner, sample):
    command = f"{probe.place()} cycle --output {FILE} --period-ns 100000000 --count 5000 --priority 80 --partition 1"
    guest.run(f"{command} & p=$!; sleep 1; kill -KILL $p; wait $p", timeout=30)
    assert recorded(guest).done == 0
    assert guest.run("wasmedge_emit --hello").status == 0, "the runner answers meanwhile"
    assert runner.run(sample("hello.wasm")).good


def test_an_interrupted_probe_tells_what_it_has(probe, runner, sample, nbody):
    with pytest.raises(CommandTimeout, match="interrupted"):
        probe.executions(nbody, ["10"], count=5000, timeout=2)
    assert probe.last
    assert 0 < probe.last.done < 5000
    assert not probe.last.complete
    assert runner.run(sample("hello.wasm")).good


def test_two_probes_and_an_agent_take_turns(probe, guest, runner, nbody):
    command = f"{probe.place()} run --count 10"
    result = guest.run(
        f"{command} --output {FILE}1 {nbody} 10 & a=$!; {command} --output {FILE}2 {nbody} 1000 & b=$!;"
        f"wasmedge_emit {nbody} 10 >/dev/null; echo agent=$?; wait $a; echo first=$?; wait $b; echo second=$?",
        timeout=60,
    )
    assert re.findall(r"(\w+)=(\d+)$", result.text, re.M) == [("agent", "0"), ("first", "0"), ("second", "0")]
    one, other = recorded(guest, f"{FILE}1"), recorded(guest, f"{FILE}2")
    assert one.complete
    assert other.complete
    assert len(set(one.output_crc)) == len(set(other.output_crc)) == 1
    assert set(one.output_crc) != set(other.output_crc)


def test_a_module_that_is_not_there(probe):
    with pytest.raises(ConfigurationError, match="no such module: /nowhere.wasm"):
        probe.executions("/nowhere.wasm", count=3)


@pytest.mark.parametrize("data", [b"", b"#!/bin/sh\n"], ids=["empty", "not-wasm"])
def test_a_module_that_cannot_be_loaded(probe, runner, data):
    place = runner.place(Module.raw("bad.wasm", data))
    with pytest.raises(RunnerError, match="1 of 3.*not loaded"):
        probe.executions(place, count=3)


def test_a_module_that_traps(probe, runner, sample):
    with pytest.raises(RunnerError, match="1 of 3.*trapped"):
        probe.executions(runner.place(sample("trap.wasm")), ["unreachable"], count=3, warm_up=5)


def test_an_argument_that_is_too_long(probe, guest, nbody):
    command = f"{probe.place()} run --output {FILE} {nbody} $(head -c 5000 /dev/zero | tr '\\0' x)"
    assert guest.run(command).status == 247


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("cycle --period-ns 9999", "10 us to 10 s"),
        ("cycle --period-ns 10000000001", "10 us to 10 s"),
        ("cycle --period-ns 1000000 --count 0", "out of range: 0"),
        ("cycle --period-ns 1000000 --count 12x", "out of range: 12x"),
        ("cycle --period-ns 1000000 --priority 99", "out of range: 99"),
        ("cycle --period-ns 1000000 --partition 1", "wants a --priority"),
        ("cycle --period-ns", "a value is missing"),
        ("counter --frobnicate 1", "unknown option --frobnicate"),
        ("run", "Usage"),
        ("dance", "Usage"),
    ],
)
def test_bad_use_is_refused(probe, guest, options, said):
    result = guest.run(f"{probe.place()} {options.partition(' ')[0]} --output {FILE} {options.partition(' ')[2]}")
    assert result.status == 1
    assert said in result.text


def test_an_output_that_cannot_be_written(probe, guest):
    assert guest.run(f"{probe.place()} counter --output /nowhere/file").status == 248
    command = f"{probe.place()} counter --count 100000 --output /tmp/full/file; echo status=$?"
    full = guest.run(f"mkdir -p /tmp/full && mount -t tmpfs -o size=64k none /tmp/full && {command}; umount /tmp/full")
    assert "status=248" in full.text


def test_a_device_that_is_no_partition(probe, guest, nbody):
    for device in ("/dev/null", "/nowhere"):
        assert guest.run(f"{probe.place()} run --output {FILE} --device {device} {nbody}").status == 245


def test_a_dead_runner_on_the_other_images_device_is_told(probe, guest, nbody):
    # a plain file takes the place of the device: nobody answers there, and the request stays to be seen
    guest.run(f"head -c 8192 /dev/zero >{FILE}.uio", check=True)
    result = guest.run(f"{probe.place()} run --output {FILE} --device {FILE}.uio {nbody} 10")
    assert result.status == 245
    assert "no answer from the runner: it is dead" in result.text
    pages = guest.get(f"{FILE}.uio")
    size = int(guest.run(f"wc -c <{nbody}").text)
    assert pages[:4] == (1).to_bytes(4, "little")
    assert pages[4096:4108] == b"\1\0\10\0" + size.to_bytes(8, "little")


def test_what_a_busy_host_takes_is_not_the_images(board, runner, sample, tmp_path):
    """In real time, beside more work than there are processors: a slow series is the host's, with its numbers."""
    measure = Measure(tmp_path / "none.toml")
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3 * os.cpu_count())]
    try:
        series = measure.executions(runner, sample("nbody-c.wasm"), "10", repeats=30)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    taken = total(series.host)
    assert taken.waits[EMULATOR] > 0.05, taken
    assert {"host load", "host steal", "emulator waited", "console reader waited"} <= set(series.provenance)
    tight = p50 <= 0.99 * (p50.estimate(series).lower - series.clock.uncertainty) * s
    assert decide(tight, replace(series, host=())).outcome == "fail"
    check = decide(tight, series)
    assert (check.outcome, check.origin) == ("inconclusive", "infrastructure"), check
