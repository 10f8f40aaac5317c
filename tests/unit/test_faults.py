"""Faults on purpose: what is made, how it is judged, and what is told of it."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from limits import HANG
from support import QUICK, UNCHECKED, children, stub_board, until

import hil.labgrid
from hil.board.board import Board
from hil.cli import main
from hil.errors import BootError, ConfigurationError, GuestError, InfrastructureError
from hil.faults import aftermath, catalogue, leaks, modules
from hil.faults.aftermath import attempt, judge
from hil.faults.catalogue import Fault, at_stage, fault, faults_for
from hil.faults.deployment import BAD_REQUESTS
from hil.faults.injecting import Later
from hil.faults.injector import Injector
from hil.faults.leaks import leaked, open_resources
from hil.faults.machine import slowed
from hil.faults.record import (
    AT_ONCE,
    BROKEN,
    BY_ITSELF,
    FRESH,
    HELD,
    NEVER,
    RESET,
    WRONG,
    FaultRecord,
    from_json,
    to_json,
)
from hil.faults.report import markdown, ordered, summary, table
from hil.guest import Guest
from hil.image import manifest
from hil.measure.probe import Probe, Request, build
from hil.qemu.monitor import Monitor
from hil.wasm import Module, Runner
from hil.wasm.verdict import exited

pytest_plugins = ["pytester"]
FINDING = FaultRecord(
    "freeze",
    "stood still",
    "went on",
    "exited",
    AT_ONCE,
    0.2,
    1.0,
    HELD,
    "as it ought to be",
    1,
    "b",
    "i",
    "/t/x.raw",
    3,
    9,
)


# -- modules -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["greeting", "endless", "trapping", "allocating", "recursing", "flooding", "huge"])
def test_each_module_is_a_module_and_small_on_the_line(kind, tmp_path):
    made = modules.module(kind)
    path = tmp_path / made.name
    path.write_bytes(made.data)
    assert Module.load(path).imports == ("wasi_snapshot_preview1.fd_write",)
    assert len(made.data.rstrip(b"\0").replace(bytes(1024), b"")) < 2048


def test_a_module_that_is_none_is_told():
    with pytest.raises(ConfigurationError, match="'small'"):
        modules.module("small")


def test_malformed_modules_repeat_by_their_seed_and_are_not_good():
    good = modules.module("greeting").data
    one, other = ([modules.malformed(random.Random(seed))[0].data for seed in range(200)] for _ in range(2))
    assert one == other
    assert good not in one
    assert len(set(one)) > 150


# -- the catalogue -------------------------------------------------------------------------------------


def test_names_are_unique_and_each_stage_has_its_cut():
    reference = manifest.find("reference")
    names = [one.name for one in faults_for(reference)]
    assert len(names) == len(set(names))
    assert [name for name in names if "@" in name] == [f"power-cut@{stage.name}" for stage in reference.stages]


def test_an_unknown_fault_is_told_with_the_nearest():
    with pytest.raises(ConfigurationError, match="'freez'") as caught:
        fault("freez")
    assert "'freeze'" in str(caught.value)
    with pytest.raises(ConfigurationError, match="'power-cut@shell'"):
        fault("power-cut@shell")
    assert fault("power-cut@shell", manifest.find("reference")).about == at_stage("shell").about


# -- slow hosts and instants ---------------------------------------------------------------------------


def ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture
def busy():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process
    process.kill()
    process.wait()


def test_a_slowed_process_gets_its_share_and_runs_again(busy):
    until(lambda: ticks(busy.pid) > 2)
    for left in range(5, 0, -1):  # a busy host gives the process less time stopped, but not each time
        stopped = 0
        with slowed(busy.pid, 0.2):
            for _ in range(100):
                stopped += state(busy.pid) == "T"
                time.sleep(0.01)
        if 50 < stopped < 97:
            break
        assert left > 1, f"stopped at {stopped} of 100 looks"
    assert state(busy.pid) != "T"
    before = ticks(busy.pid)
    until(lambda: ticks(busy.pid) > before)


def test_a_process_is_not_left_stopped_by_what_goes_wrong(busy):
    def fail_when_stopped() -> None:
        until(lambda: state(busy.pid) == "T")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), slowed(busy.pid, 0.05):
        fail_when_stopped()
    until(lambda: state(busy.pid) != "T", 1)


def test_a_process_that_ends_meanwhile_is_no_error(busy):
    with slowed(busy.pid, 0.5):
        busy.kill()
        busy.wait()
    with pytest.raises(InfrastructureError, match=str(busy.pid)), slowed(busy.pid, 0.5):
        pass


@pytest.mark.parametrize("share", [0, 1])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(ConfigurationError, match=f"={share} "), slowed(os.getpid(), share):
        pass


def test_an_act_comes_at_its_time_and_its_error_to_who_waits():
    seen: list[float] = []
    begun = time.monotonic()
    with Later(0.05, lambda: seen.append(time.monotonic() - begun)) as later:
        time.sleep(0.2)
    assert later.early
    assert 0.05 <= seen[0] < 0.2
    with Later(0.05, lambda: seen.append(0)) as late:
        pass
    assert not late.early
    assert len(seen) == 2, "it is done all the same"

    def fails() -> None:
        raise GuestError("no")

    with pytest.raises(GuestError, match="no"), Later(0, fails):
        pass


def test_a_thread_that_ends_while_it_is_looked_at_is_no_error(monkeypatch):
    def gone(path: Path) -> str:
        raise ProcessLookupError

    monkeypatch.setattr(Path, "read_text", gone)
    assert open_resources()["child processes"] == 0


def test_what_leaks_is_named(monkeypatch):
    monkeypatch.setattr(leaks, "SETTLE", 0.1)
    before = open_resources()
    assert not leaked(before)
    ends = os.pipe()
    try:
        assert leaked(before) == "2 file descriptors"
    finally:
        for end in ends:
            os.close(end)


# -- aftermath -----------------------------------------------------------------------------------------


@pytest.fixture
def injector(tmp_path):
    with Board(str(stub_board(tmp_path)), transcripts=tmp_path, snapshots=False) as board:
        board.boot()
        yield Injector(Runner(Guest(board)), seed=7)


@pytest.fixture
def alive(monkeypatch):
    """In the stub's place: it is alive while QEMU is; `alive.errors` are raised first."""
    told = SimpleNamespace(errors=[])

    def check_usable(runner: Any) -> None:
        if told.errors and (error := told.errors.pop(0)):
            raise error
        runner.guest.board.qemu.monitor.execute("query-status")

    monkeypatch.setattr(aftermath, "check_usable", check_usable)
    monkeypatch.setattr("hil.wasm.health_check.check_health", lambda guest: None)
    return told


KILL = Fault("kill", "", lambda make: make.kill_qemu(), "InfrastructureError", FRESH)
FREEZE = Fault("freeze", "", lambda make: make.freeze(0.05), "unharmed")


def test_a_board_that_holds_is_told_so(injector, alive, monkeypatch):
    commands = []

    def execute(monitor, command, *arguments, **options):
        commands.append(command)
        return ran(monitor, command, *arguments, **options)

    ran = Monitor.execute
    monkeypatch.setattr(Monitor, "execute", execute)
    monkeypatch.setattr(Monitor, "begin", lambda monitor, command: lambda: monitor.execute(command))
    finding = attempt(injector, FREEZE)
    assert (finding.grade, finding.usable, finding.verdict) == (HELD, AT_ONCE, "unharmed"), finding
    assert finding.done == "the machine was stopped for 0.05 s"
    assert finding.seconds >= 0.05
    assert finding.seed == 7
    assert [command for command in commands if command in ("stop", "cont")][-2:] == ["stop", "cont"]


def test_a_dead_machine_is_found_and_replaced(injector, alive):
    finding = attempt(injector, KILL)
    assert (finding.grade, finding.usable, finding.verdict) == (HELD, FRESH, "InfrastructureError"), finding
    assert injector.board.boots == 2
    assert injector.board.up


def test_a_break_that_ought_not_be_is_broken_but_found(injector, alive):
    finding = attempt(injector, replace(KILL, usable=AT_ONCE))
    assert (finding.grade, finding.usable) == (BROKEN, FRESH), finding
    assert finding.good
    assert "at once" in finding.why


def test_a_fault_without_effect_is_no_success(injector, alive):
    finding = attempt(injector, replace(FREEZE, ought="LineClosed"))
    assert finding.grade == WRONG
    assert not finding.good
    assert finding.why.startswith("unharmed: ")


def test_a_board_that_a_reset_of_the_runner_brings_back(injector, alive, monkeypatch):
    monkeypatch.setattr(aftermath, "_reset", lambda runner: None)
    alive.errors = [GuestError("the runner is stuck")]
    finding = attempt(injector, FREEZE)
    assert (finding.grade, finding.usable, finding.verdict) == (BROKEN, RESET, "GuestError"), finding
    assert "the runner is stuck" in finding.did
    assert injector.board.boots == 1


def test_a_board_that_never_comes_back_is_wrong(injector, alive):
    alive.errors = [GuestError("one"), GuestError("two"), GuestError("three")]
    finding = attempt(injector, KILL)
    assert (finding.grade, finding.usable) == (WRONG, NEVER), finding


def test_a_leak_is_wrong(injector, alive, monkeypatch):
    monkeypatch.setattr(leaks, "SETTLE", 0.1)
    ends: list[int] = []

    def leak(make: Injector) -> Any:
        ends.extend(os.pipe())
        return make.freeze(0)

    try:
        finding = attempt(injector, replace(FREEZE, inject=leak))
    finally:
        for end in ends:
            os.close(end)
    assert finding.grade == WRONG
    assert finding.why == "the framework leaked 2 file descriptors"


def test_a_machine_that_booted_by_itself_is_told_so(injector, alive, monkeypatch):
    finding = judge(injector, replace(injector.freeze(0), restarted=True, words=("rebooted",)), fault("reset"))
    assert (finding.grade, finding.usable) == (HELD, BY_ITSELF)


def test_the_power_is_cut_in_a_boot(injector):
    told: list[Any] = []
    injector.board.on_attempt = account = lambda *words: told.append(words)
    with pytest.raises(ConfigurationError, match="'never'"):
        injector.cut_power(stage="never")
    injection = injector.cut_power(stage="login")
    assert injection.words == ("LineClosed",), injection
    assert injection.start == 0
    assert not injector.board.up
    assert told == [], "it says nothing of the image's boots"
    assert injector.board.on_attempt is account


def test_a_line_is_tapped_when_needed_and_free_again(injector, alive, monkeypatch):
    def cut(make: Injector) -> Any:
        make._through_proxy()
        with make._injecting("cut") as account:
            make._tap.proxy.cut()
            account.done = "cut"
            with account.watching():
                make.board.console.wait_for(b"never", timeout=QUICK)
        return make.injections[-1]

    finding = attempt(injector, Fault("cut", "", cut, "LineClosed", FRESH))
    assert finding.grade == HELD, finding
    assert injector.board.line.tap is None
    assert injector.board.boots == 4, "first, tapped, fresh, and without the tap"


def test_a_board_without_the_proxy_that_does_not_come_up_is_told(injector, alive):
    alive.errors = [None, None, GuestError("gone")]
    tapped = replace(KILL, inject=lambda make: (make._through_proxy(), make.kill_qemu())[1])
    finding = attempt(injector, tapped)
    assert (finding.grade, finding.usable) == (WRONG, NEVER), finding
    assert finding.why == "without the proxy, a fresh board does not work: gone"


def test_a_line_in_virtual_time_has_no_proxy_and_the_board_stays(injector, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Board, "virtual", property(lambda board: "exact"))
        with pytest.raises(ConfigurationError, match="virtual"):
            injector.line_cut()
    assert injector.board.boots == 1
    assert not injector.tapped


@pytest.mark.parametrize("name", ["power-cut", "qemu-killed", "line-cut"])
def test_a_deployment_has_not_ended_when_all_is_cut_also_where_no_limit_ends_it(injector, monkeypatch, name):
    deployed: list[str] = []

    def run(module: Module, **_: object) -> None:
        deployed.append(module.name)
        injector.board.console.wait_for(b"never", timeout=QUICK)

    monkeypatch.setattr(Runner, "facts", property(lambda runner: SimpleNamespace(limit_option=None)))
    monkeypatch.setattr(injector.runner, "place", lambda module: None)
    monkeypatch.setattr(injector.runner, "run", run)
    injection = fault(name).inject(injector)
    injector.close()
    assert injection.words == ("LineClosed",), injection
    assert deployed == ["endless.wasm"]
    assert injector.long_module().name == "greeting.wasm", "of what has to end by itself"


def test_a_boot_that_fails_before_its_cut_is_the_images(injector, alive, monkeypatch):
    told: list[Any] = []
    error = BootError("a flood", stage="start")

    def boot() -> None:
        injector.board.off()
        injector.board.on_attempt("boot", error)
        raise error

    injector.board.on_attempt = lambda *words: told.append(words)
    with monkeypatch.context() as patch:
        patch.setattr(injector.board, "boot", boot)
        finding = attempt(injector, at_stage("login"))
    assert (finding.grade, finding.verdict, finding.usable) == (BROKEN, "no-boot", FRESH), finding
    assert "login" in finding.done
    assert "BootError: a flood" in finding.did
    assert told[0] == ("boot", error), "it counts"


def test_a_board_that_is_off_is_brought_up_for_the_next_fault(injector, alive):
    injector.board.off()
    assert attempt(injector, FREEZE).grade == HELD
    assert injector.board.boots == 2


def test_a_freeze_does_not_hide_what_was_found_meanwhile(injector, monkeypatch):
    def sleep(seconds: float) -> None:
        injector.board.dirty = "found"

    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        injector.freeze(0)
    assert injector.board.dirty == "found"


class Clock:
    """A guest whose clock is `now`; jobs in the background end when they are waited for."""

    def __init__(self, now: int) -> None:
        self.now, self.later, self.set = now, 0, 0
        self.shell = None

    def run(self, command: str, **_: object) -> Any:
        jumps = re.findall(r"date -s @[$][(][(][$][(]date [+]%s[)]([+-])[(]?(-?\d+)[)]?[)][)]", command)
        (jump,) = [int(number) * (1 if sign == "+" else -1) for sign, number in jumps] or [0]
        if "usleep 300000" in command:
            self.later, jump = jump, 0
        elif command.startswith("while ! test -e"):
            jump, self.later = self.later, 0
        if self.now + jump >= 0:  # as the kernel does
            self.now += jump
        return SimpleNamespace(text=f"{self.now}\n", end_ns=0)


@pytest.mark.parametrize("begun", [10, 1_700_000_000])
@pytest.mark.parametrize("name", ["clock-forward", "clock-back"])
def test_a_clock_jumps_also_where_the_module_ends_sooner_and_where_it_began_with_1970(
    injector, monkeypatch, name, begun
):
    good = SimpleNamespace(verdict=exited(0), intact=None, restored=None, module=modules.module("greeting"))
    clock: Any = Clock(begun)
    monkeypatch.setattr(Runner, "facts", property(lambda runner: SimpleNamespace(limit_option=None)))
    monkeypatch.setattr(injector.runner, "place", lambda module: None)
    monkeypatch.setattr(injector.runner, "run", lambda module, **_: good)
    monkeypatch.setattr(Injector, "guest", clock)
    injection = fault(name).inject(injector)
    assert injection.words == ("exited",), injection
    assert clock.now == begun


def test_faults_out_of_range_and_on_boards_that_cannot_are_refused(injector):
    with pytest.raises(ConfigurationError, match="61"):
        injector.freeze(61)
    with pytest.raises(ConfigurationError, match="malformed.*=0"):
        injector.malformed(0)
    real: Any = SimpleNamespace(emulated=False, name="rack-3")
    with pytest.raises(ConfigurationError, match="rack-3") as caught:
        Injector(SimpleNamespace(guest=SimpleNamespace(board=real))).kill_qemu()  # type: ignore[arg-type]
    assert "--board" in str(caught.value)


def test_a_real_board_is_cut_by_its_power_driver():
    calls: list[str] = []
    power = SimpleNamespace(off=lambda: calls.append("off"))
    target = SimpleNamespace(activate=lambda driver: calls.append("active" if driver is power else "?"))
    real: Any = SimpleNamespace(emulated=False, name="rack-3", power=power, target=target)
    Injector(SimpleNamespace(guest=SimpleNamespace(board=real)))._power_off()  # type: ignore[arg-type]
    assert calls == ["active", "off"]


def test_what_the_user_must_correct_is_not_what_the_image_did(injector, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ConfigurationError("no agent")

    monkeypatch.setattr(injector.runner, "run", refuse)
    with pytest.raises(ConfigurationError, match="no agent"):
        injector.module("endless")
    assert injector.injections[-1].words == (), "it was made, and nothing came of it"


# -- findings ------------------------------------------------------------------------------------------


def test_the_worst_comes_first():
    wrong, broken = replace(FINDING, grade=WRONG), replace(FINDING, grade=BROKEN, usable=RESET)
    worse, slow = replace(broken, usable=FRESH), replace(FINDING, recovery=9.0)
    assert ordered([FINDING, broken, slow, worse, wrong]) == [wrong, worse, broken, slow, FINDING]
    assert summary([FINDING, broken, wrong]) == "3 faults: 1 held, 1 broken and found, 1 not found or beyond repair"


def test_findings_survive_json():
    one = replace(FINDING, tail=("a", "b"))
    assert from_json(to_json(one)) == one


def test_the_report_says_where_to_read_on(tmp_path):
    broken = replace(FINDING, fault="two|agents", grade=BROKEN, why="silent", tail=("last ```words",), test="t.py::x")
    text = markdown([FINDING, broken], {"board": "b"}, Path("/t"))
    assert text.index("## Broken, and found") < text.index("## Held")
    assert "- read on: `x.raw`, lines 3 to 9; test `t.py::x`" in text
    assert "| two\\|agents |" in text
    assert "last '''words" in text
    assert text.count("```") == 2, "what held needs no console"
    assert any("silent" in line for line in table([broken]))
    assert len(table([FINDING])) == 2


# -- requests ------------------------------------------------------------------------------------------


class FakeGuest:
    def __init__(self, status: int, text: str) -> None:
        self.status, self.text, self.ran = status, text, ""
        self.board = SimpleNamespace(dirty=None, manifest=SimpleNamespace(agent=SimpleNamespace(device="/dev/uio0")))
        self.shell = SimpleNamespace(console=SimpleNamespace(evidence=lambda: None))

    def run(self, command: str, **_: object) -> Any:
        self.ran = command
        return SimpleNamespace(status=self.status, text=self.text, lines=self.text.splitlines())


def asked(status: int, text: str) -> tuple[FakeGuest, tuple[int, ...]]:
    guest: Any = FakeGuest(status, text)
    probe = Probe(guest)
    probe.place = lambda: "probe"  # type: ignore[method-assign]
    return guest, probe.requests([Request(1, 8, 100), Request(5)], limit=0.5)


def test_requests_are_sent_as_they_are():
    guest, answers = asked(0, "0\n3\n")
    assert answers == (0, 3)
    assert guest.ran == "probe requests --limit-ms 500 --device /dev/uio0 1:8=100 5:0"
    assert guest.board.dirty is None


def test_a_runner_that_stops_answering_is_noticed():
    guest, answers = asked(245, "0\nprobe: no answer from the runner: it is dead\n")
    assert answers == (0,)
    assert guest.board.dirty == "the runner does not answer"


@pytest.mark.parametrize(("status", "text"), [(0, "0\n"), (1, "probe: bad"), (127, "sh: no probe"), (137, "0\n")])
def test_a_probe_that_fails_is_an_error(status, text):
    with pytest.raises((GuestError, ConfigurationError)):
        asked(status, text)


@pytest.mark.parametrize("words", [(-1,), (65536,), (1, 65536), (1, 8, 1 << 64), (1, 8, -1)])
def test_what_is_no_request_is_refused(words):
    with pytest.raises(ConfigurationError, match="request"):
        Request(*words)


def test_the_wrong_requests_are_said_to_be_wrong():
    assert sum(wrong for _, wrong in BAD_REQUESTS) > 10
    assert not all(wrong for _, wrong in BAD_REQUESTS)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        build.cache_clear()
        yield build()
    build.cache_clear()


def probe(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = ["qemu-aarch64", program, "requests", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG)


@pytest.mark.parametrize(
    ("words", "page"),
    [
        (["1:8=100"], struct.pack("<HHQ", 1, 8, 100) + bytes(4)),
        (["99:3=1"], struct.pack("<HHI", 99, 3, 1)),
        (["2:6"], struct.pack("<HH", 2, 6) + b"\xa5" * 6 + bytes(2)),
        (["65535:65535"], b"\xff" * 4 + b"\xa5" * 4092),
        (["5:0"], struct.pack("<HHI", 5, 0xFFFF, 0)),
    ],
)
def test_the_program_sends_what_it_is_told(program, tmp_path, words, page):
    device = tmp_path / "uio"
    device.write_bytes(bytes(8192))
    ended = probe(program, "--device", str(device), *words, "7:0")
    assert (ended.returncode, ended.stdout) == (245, ""), "it stops where nobody answers"
    assert device.read_bytes()[4096 : 4096 + len(page)] == page
    assert device.read_bytes()[0] == 1, "the doorbell"


@pytest.mark.parametrize(
    "word", ["5", ":", "5:", ":5", "1:8=", "1:8=x", "1:8x", "65536:0", "1:65536", "1:8=18446744073709551616"]
)
def test_the_program_refuses_what_is_no_request(program, tmp_path, word):
    device = tmp_path / "uio"
    device.write_bytes(bytes(8192))
    ended = probe(program, "--device", str(device), "7:0", word)
    assert (ended.returncode, ended.stderr) == (1, f"probe: no COMMAND:SIZE[=NUMBER]: {word}\n")
    assert device.read_bytes() == bytes(8192), "nothing is sent"


# -- pytest and the command line -----------------------------------------------------------------------

CONFTEST = """
import hil.faults.aftermath
hil.faults.aftermath.check_usable = lambda runner: runner.guest.board.qemu.monitor.execute("query-status")
"""
TESTS = """
    import dataclasses, pytest
    from hil.faults.catalogue import Fault
    FREEZE = Fault("freeze", "", lambda make: make.freeze(0.01), "unharmed")
    KILL = Fault("kill", "", lambda make: make.kill_qemu(), "InfrastructureError", "on a fresh board")
    def test_holds(faults): assert faults.attempt(FREEZE).good
    def test_dies(faults, board):
        assert faults.attempt(KILL).good
        assert faults.seed == 5
    def test_breaks(faults): assert faults.attempt(dataclasses.replace(KILL, usable="at once")).good
    def test_fails(faults):
        faults.freeze(0.02)
        assert False
"""


@pytest.mark.parametrize(
    "workers", [(), pytest.param(("-p", "xdist", "-n", "2"), marks=pytest.mark.slow)], ids=["alone", "xdist"]
)
def test_findings_are_told_and_reported(pytester, monkeypatch, workers):
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)
    pytester.makeconftest(UNCHECKED + CONFTEST)
    pytester.makepyfile(TESTS)
    board = stub_board(pytester.path)
    options = ("--board", str(board), "--hil-fault-seed", "5", "--hil-no-snapshots", *workers)
    result = pytester.runpytest_subprocess("-p", "hil.plugin", "-p", "no:cacheprovider", *options, timeout=HANG)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*injected faults*",
            "freeze (seed 5): the machine was stopped for 0.02 s; *",
            "*= robustness =*",
            "fault * finding *",
            "qemu-killed * broken * on a fresh board *",
            "3 faults: 2 held, 1 broken and found, 0 not found or beyond repair",
            "report: *robustness.md*",
        ]
    )
    (report,) = (pytester.path / "reports").rglob("robustness.md")
    text = report.read_text()
    assert "- fault seed: 5" in text
    assert "test `test_findings_are_told_and_reported.py::test_breaks[stub]`" in text
    lines = (report.parent / "robustness.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["fault"] for line in lines) == ["freeze", "qemu-killed", "qemu-killed"]


def hil(*words: str) -> Any:
    before = children(os.getpid())
    result = CliRunner().invoke(main, ["fault", *words])
    until(lambda: set(children(os.getpid())) <= set(before))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_faults_of_a_board_are_listed():
    rows = json.loads(hil("list", "--json").stdout)
    assert {"name", "does", "needs"} == set(rows[0])
    assert "power-cut@login" in [row["name"] for row in rows]
    assert {row["needs"] for row in rows} == {"any board", "QEMU"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["inject"], "--all"),
        (["inject", "freeze", "--all"], "--all"),
        (["inject", "freez"], "did you mean 'freeze'?"),
        (["inject", "freeze", "--board", "nothing"], "the boards are: "),
    ],
)
def test_bad_use_of_the_command_is_told(words, told):
    result = hil(*words)
    assert result.exit_code == 2
    assert told in result.output


def test_what_was_found_is_told_also_where_the_board_does_not_come_up_again(tmp_path, monkeypatch, alive):
    def fail(make: Injector) -> Any:
        raise BootError("a flood", stage="start")

    monkeypatch.setattr(catalogue, "faults_for", lambda manifest: (FREEZE, replace(FREEZE, inject=fail), FREEZE))
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "0")
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    report = tmp_path / "report.md"
    words = ["inject", "--all", "--board", str(stub_board(tmp_path)), "--report"]
    result = hil(*words, str(report))
    assert result.exit_code == 1
    assert "1 faults: 1 held" in result.output
    assert report.read_text().count("### freeze") == 1
    result = hil(*words, str(tmp_path / "none" / "report.md"))
    assert result.exit_code == 2, "before anything boots"


@pytest.mark.parametrize(("chosen", "status"), [([FREEZE], 0), ([FREEZE, replace(KILL, usable=AT_ONCE)], 1)])
def test_the_command_injects_and_judges(tmp_path, monkeypatch, alive, chosen, status):
    monkeypatch.setattr(catalogue, "faults_for", lambda manifest: tuple(chosen))
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "0")
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    board = str(stub_board(tmp_path))
    report = tmp_path / "report.md"
    result = hil("inject", "--all", "--board", board, "--fault-seed", "3", "--report", str(report), "--json")
    assert result.exit_code == status, result.output
    facts = json.loads(result.output)
    assert [one["fault"] for one in facts] == ["freeze", "qemu-killed"][: len(chosen)]
    assert {one["seed"] for one in facts} == {3}
    assert report.read_text().startswith("# Robustness")
    shown = hil("inject", "freeze", "--board", board)
    assert shown.exit_code == 0
    assert "what the image did" in shown.output
    assert "1 faults: 1 held" in shown.output
