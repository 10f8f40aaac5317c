"""Virtual time: a real QEMU in lock step, and the proof that boots repeat."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest
from limits import HANG
from support import IDLE_STUB, STUB, UNCHECKED, Wire, arrived, make_wire, stub_board

from hil.board.board import Board
from hil.console import LineTimeout
from hil.console import lockstep as host_end
from hil.console.lockstep import HOLD, MESSAGE, PAUSE, Lockstep
from hil.errors import ConfigurationError, InfrastructureError
from hil.guest import Guest
from hil.measure import results
from hil.qemu import lockstep
from hil.qemu.determinism import DeterminismCheck, typing_digest
from hil.qemu.lockstep import Refusal, Virtual


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    return stub_board(tmp_path)


def board(path: Path, seed: int = 1) -> Board:
    return Board(str(path), transcripts=path.parent / "transcripts", seed=seed)


def conversation(one: Board) -> list[int]:
    """Type three lines, each after the prompt; the virtual ns of each answer."""
    stamps = []
    for text in ("a\n", "bb\n", "ccc\n"):
        one.console.write(text.encode())
        stamps.append(one.console.stamp(one.console.wait_for(b"# ", timeout=20).start))
    return stamps


def test_a_run_in_virtual_time_repeats_to_the_bit(stub: Path) -> None:
    runs = []
    for _ in range(2):
        with board(stub) as one:
            one.boot()
            runs.append((conversation(one), one.console.lockstep.history))
            assert one.virtual.exact
            assert one.qemu.monitor.execute("query-status")["running"], "QEMU answers while virtual time stands"
    assert runs[0] == runs[1]
    stamps, _ = runs[0]
    assert sorted(set(stamps)) == stamps


def test_the_first_boot_of_a_kind_is_made_twice_and_the_next_ones_are_compared(stub: Path) -> None:
    proofs = []
    for seed in (1, 1, 2, 2):
        with board(stub, seed) as one:
            one.boot()
            proofs.append(str(one.virtual))
    assert proofs[0] == "virtual time, seed 1, exact: this boot was made twice, the same to the bit"
    assert proofs[1] == "virtual time, seed 1, exact: this boot is the same to the bit as 2 before it"
    assert "the first of this one" in proofs[2]
    assert proofs[3].endswith("as 1 before it")


def timed_out(one: Board, limit: float, during: Callable[[], None] = lambda: None) -> tuple[list[int], str]:
    """Type a line, wait `limit` seconds of virtual time for what never comes, type another."""
    stamps = []
    for text in (b"a\n", b"bb\n"):
        one.console.write(text)
        stamps.append(one.console.stamp(one.console.wait_for(b"# ", timeout=20).start))
        during()
        begun = one.console.now
        with pytest.raises(LineTimeout, match="'never'"):
            one.console.wait_for(b"never", timeout=limit)
        assert one.console.now == pytest.approx(begun + limit, abs=1e-9)
        with pytest.raises(pexpect.TIMEOUT):
            one.console.expect("never", timeout=limit)
        assert one.console.now == pytest.approx(begun + 2 * limit, abs=2e-9)
    assert one.virtual.exact
    return stamps, one.console.lockstep.history


@pytest.mark.parametrize(("program", "limit"), [(STUB, 0.001), (IDLE_STUB, 60.0)], ids=["busy guest", "idle guest"])
def test_a_wait_that_times_out_does_so_at_one_virtual_instant_however_slow_the_host_is(
    tmp_path: Path, program: bytes, limit: float
) -> None:
    stub = stub_board(tmp_path, program)
    runs = []
    for slow in (False, True):
        with board(stub) as one:
            one.boot()
            pid, timers = one.qemu.pid, []

            def stumble(pid: int = pid, timers: list[threading.Timer] = timers) -> None:
                os.kill(pid, signal.SIGSTOP)
                timers.append(threading.Timer(0.3, os.kill, (pid, signal.SIGCONT)))
                timers[-1].start()

            runs.append(timed_out(one, limit, stumble) if slow else timed_out(one, limit))
            for timer in timers:
                timer.join()
    assert runs[0] == runs[1]


def test_a_host_that_is_too_slow_is_to_blame_and_nothing_is_typed(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with board(stub) as one:
        one.boot()
        monkeypatch.setattr(host_end, "HOST_LIMIT", 0.5)
        os.kill(one.qemu.pid, signal.SIGSTOP)
        monkeypatch.setattr(host_end, "HOST_FACTOR", 0.0)
        try:
            with pytest.raises(InfrastructureError, match=r"\d+ s\b"):
                Guest(one).run("anything")
            said = one.console.transcript.index_path.read_text()
            assert "u0003" not in said.partition("anything")[2], "no interrupt is typed"
            assert not one.up
        finally:
            os.kill(one.qemu.pid, signal.SIGCONT)


def test_a_machine_killed_in_lock_step_ends_the_line(stub: Path) -> None:
    with board(stub) as one:
        one.boot()
        one.qemu.kill()
        with pytest.raises(Exception, match="line"):
            one.console.wait_for(b"# ", timeout=20)


def test_virtual_time_is_for_emulated_boards(tmp_path: Path) -> None:
    path = tmp_path / "real.yaml"
    path.write_text(
        "imports: [hil.labgrid]\nimages: {main: stub.toml}\ntargets:\n  main:\n"
        "    resources:\n      RawSerialPort: {port: /dev/null}\n      NetworkPowerPort: {model: netio, host: x, index: 1}\n"
        "    drivers:\n      NetworkPowerDriver: {}\n      HilSerialDriver: {}\n      HilStrategy: {}\n"
    )
    stub_board(tmp_path)
    with pytest.raises(ConfigurationError, match="board real .*virtual time"):
        Board(str(path), seed=1)


def test_a_tapped_line_is_refused(stub: Path) -> None:
    with board(stub) as one:
        one.line.tap = lambda port: port
        with pytest.raises(ConfigurationError, match="lock step"):
            one.boot()


def test_no_compiler_is_said_with_the_remedy(stub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockstep, "COMPILER", "no-such-compiler")
    with board(stub) as one, pytest.raises(ConfigurationError, match="gcc"):
        one.boot()


def test_an_emulator_without_the_functions_is_not_called_exact(stub: Path, tmp_path: Path) -> None:
    """Any program that is not QEMU exports nothing; the machine runs on, without lock step."""
    reason = "this QEMU does not export qemu_clock_get_ns"
    assert lockstep.refusal(shutil.which("true") or "", lockstep.library()) == Refusal(reason, reason, reason)
    with board(stub) as one:
        emulator = Path(shutil.which("qemu-system-aarch64") or "")
        assert lockstep.refusal(str(emulator), lockstep.library()) == Refusal()
        one.power.virtual = Virtual(1)
        patched = pytest.MonkeyPatch()
        with patched.context() as patch:
            patch.setattr(lockstep, "refusal", lambda *_: Refusal("this QEMU does not export x"))
            one.boot()
        assert one.console.lockstep is None
        assert str(one.virtual) == "virtual time, seed 1, not exact: this QEMU does not export x"


def test_the_determinism_check_names_the_first_difference() -> None:
    check = DeterminismCheck(["image", "QEMU"])
    lost = check.compare(Virtual(1), "1\tone\n2\ttwo\n", lambda: "1\tone\n3\ttwo\n")
    assert re.search(r"line 2 .*'2\\ttwo'.*'3\\ttwo'", lost.lost)
    assert not lost.exact
    proven = check.compare(Virtual(1), "same\n", lambda: "same\n")
    assert proven.exact, "a boot that was not proven is not what the next ones are compared with"
    later = check.compare(Virtual(1), "same\nand more\n", lambda: "")
    assert re.search("1 .*2", later.lost)
    assert check.compare(Virtual(2), "another seed\n", lambda: "not asked").exact


def test_a_damaged_record_of_boots_is_made_anew(tmp_path: Path) -> None:
    check = DeterminismCheck(["image"])
    check.compare(Virtual(1), "same\n", lambda: "same\n")
    for file in (tmp_path / "cache").rglob("1.json"):
        file.write_text("{")
    assert check.compare(Virtual(1), "same\n", lambda: "other\n").exact


@pytest.mark.parametrize("name", ["a cache", "a:cache", "ü;$x"])
def test_the_library_may_be_at_any_path(tmp_path: Path, stub: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
    assert lockstep.refusal("qemu-system-aarch64", lockstep.library()) == Refusal()
    with board(stub) as one:
        one.boot()
        assert one.virtual.exact


@pytest.mark.parametrize("seed", [-1, 1 << 64])
def test_a_seed_that_qemu_does_not_know_is_refused(stub: Path, seed: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"seed {seed}\b"):
        board(stub, seed)


def test_other_prompts_are_another_kind_of_boot(stub: Path) -> None:
    """A prompt is where the machine waits, so its boots are others, and no sign of lost determinism."""
    manifest = stub.with_suffix(".toml")
    for text in ("", 'prompt = "$ "\n'):
        manifest.write_text(manifest.read_text() + text)
        with board(stub) as one:
            one.boot()
            assert "made twice" in str(one.virtual)


@pytest.fixture
def stepped(tmp_path: Path) -> Iterator[tuple[Wire, socket.socket]]:
    """A wire in lock step, and the machine's end of its control."""
    (tmp_path / "stamps").touch()
    ours, theirs = socket.socketpair()
    with theirs:
        wire = make_wire(tmp_path, lockstep=Lockstep(ours, tmp_path / "stamps"))
        wire.far.sendall(b"a line\n")
        arrived(wire.console, 7)
        theirs.sendall(PAUSE.pack(7, 1, 0))
        yield wire, theirs
        wire.close()


def test_a_wait_of_no_time_leaves_the_machine_where_it_is(stepped: tuple[Wire, socket.socket]) -> None:
    wire, machine = stepped
    with pytest.raises(LineTimeout, match="'never'"):
        wire.console.wait_for(b"never", timeout=0)
    wire.console.write(b"x\n", timeout=2)
    assert machine.recv(64) == MESSAGE.pack(2_000_000_001, 2) + b"x\n"
    assert wire.console.lockstep is not None
    assert not wire.console.lockstep.lost


def test_what_is_typed_after_a_reset_is_told(stepped: tuple[Wire, socket.socket]) -> None:
    wire, _ = stepped
    assert wire.console.lockstep is not None
    wire.console.lockstep.expire()
    wire.console.write(b"x\n")
    assert "1 times" in wire.console.lockstep.lost


def test_a_look_at_a_machine_that_has_paused_costs_nothing(stepped: tuple[Wire, socket.socket]) -> None:
    wire, machine = stepped
    assert wire.console.read(0) == b"a line\n"
    assert wire.console.read(0) == b""
    wire.console.write(b"x\n")
    assert wire.console.lockstep is not None
    assert not wire.console.lockstep.lost
    assert machine.recv(64)[8:] == b"\2\0\0\0x\n", "typed in one message, and not told to go on before"


def test_the_time_after_output_is_that_of_the_pause_behind_it_however_late_the_host_hears_of_that(
    stepped: tuple[Wire, socket.socket],
) -> None:
    wire, machine = stepped
    wire.console.read(0)
    wire.console.write(b"x\n")
    assert wire.console.now == 1e-9
    wire.far.sendall(b"done\n")
    assert wire.console.read(2) == b"done\n"
    later = threading.Timer(0.2, machine.sendall, [PAUSE.pack(12, 3_000, 0)])
    later.start()
    assert wire.console.now == 3e-6
    later.join()


def test_a_hold_waits_for_the_word_of_the_pause_that_its_byte_has_told_of(tmp_path: Path) -> None:
    """Else the machine would stand in that pause, and its monitor would wait for it to stop."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        later = threading.Timer(0.2, theirs.sendall, [PAUSE.pack(7, 1, 0)])
        later.start()
        Lockstep(ours, tmp_path / "stamps").hold()
        later.join()
        assert theirs.recv(64) == HOLD


def test_another_version_of_what_types_makes_snapshots_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "guest").mkdir()
    shell = tmp_path / "guest" / "shell.py"
    told = set()
    for text in ("PS1='# '", "PS1='$ '"):
        shell.write_text(text)
        told.add(typing_digest(tmp_path))
    assert len(told) == 2
    assert typing_digest() not in told


SWEEP = """
    import os
    from hil import Clock, Series

    def take(board, measure):
        told = {"board": board.name, "seed": str(board.virtual.seed), "by": os.environ["PYTEST_XDIST_WORKER"]}
        measure.derived(Series("q", "s", [board.virtual.seed], Clock("virtual time", 1e-9), provenance=told))

    def test_one(board, measure): take(board, measure)
    def test_two(board, measure): take(board, measure)
    def test_three(board, measure): take(board, measure)
"""


def test_a_seed_stays_with_one_worker_and_all_are_judged_together(stub: Path) -> None:
    directory = stub.parent
    (directory / "test_sweep.py").write_text(textwrap.dedent(SWEEP))
    (directory / "conftest.py").write_text(UNCHECKED)
    bound = '[[bound]]\nquantity="q"\nsubject="s"\nfigure="max"\nlimit="2 s"\nreason="r"\n'
    (directory / "stub.bounds.toml").write_text(bound)
    command = [sys.executable, "-m", "pytest", "-p", "hil.plugin", "-p", "xdist", "-p", "no:cacheprovider", "-q"]
    options = ["--board", "stub.yaml", "--clock", "virtual", "--hil-seeds", "3", "-n", "2", "--hil-results", "r.jsonl"]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # labgrid's takes a second
    done = subprocess.run(
        [*command, *options], cwd=directory, env=environment, capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "9 passed" in done.stdout
    assert "all seeds: q of s, n=9" in done.stdout, "each sample once"
    assert "FAIL: max is 3 s, limit 2 s" in done.stdout
    by = {(one.provenance["seed"], one.provenance["by"]) for one in results.read(directory / "r.jsonl")}
    assert sorted(seed for seed, _ in by) == ["1", "2", "3"]
    assert {worker for _, worker in by} == {"gw0", "gw1"}
