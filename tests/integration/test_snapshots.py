"""Snapshots of the reference image: nothing of the last test is left, whatever ended it, and nothing half made is used."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import HANG

from hil.board.board import Board
from hil.guest import CommandTimeout, Guest, provision
from hil.host.directories import cache_root
from hil.qemu import snapshot
from hil.qemu.snapshot_store import stored
from hil.wasm import Module, Runner
from hil.wasm.health_check import NOTHING, check_health
from hil.wasm.verdict import exited

pytestmark = [pytest.mark.board, pytest.mark.emulator, pytest.mark.destructive]  # a restored board for each test
ROOT = Path(__file__).parents[2]
HELLO = ROOT / "wasm_samples" / "hello.wasm"
HIL = [sys.executable, "-c", "from hil.cli import main; main()"]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--board", "qemu-reference"]
SEED = 20250612
SUITE = """
import pytest
from pathlib import Path

@pytest.mark.board
@pytest.mark.parametrize("n", range(4))
def test_own(runner, sample, measure, n):
    if n < 2:
        measure.executions(runner, sample("hello.wasm"), repeats=2 + n)
    assert runner.run(sample("exit.wasm"), str(n // 2)).good, "the last two exit with 1"
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of our own, with the images of the real one."""
    cache = tmp_path_factory.mktemp("cache")
    (cache / "hil").mkdir()
    for name in ("images", "lockstep", "probe"):
        (cache_root() / name).mkdir(exist_ok=True)
        (cache / "hil" / name).symlink_to(cache_root() / name)
    return cache


@pytest.fixture
def snapshots(own: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of the snapshots in `own`, for this process and those it starts."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(own))
    return own / "hil" / "snapshots"


def lines(guest: Guest, command: str) -> list[str]:
    return guest.run(command, check=True).lines


# a restored board


@pytest.mark.parametrize("turn", [1, 2])
def test_a_file_of_one_test_is_gone_in_the_next(board, guest, turn):
    assert board.restores >= 1
    assert lines(guest, "ls -A /tmp /root; echo end") == lines(guest, "ls -A /tmp /root | grep -v mine; echo end")
    guest.run(f"echo {turn} >/tmp/mine; echo {turn} >/root/mine", check=True)
    assert lines(guest, "cat /tmp/mine /root/mine") == [str(turn)] * 2


@pytest.mark.parametrize("turn", [1, 2])
def test_the_runner_counts_from_where_the_snapshot_was(runner, guest, sample, turn):
    typed = guest.board.origin.with_suffix(".tsv").read_text()
    assert "wasmedge_emit --hello" in typed, "it was not awaited before the snapshot: each restored board would do that"
    # the proof before the snapshot, and the one of this board
    assert [re.search(r"runs=(\d+)", one)[1] for one in lines(guest, "wasmedge_emit --hello")] == ["2"]
    assert runner.run(sample("hello.wasm")).verdict == exited(0)
    assert "runs=3" in lines(guest, "wasmedge_emit --hello")[0]


def panic(guest: Guest) -> None:
    guest.run("(sleep 0.1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
    guest.board.console.wait_for(b"Kernel panic", timeout=60)


def stuck(guest: Guest) -> None:
    with pytest.raises(CommandTimeout) as caught:
        guest.run("trap '' INT; while :; do :; done", timeout=0.5)
    assert not caught.value.recovered


def killed(guest: Guest) -> None:
    os.kill(guest.board.qemu.pid, signal.SIGKILL)


def stopped(guest: Guest) -> None:
    guest.board.qemu.monitor.execute("stop")


@pytest.mark.parametrize("harm", [panic, stuck, killed, stopped], ids=lambda harm: harm.__name__)
def test_whatever_happened_the_next_board_is_good(board, guest, runner, sample, harm):
    memory = board.report.transcript.with_name("memory")
    before = memory.stat()
    harm(guest)
    boots = board.boots
    begun = time.monotonic()
    report = board.fresh()
    assert (board.boots, board.up) == (boots, True)
    assert report.restored < time.monotonic() - begun
    now = memory.stat()
    assert (now.st_mtime_ns, now.st_blocks) == (before.st_mtime_ns, before.st_blocks), "nobody writes to it"
    assert runner.run(sample("hello.wasm")).lines == ["hello, sel4", "1+2-3*4 = -9"]


def test_the_guest_s_clock_goes_on_from_the_snapshot_and_its_rtc_tells_the_time(board, guest):
    told, longest = [], 0.0
    for _ in range(2):
        restored = time.monotonic()
        board.fresh()
        before = time.time()
        system, rtc = map(int, lines(guest, "date +%s; cat /sys/class/rtc/rtc0/since_epoch"))
        assert before - 2 <= rtc <= time.time() + 2
        told.append(system)
        longest = max(longest, time.monotonic() - restored)
    assert abs(told[0] - told[1]) <= longest + 1, "two boards of one snapshot begin at the same time"
    assert board.report.restored is not None


# a layer of a snapshot


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Iterator[Module]:
    """A new module that counts as large: it does nothing, and has a custom section that cannot be compressed."""
    body = b"\3pad" + os.urandom(2048)
    monkeypatch.setattr(provision, "LEAST", len(body))
    monkeypatch.setattr(provision, "LEAST_VIRTUAL", len(body))
    module = Module.raw("large.wasm", NOTHING + b"\0" + bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body)
    yield module
    for directory, _ in layers_with(module):
        shutil.rmtree(directory)


def layers_with(module: Module) -> list[tuple[Path, Any]]:
    """Return the directory and the contents of each layer that holds `module`."""
    found = [(directory, facts.get("contents")) for directory, _, facts in stored()]
    return [(directory, contents) for directory, contents in found if module.sha256 in str(contents)]


def test_a_large_module_is_sent_once(guest, runner, large, monkeypatch):
    replaced = guest.board.console
    assert runner.run(large).good
    assert guest.board.console is not replaced
    guest.board.fresh()
    monkeypatch.setattr(Guest, "put", lambda *of: pytest.fail("it is sent again"))
    assert runner.run(large).good
    assert guest.board.console.typed < len(large.data)
    path = runner.place(large)
    assert lines(guest, f"sha256sum {path}")[0].startswith(large.sha256)
    assert [contents for _, contents in layers_with(large)] == [{path: large.sha256}]


def test_in_virtual_time_a_run_repeats_whether_the_layer_was_there_or_not(large, tmp_path):
    with Board("qemu-reference", transcripts=tmp_path, seed=1) as board:
        guest = Guest(board)
        board.health_check = lambda _: check_health(guest)
        seen = []
        for made in (True, False):
            board.fresh()
            assert made is not bool(layers_with(large))
            restores = board.restores
            assert Runner(guest).run(large).good
            assert board.virtual.exact, board.virtual
            assert board.restores > restores + made
            lockstep = board.console.lockstep
            seen.append(
                (lockstep.history, lockstep.now_ns, lines(guest, "date +%s.%N; head -c 8 /dev/urandom | md5sum"))
            )
    assert seen[0] == seen[1]


# what others do to it


def whole(place: Path) -> bool:
    """Whether there is a snapshot, which must be complete then; nothing but what a save may leave is beside it."""
    for directory in place.glob("*/"):
        assert {path.name for path in directory.iterdir()} <= {"lock", "whole", "staging"}
        made = directory / "whole"
        if made.exists():
            digests = snapshot.read_facts(made)["digests"]
            assert {name: snapshot._digest(made / name) for name in snapshot.FILES} == digests
            return True
    return False


def processes_with(mark: str) -> list[str]:
    """The commands of all processes whose environment holds `mark`: everything that a command started."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and mark.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ")[:80].decode())
    return found


def until(condition, limit: float = HANG) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"did not happen in {limit:g} s"
        time.sleep(0.01)


def good_restore(tmp_path: Path) -> None:
    with Board("qemu-reference", transcripts=tmp_path / "transcripts") as board:
        guest = Guest(board)
        board.health_check = lambda _: check_health(guest)
        board.fresh()
        assert (board.boots, board.restores, board.no_snapshot_reason) == (0, 1, "")
        assert Runner(guest).run(Module.load(HELLO)).lines == ["hello, sel4", "1+2-3*4 = -9"]


@pytest.mark.slow
def test_killed_at_any_moment_it_leaves_a_whole_snapshot_or_none(snapshots, tmp_path):
    """Four times while booting, twice while saving, six times while restoring or testing."""
    chance = random.Random(SEED)
    mark = f"hil-mark-{os.getpid()}-{tmp_path.name}"
    test, temporary = tmp_path / "test_own.py", tmp_path / "tmp"
    test.write_text("import pytest\n@pytest.mark.parametrize('n', range(9))\ndef test_x(guest, n): guest.run('true')\n")
    temporary.mkdir()
    environment = {**os.environ, "HIL_MARK": mark, "TMPDIR": str(temporary)}
    command = [*PYTEST, str(test), "--rootdir", str(tmp_path), "-p", "no:hypothesispytest"]

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def kill(child: subprocess.Popen[bytes]) -> bool:
        child.kill()
        assert child.wait(HANG) == -signal.SIGKILL, "it was to be killed at its work"
        until(lambda: not processes_with(mark))
        assert [path for path in temporary.iterdir() if not path.name.startswith("pytest-of-")] == []
        return whole(snapshots)

    for phase in ["boot"] * 4 + ["save"] * 2:
        child = begin()
        if phase == "save":
            until(lambda: list(snapshots.glob("*/staging/made")))
        time.sleep(chance.uniform(0.0, 3.0 if phase == "boot" else 0.6))
        if kill(child):
            good_restore(tmp_path)
            for made in snapshots.glob("*/whole"):
                shutil.rmtree(made)
    done = subprocess.run(command, env=environment, timeout=HANG, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert whole(snapshots)
    assert list(snapshots.glob("*/staging")) == [], "the next save cleans up"
    for _ in range(6):
        child = begin()
        time.sleep(chance.uniform(0.8, 2.5))
        assert kill(child)
        good_restore(tmp_path)


@pytest.mark.slow
def test_two_runs_at_once_make_one_snapshot_and_the_figures_of_one(snapshots, tmp_path):
    (tmp_path / "test_own.py").write_text(SUITE)
    told, digests = [], []
    before = len(stored())
    for workers in (["-n", "2"], []):
        made = tmp_path / f"results{len(told)}.jsonl"
        options = [
            str(tmp_path),
            "--rootdir",
            str(tmp_path),
            "--clock",
            "virtual",
            "--hil-results",
            str(made),
            *workers,
        ]
        done = subprocess.run([*PYTEST, *options, "-rA"], timeout=HANG, capture_output=True, text=True)
        assert done.returncode == 1, done.stdout
        told.append(sorted(re.findall(r"^(PASSED|FAILED) \S+::(\S+)", done.stdout, re.M)))
        digest = subprocess.run([*HIL, "results", "digest", str(made)], capture_output=True, text=True)
        digests.append(digest.stdout.split()[0])
        assert "not exact" not in done.stdout
        rates = [json.loads(path.read_text()) for path in tmp_path.rglob("rates.json")]
        assert sum(one["boots"].get("boot", {"tries": 0})["tries"] for one in rates) == 1, rates
    assert len(stored()) == before + 1
    outcomes = ["PASSED", "PASSED", "FAILED", "FAILED"]
    assert [name for name, _ in sorted(told[0], key=lambda one: one[1])] == outcomes
    assert told[0] == told[1]
    assert digests[0] == digests[1]
