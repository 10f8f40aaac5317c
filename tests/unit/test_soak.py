"""Soaks with a real shell and a stand-in for the agent that wears out; boots of boards that do not come up."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import QUICK, ShellLine, session
from test_runner import PLAIN, SEALING, line, module
from test_runner import make as stand_in

from hil import BoundsNotKept, Measure, MiB
from hil.errors import BootError, ConfigurationError, InfrastructureError, RunnerError
from hil.image.manifest import AgentFacts
from hil.measure import memory as memory_module
from hil.measure.boots import boots
from hil.measure.memory import Memory, own
from hil.measure.quantities import GUEST, PARTITION, RUNNER
from hil.measure.soak import soak
from hil.measure.soak_result import Allowances
from hil.wasm import Runner
from hil.wasm import runner as runner_module

__all__ = ["line"]

ROOT = Path(__file__).parents[2]

GOOD = module(r"write(b'right\r\n'); end(status=0)")
# in front of the stand-in's own work, so that its runner dies at the given deployment
WEARS = """
count = int(open("count").read() or 0) + 1 if os.path.exists("count") else 1
open("count", "w").write(str(count))
if count >= 12:
    FATE
"""
FATES = {"silent": "sys.exit(0)", "fault": "print('Assertion failed: out of memory', flush=True); sys.exit(0)"}
HELLO = """
if sys.argv[1:] == ["--hello"]:
    print(open("hello").read()); sys.exit(0)
"""


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "MODULES", str(tmp_path / "modules"))


def make(line: ShellLine, facts: AgentFacts = SEALING) -> Runner:
    runner = stand_in(line, facts)
    board: Any = runner.guest.board
    board.report = board.origin = None  # not booted by us
    return runner


@pytest.fixture
def runner(line: ShellLine) -> Runner:
    return make(line)


def wear(line: ShellLine, code: str) -> None:
    agent = line.home / "wasmedge_emit"
    agent.write_text(agent.read_text().replace("options = {}\n", f"options = {{}}\n{code}", 1))


def measure(tmp_path: Path, seen: list[Any]) -> Measure:
    return Measure(tmp_path / "b.toml", lambda series, checks: seen.append((series, checks)))


def test_a_soak_reports_times_and_memory(runner: Runner) -> None:
    run = soak(runner, GOOD, "x", deployments=24, every=3, test="t")
    assert (run.done, run.good, run.wrong, run.first, run.failure) == (24, 24, 0, None, "")
    assert dict(run.verdicts) == {"exited(0)": 24}
    assert [(one.quantity, one.subject, len(one)) for one in run.times] == [
        ("deployment time", "m.wasm x, soak", 24),
        ("response time", "m.wasm x, soak", 24),
    ]
    assert run.response is not None
    assert set(run.response.samples) == {125 / 62500}, "the stand-in's ticks"
    (guest,) = run.memory
    assert (guest.quantity, guest.unit, len(guest), guest.samples[0]) == (GUEST, "B", 9, 0)
    assert [why.split(":")[0] for why in run.unknown] == [f"{PARTITION}, {RUNNER}", "QEMU memory taken"]
    assert guest.provenance["test"] == "t"
    for word in ("24 of 24", "24 exited(0)", "drift per 1,000", "agent.hello_option"):
        assert word in str(run)


@pytest.mark.parametrize(("fate", "words"), [("silent", "silent"), ("fault", "fault")])
def test_wear_is_found_with_its_number(line: ShellLine, tmp_path: Path, fate: str, words: str) -> None:
    wear(line, WEARS.replace("FATE", FATES[fate]))
    runner = make(line, PLAIN)
    run = soak(runner, GOOD, deployments=200)
    assert (run.done, run.good, run.wrong) == (12, 11, 1)
    assert run.first is not None
    assert run.first.number == 12
    assert all(part in run.failure for part in (words, "12 of 200", "m.wasm", "11", "guest memory "))
    assert f"{line.console.transcript.path}:" in run.failure
    assert runner.guest.board.dirty, "the next test gets a fresh board; this soak did not ask for one"
    seen: list[Any] = []
    with pytest.raises(RunnerError, match="12 of 200"):
        run.check(measure(tmp_path, seen))
    assert {series.quantity for series, _ in seen} == {"deployment time", GUEST}, "they are in the results all the same"


def test_a_soak_may_go_on(line: ShellLine) -> None:
    wear(line, WEARS.replace("FATE", FATES["silent"]))
    run = soak(make(line, PLAIN), GOOD, deployments=20, go_on=True)
    assert (run.done, run.good, run.wrong) == (20, 11, 9)
    assert run.first is not None
    assert run.first.number == 12


def test_a_wrong_output_is_a_failure_whatever_the_verdict(runner: Runner, line: ShellLine) -> None:
    changing = module("write(str(os.path.exists('later')).encode()); open('later', 'w'); end()")
    run = soak(runner, changing, deployments=20)
    assert (run.done, run.good) == (2, 1)
    assert all(part in run.failure for part in ("2 of 20", "m.wasm", "b'True'", "b'False'"))
    judged = soak(runner, GOOD, deployments=20, problems=lambda run: ["not this output"])
    assert (judged.done, judged.good, judged.times) == (1, 0, ())
    assert all(part in judged.failure for part in ("1 of 20", "not this output"))


def test_a_soak_of_hours_ends_in_time(runner: Runner) -> None:
    run = soak(runner, GOOD, hours=0.5 / 3600, every=1)
    assert run.done >= 1
    assert run.wrong == 0
    assert run.planned == f"{0.5 / 3600:g} h"
    assert 0.4 < run.seconds < QUICK


def test_the_runner_reports_its_memory(line: ShellLine) -> None:
    wear(line, HELLO)
    (line.home / "hello").write_text("partition: sched=FIFO:60 locked=1000 pid=1 free=5000 runs=7")
    memory = Memory(make(line, SEALING.model_copy(update={"hello_option": "--hello"})).guest)
    assert memory.read() | {GUEST: 0} == {GUEST: 0, PARTITION: 0, RUNNER: 0}
    (line.home / "hello").write_text("partition: sched=FIFO:60 locked=1001 pid=1 free=4990 runs=7")
    assert memory.read() | {GUEST: 0} == {GUEST: 0, PARTITION: 10 << 10, RUNNER: 1 << 10}


def test_a_runner_that_reports_no_more_ends_the_soak(line: ShellLine) -> None:
    wear(line, HELLO)
    (line.home / "hello").write_text("locked=1000 free=5000")
    runner = make(line, SEALING.model_copy(update={"hello_option": "--hello"}))
    dying = module("open('hello', 'w').write('no answer'); end()")
    run = soak(runner, dying, deployments=20, every=1)
    assert run.first is not None
    assert (run.first.number, run.done, run.good) == (1, 1, 1)
    assert "'no answer'" in run.failure
    assert runner.guest.board.dirty


def test_growth_fails_the_check_and_is_reported(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = iter(range(1 << 30, 0, -(1 << 20)))
    monkeypatch.setattr(Memory, "available", lambda self, limit: next(left))
    run = soak(runner, GOOD, deployments=40, every=2)
    seen: list[Any] = []
    lax = Allowances(drift=1000 * Allowances().drift, memory={GUEST: 1 * MiB})
    with pytest.raises(BoundsNotKept, match=r"growth per 1,000 deployments is 500 MiB, limit 25 MiB") as caught:
        run.check(measure(tmp_path, seen), lax)
    assert "--hil-soak-deployments" in "".join(caught.value.__notes__)
    assert [len(checks) for _, checks in seen] == [1, 1, 1]
    run.check(measure(tmp_path, seen), Allowances(lax.drift, {GUEST: 50 * MiB}))


def test_a_line_that_ends_is_the_test_beds_failure(line: ShellLine, runner: Runner) -> None:
    assert runner.guest.shell, "opens it: then there are all its processes"
    processes = list(session(line.process.pid))
    kill = f"[os.kill(pid, signal.SIGKILL) for pid in {processes}]"  # the first of them ends the others by SIGHUP
    ending = module(f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {kill}; time.sleep(1)")
    with pytest.raises(InfrastructureError) as caught:
        soak(runner, ending, deployments=20)
    assert caught.value.__notes__ == ["at deployment 1 of 20 of m.wasm; 0 were good"]


def test_what_the_user_must_correct_is_not_the_images_failure(line: ShellLine, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = make(line)

    def refuse(*_: object) -> None:
        raise ConfigurationError("image x has no agent")

    monkeypatch.setattr(runner, "place", refuse)
    with pytest.raises(ConfigurationError, match="has no agent"):
        soak(runner, GOOD, deployments=20)
    assert not runner.guest.board.dirty
    with pytest.raises(ConfigurationError, match="no such image"):
        boots(board_of(ConfigurationError("no such image")), 3)


@pytest.mark.parametrize(
    "options",
    [{}, {"deployments": 3, "hours": 1.0}, {"deployments": 0}, {"hours": -1.0}, {"deployments": 9, "every": 0}],
)
def test_numbers_that_make_no_soak_are_refused(runner: Runner, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="deployments.*hours"):
        soak(runner, GOOD, **options)


# memory

SMAPS = """\
55a000000000-55a000100000 r-xp 00000000 08:01 1234                       /usr/bin/qemu-system-aarch64
Private_Clean:       400 kB
Anonymous:             0 kB
Swap:                  0 kB
55a000200000-55a000300000 rw-p 00000000 00:00 0                          [heap]
Private_Dirty:       600 kB
Anonymous:           600 kB
Swap:                 20 kB
7f0000000000-7f0004000000 rw-p 00000000 08:01 77                         /var/cache/ram
Anonymous:         30000 kB
Swap:                  0 kB
7f0010000000-7f0011000000 rwxp 00000000 00:00 0
Anonymous:          9000 kB
Swap:                  0 kB
7f0020000000-7f0020100000 rw-p 00000000 00:00 0
AnonHugePages:       512 kB
Anonymous:             8 kB
Swap:                  0 kB
"""


def test_qemus_own_memory_is_distinguished_from_the_machines() -> None:
    assert own(SMAPS, 64 << 20) == (600 + 20 + 8) << 10
    with pytest.raises(InfrastructureError, match=str(65 << 20)):
        own(SMAPS, 65 << 20)


def test_a_guest_without_meminfo_is_reported(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    runner.guest.run("cat() { echo MemFree: 5 kB; }", check=True)
    run = soak(runner, GOOD, deployments=20)
    assert all(part in run.failure for part in ("MemAvailable", "0 of 20"))
    assert run.done == 0
    assert "0 of 20" in str(run)


# boots


def board_of(*ends: Exception | float) -> Any:
    left: Iterator[Exception | float] = iter(ends)

    def boot() -> Any:
        end = next(left)
        if isinstance(end, Exception):
            raise end
        return SimpleNamespace(stages=(SimpleNamespace(seconds=end),))

    return SimpleNamespace(boot=boot)


def test_boots_are_counted_and_each_failure_is_reported() -> None:
    hang = BootError("no marker in 60 s: flood", stage="VMM")
    booted = boots(board_of(8.0, hang, InfrastructureError("QEMU was killed"), 9.0), 3)
    assert (booted.rate.failed, booted.rate.total, booted.seconds) == (1, 3, (8.0, 9.0))
    assert len(booted.failures) == len(booted.infrastructure) == 1
    assert all(part in booted.failures[0] for part in ("boot 2", "BootError", "'VMM'", "no marker in 60 s: flood"))
    assert all(part in booted.infrastructure[0] for part in ("boot 3", "InfrastructureError", "QEMU was killed"))
    for word in (
        "1 of 3",
        "0.8404 % .. 90.57 %",
        "8.0 to 9.0 s",
    ):
        assert word in str(booted)


def test_a_test_bed_that_fails_twice_ends_it() -> None:
    with pytest.raises(InfrastructureError, match="again"):
        boots(board_of(InfrastructureError("once"), InfrastructureError("again")), 3)
    with pytest.raises(ConfigurationError):
        boots(board_of(), 0)


def test_what_is_waited_for_is_bounded() -> None:
    assert memory_module.LIMIT < 60
    assert memory_module.LAST_LIMIT <= memory_module.LIMIT


@pytest.mark.parametrize("option", ["--hil-soak-deployments=19", "--hil-soak-hours=0", "--hil-soak-boots=0"])
def test_options_that_make_no_soak_are_refused(option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", option, "suites/soak"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert option.replace("=", " ") in done.stderr
