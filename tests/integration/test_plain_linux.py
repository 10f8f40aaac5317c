"""The plain Linux image: the reference's kernel and interface without a hypervisor, and without what that gives."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import HANG

from hil import Measure, ms
from hil.board.board import Board
from hil.errors import ConfigurationError
from hil.guest import Guest
from hil.image import manifest, store
from hil.signals.emulated import EmulatedWiring
from hil.wasm import Runner, Samples
from hil.wasm.verdict import Failed, exited

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "wasm_samples"
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--board", "qemu-plain"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, timeout=HANG, capture_output=True, text=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A booted board for all tests here, and its image built where it is not yet."""
    with Board("qemu-plain", transcripts=tmp_path_factory.mktemp("transcripts")) as board:
        board.fresh()
        yield Guest(board)


def test_it_boots_without_a_hypervisor(plain: Guest) -> None:
    assert plain.board.report is not None
    assert [one.name for one in plain.board.report.stages][2:4] == ["hypervisor", "runner"]
    assert plain.run("ls /sys/hypervisor", check=True).lines == []
    assert plain.run("cat /sys/devices/system/cpu/isolated", check=True).text == "1\n"


def test_the_kernel_is_the_references(plain: Guest) -> None:
    reference = store.open(manifest.find("reference"))
    assert reference is not None, "the reference image is not built"
    assert plain.board.image().record["files"]["kernel"] == reference.record["files"]["kernel"]


def test_the_runner_is_a_real_time_process_on_its_own_processor(plain: Guest) -> None:
    told = plain.run("wasmedge_emit --hello", check=True).text
    assert told.startswith("process: wasmedge 0.14.1 sched=FIFO:60 locked=")
    facts = "for p in $(pidof runner); do grep Cpus_allowed_list /proc/$p/status; cat /proc/$p/oom_score_adj; done"
    # the runner, what watches for an idle processor, and the next worker
    assert plain.run(facts, check=True).text == "Cpus_allowed_list:\t1\n-999\n" * 3


def test_modules_draw_random_numbers_and_fresh_entropy_is_taken(plain: Guest) -> None:
    run = Runner(plain).run(ROOT / "tests" / "modules" / "random.wasm")
    assert run.verdict == exited(0)
    assert run.output[:16] != run.output[16:]
    plain.run(f"wasmedge_emit --entropy={'0123456789abcdef' * 4}", check=True)


def test_modules_run_and_the_watchdog_ends_an_endless_one(plain: Guest) -> None:
    runner = Runner(plain)
    hello = runner.run(SAMPLES / "hello.wasm")
    assert (hello.verdict, hello.lines, hello.intact) == (exited(0), ["hello, sel4", "1+2-3*4 = -9"], True)
    endless = runner.run(SAMPLES / "loop.wasm", limit=0.3)
    assert isinstance(endless.verdict, Failed), str(endless)
    assert endless.verdict.reason == "limit of 300 ms exceeded"
    assert runner.run(SAMPLES / "exit.wasm", "42").verdict == exited(42)


def test_releases_of_the_runner_are_measured_and_held_against_its_own_bounds(plain: Guest) -> None:
    series = Measure(ROOT / "boards/qemu-plain.bounds.toml").releases(plain, 5 * ms, count=50, partition=True)
    assert (len(series.samples), series.subject) == (50, "partition, 5 ms")
    assert Measure(ROOT / "boards/qemu-plain.bounds.toml").bounds.of(series)
    with pytest.raises(ConfigurationError, match=r"image reference\b.*plain-linux"):
        Measure(ROOT / "boards/qemu-reference.bounds.toml").check(series)


def test_a_killed_runner_is_told_and_comes_back(plain: Guest) -> None:
    """Which no guest beside a partition could do."""
    console = plain.board.console
    start = console.skip()
    plain.run("kill -9 $(pidof runner)", check=True)
    answer = plain.run("wasmedge_emit --hello=20000", check=True)
    assert "process: runner died, status 137" in [line.text for line in console.lines(start)] + list(answer.foreign)
    assert Runner(plain).run(SAMPLES / "hello.wasm").good


@pytest.mark.parametrize(("victim", "limit"), [("worker", 0.1), ("runner", 10)])  # the next runner comes after 1 s
def test_outputs_fall_with_a_killed_worker_and_with_a_killed_runner(plain: Guest, victim: str, limit: int) -> None:
    wires, field = EmulatedWiring(plain), "$p" if victim == "worker" else "$4"
    kill = f"set -- $(cat /proc/$p/stat); pidof runner | grep -wq $4 && kill -9 {field}"  # the fourth field: its parent
    plain.run(f"(sleep 3; for p in $(pidof runner); do {kill}; done) >/dev/null 2>&1 &", check=True)
    with Runner(plain).start(Samples()("watchdog.wasm"), "1000", "99999999") as running:
        await_level(wires, "SPARE", 1, 10)
        run = running.wait()
    await_level(wires, "SPARE", 0, limit)
    await_level(wires, "BEAT", 0, limit)
    assert not run.good, str(run)
    plain.run("wasmedge_emit --hello=20000", check=True)
    assert Runner(plain).run(SAMPLES / "hello.wasm").good


def await_level(wires: EmulatedWiring, pin: str, level: int, limit: float) -> None:
    end = time.monotonic() + limit
    while wires.level(pin) != level:
        assert time.monotonic() < end, f"{pin} is not {level} after {limit} s"
        time.sleep(0.05)


@pytest.mark.slow  # a boot of its own; the reference's bounds fail on it in the test above
def test_what_has_no_partition_fails_the_suite_of_isolation() -> None:
    done = run(*PYTEST, "suites/isolation/test_survival.py", "-k", "kills")
    assert "1 failed" in done.stdout, done.stdout
    assert "with the guest (image plain-linux, hypervisor none)" in done.stdout


@pytest.mark.slow  # two boots; the reference image's are exact in test_virtual_time.py
def test_virtual_time(tmp_path: Path) -> None:
    with Board("qemu-plain", seed=1, transcripts=tmp_path) as board:
        board.boot()
        assert board.virtual is not None
        assert board.virtual.exact, str(board.virtual)
