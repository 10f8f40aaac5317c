"""Snapshots: kept whole or not at all, found again, restored by a real QEMU, and never trusted without a health check."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# a run within this process forgets what it imported itself, but labgrid remembers our drivers, and numpy is there once
import matplotlib.figure  # noqa: F401
import numpy  # noqa: F401
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from limits import HANG
from support import QUICK, children, held, no_more_than, stub_board, until

import hil.board.board
import hil.labgrid
import hil.measure.measure
import hil.measure.results
import hil.report.evidence
import hil.wasm  # noqa: F401
from hil.board.board import Board
from hil.cli import main
from hil.console import Transcript
from hil.errors import ConfigurationError, HilError, InfrastructureError, RunnerError
from hil.host.digests import BLOCK
from hil.host.disk import MIB
from hil.qemu import snapshot, snapshot_store
from hil.qemu.arguments import file_stamps, memory_size
from hil.qemu.monitor import Monitor
from hil.qemu.process import StateRefused
from hil.qemu.snapshot_store import SnapshotStore, stored, trim

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HIL_SNAPSHOTS_MIB", raising=False)
    return tmp_path / "cache" / "hil" / "snapshots"


def ram(data: dict[int, bytes], size: int = MIB) -> int:
    """An open memory with `data` by offset, holes between."""
    memory = os.memfd_create("test")
    os.ftruncate(memory, size)
    for at, part in data.items():
        os.pwrite(memory, part, at)
    return memory


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Transcript]:
    made = Transcript.create(tmp_path / "transcripts", "boot")
    made.path.write_bytes(b"booted\n")
    yield made
    made.close()


@pytest.fixture
def keep(console: Transcript):  # type: ignore[no-untyped-def]
    """Keep a snapshot of 2 MiB of data under `key`; its age in seconds before now."""

    def act(key: str, state: bytes = b"state", age: float = 0.0) -> SnapshotStore:
        store, memory = SnapshotStore([key]), ram({0: os.urandom(2 * MIB)}, 3 * MIB)
        with store.alone():
            store.save(memory, state, console, {"board": key}).close()
        os.close(memory)
        now = store.directory.stat().st_mtime
        os.utime(store.directory, (now - age, now - age))
        return store

    return act


def flip(file: Path, at: int) -> None:
    """Change one byte of a file."""
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte[0] ^ 1]))


def sign(whole: Path) -> None:
    """Give a snapshot the digests of its files as they are now."""
    facts = snapshot.read_facts(whole)
    digests = {name: snapshot._digest(whole / name) for name in snapshot.FILES}
    (whole / "facts.json").write_bytes(snapshot._signed({**facts, "digests": digests}))


def found(store: SnapshotStore) -> bool:
    one = store.find()
    if one is not None:
        one.close()
    return one is not None


# the store


def test_what_is_kept_is_found_again_by_all_that_its_machine_hangs_on(console: Transcript, cache: Path) -> None:
    store = SnapshotStore(["image", "qemu 7.2"])
    assert store.find() is None
    memory = ram({5: b"hello", MIB - 3: b"end"})
    before = held()
    with store.alone():
        kept = store.save(memory, b"state", console, {"board": "b"})
    assert (kept.size, kept.state, kept.facts["board"]) == (MIB, b"state", "b")
    assert kept.console.read_bytes() == b"booted\n"
    assert kept.directory == store.directory / "whole"
    assert os.pread(kept.memory, 5, 5) == b"hello"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(kept.memory, b"x")  # nobody changes it
    assert not os.get_inheritable(kept.memory)
    kept.close()
    assert no_more_than(before)
    assert found(SnapshotStore(["image", "qemu 7.2"]))
    for other in (["image", "qemu 8"], ["image"], ["imageqemu 7.2"], ["image", "qemu 7.2", ""], ["qemu 7.2", "image"]):
        assert SnapshotStore(other).find() is None
    assert sorted(path.name for path in store.directory.iterdir()) == ["lock", "whole"]
    os.close(memory)


def test_another_format_is_another_key(keep, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    keep("a")
    monkeypatch.setattr(snapshot_store, "FORMAT", "next")
    assert SnapshotStore(["a"]).find() is None


parts = st.dictionaries(
    st.integers(0, 16 * BLOCK - 1),
    st.one_of(st.binary(min_size=1, max_size=40), st.just(bytes(2 * BLOCK)), st.just(b"\1" + bytes(BLOCK))),
    max_size=6,
)


@given(parts, st.integers(0, 16 * BLOCK + 5))
def test_a_copy_is_the_same_and_takes_no_more_than_its_data(tmp_path_factory, data, size) -> None:  # type: ignore[no-untyped-def]
    target = tmp_path_factory.mktemp("copy") / "memory"
    memory = ram(data, size)
    size = os.fstat(memory).st_size
    whole = os.pread(memory, size, 0) if size else b""
    snapshot._copy(memory, target)
    os.close(memory)
    assert target.read_bytes() == whole
    blocks = [whole[at : at + BLOCK] for at in range(0, size, BLOCK)]
    pages = sum(any(block) for block in blocks) * BLOCK
    assert target.stat().st_blocks * 512 <= 2 * pages + BLOCK  # data of a page may straddle two blocks
    shutil.rmtree(target.parent)


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: os.truncate(whole / "memory", MIB),
        lambda whole: (whole / "memory").unlink(),
        lambda whole: (whole / "state").unlink(),
        lambda whole: (whole / "state").write_bytes(b"stat"),
        lambda whole: (whole / "state").write_bytes(b"statf"),
        lambda whole: (whole / "facts.json").unlink(),
        lambda whole: (whole / "facts.json").write_text("{"),
        lambda whole: (whole / "facts.json").write_text("[]"),
        lambda whole: (whole / "facts.json").write_text("{}"),
        lambda whole: (whole / "facts.json").write_bytes(b"\xff"),
        lambda whole: (whole / "facts.json").write_text((whole / "facts.json").read_text().replace('"a"', '"b"')),
        lambda whole: flip(whole / "memory", 2 * MIB - 1),
        lambda whole: flip(whole / "memory", 2 * MIB + 5),  # in a hole
        lambda whole: flip(whole / "boot.raw", 0),
        lambda whole: (whole / "boot.tsv").unlink(),
    ],
    ids=[
        *("cut", "no memory", "no state", "cut state", "other state", "no facts", "half", "list", "empty", "binary"),
        *("other facts", "a byte", "a byte in a hole", "console", "no index"),
    ],
)
def test_what_is_damaged_is_not_found_and_can_be_made_anew(keep, damage) -> None:  # type: ignore[no-untyped-def]
    store = keep("a")
    damage(store.directory / "whole")
    before = held()
    with pytest.warns(UserWarning, match=str(store.directory)):
        assert store.find() is None
    assert no_more_than(before), "nothing stays open"
    assert stored() == [], "what is proven bad is removed"
    assert store.find() is None
    keep("a")
    assert found(store)
    assert sorted(path.name for path in store.directory.iterdir()) == ["lock", "whole"]


def test_an_altered_memory_is_noticed_by_who_has_it_open(keep) -> None:  # type: ignore[no-untyped-def]
    """Whatever its time stamps say: nobody sets the one of the change."""
    store = keep("a")
    ours = store.find()
    memory = store.directory / "whole" / "memory"
    assert ours.damage() == ""
    times = memory.stat()
    flip(memory, 4711)
    os.utime(memory, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert "memory" in ours.damage()
    ours.close()


def test_a_snapshot_that_cannot_be_read_is_kept(keep, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    store = keep("a")

    def broken(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", broken)
        with pytest.raises(InfrastructureError, match="memory"):
            store.find()
    assert found(store)


def test_who_has_it_open_keeps_it(keep) -> None:  # type: ignore[no-untyped-def]
    store = keep("a")
    ours = store.find()
    before = os.pread(ours.memory, 3 * MIB, 0)
    store.discard()
    assert store.find() is None
    assert list(store.directory.glob("old-*")) == []
    store.discard()  # harmless
    keep("a")
    assert os.pread(ours.memory, 3 * MIB, 0) == before
    ours.close()


def test_a_removal_that_was_killed_does_not_hinder_the_next(keep) -> None:  # type: ignore[no-untyped-def]
    store = keep("a")
    left = store.directory / f"old-{os.getpid()}"  # its process had our number
    left.mkdir()
    (left / "memory").write_bytes(b"x")
    store.discard()
    assert store.find() is None
    assert not left.exists()


def test_the_oldest_go_first_and_the_spared_stays(keep, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "5")
    old, middle = keep("old", age=20), keep("middle", age=10)
    assert [facts["board"] for _, _, facts in stored()] == ["middle", "old"]
    assert found(old)  # and is now the one used last
    assert [facts["board"] for _, _, facts in stored()] == ["old", "middle"]
    new = keep("new")  # 3 times 2 MiB are too many
    assert (found(new), found(old), found(middle)) == (True, True, False)
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "1")
    assert found(keep("huge")), "the one that was just made is spared"
    assert (found(new), found(old)) == (False, False)
    trim(most=0)
    assert stored() == []


def test_a_limit_that_is_none_is_the_user_s_to_correct(monkeypatch: pytest.MonkeyPatch) -> None:
    assert snapshot_store.size_limit() == snapshot_store.LIMIT_MIB * MIB
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "12")
    assert snapshot_store.size_limit() == 12 * MIB
    for bad in ("-1", "1G", "1.5", " "):
        monkeypatch.setenv("HIL_SNAPSHOTS_MIB", bad)
        with pytest.raises(ConfigurationError, match="HIL_SNAPSHOTS_MIB"):
            snapshot_store.size_limit()


HOLD = (
    "import fcntl, sys; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)


def test_what_the_killed_left_goes_and_what_the_living_do_stays(keep) -> None:  # type: ignore[no-untyped-def]
    dead, living = keep("dead").directory, keep("living").directory
    for directory in (dead, living):
        for name in ("staging/made", "old-1"):
            (directory / name).mkdir(parents=True)
            (directory / name / "memory").write_bytes(b"x")
    command = [sys.executable, "-c", HOLD, str(living / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        trim()
        assert sorted(path.name for path in dead.iterdir()) == ["lock", "whole"]
        assert sorted(path.name for path in living.iterdir()) == ["lock", "old-1", "staging", "whole"]
        with (living / "lock").open("a") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        other.kill()
        other.stdin.close()
    keep("third")  # trims, too
    assert sorted(path.name for path in living.iterdir()) == ["lock", "whole"]


DIE = """
import os, signal, sys
from pathlib import Path
from hil.qemu.snapshot_store import SnapshotStore
from hil.console import Transcript
memory, left, real = os.memfd_create("x"), int(sys.argv[1]), os.pwrite
os.write(memory, os.urandom(1 << 20))
console = Transcript.create(Path(sys.argv[2]), "boot")

def pwrite(*of):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*of)

os.pwrite = pwrite
with SnapshotStore(["a"]).alone():
    SnapshotStore(["a"]).save(memory, b"state", console, {})
"""


def test_a_killed_save_leaves_no_snapshot_and_the_next_one_cleans_up(keep, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = subprocess.run([sys.executable, "-c", DIE, "5", str(tmp_path / "t")], timeout=QUICK)
    assert done.returncode == -signal.SIGKILL
    store = SnapshotStore(["a"])
    assert store.find() is None
    assert sorted(path.name for path in store.directory.iterdir()) == ["lock", "staging"]
    keep("a")
    assert found(store)
    assert sorted(path.name for path in store.directory.iterdir()) == ["lock", "whole"]


def full(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["pwrite", "fsync", "rename"])
def test_a_disk_that_becomes_full_leaves_nothing(
    console: Transcript, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    store, memory = SnapshotStore(["a"]), ram({0: b"x", BLOCK * 3: b"y"})
    before = held()
    monkeypatch.setattr(*((Path, call, full) if call == "rename" else (os, call, full)))
    with pytest.raises(InfrastructureError, match="full"), store.alone():
        store.save(memory, b"state", console, {})
    assert no_more_than(before)
    assert [path.name for path in store.directory.iterdir()] == ["lock"]
    os.close(memory)


def test_a_disk_that_is_full_is_seen_before(console: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    store, memory = SnapshotStore(["a"]), ram({0: os.urandom(MIB)})
    usage = shutil._ntuple_diskusage(1, 1, MIB - 1)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with store.alone(), pytest.raises(InfrastructureError, match="0 MiB .*1 MiB") as caught:
        store.save(memory, b"state", console, {})
    assert "XDG_CACHE_HOME" in str(caught.value)
    assert [path.name for path in store.directory.iterdir()] == ["lock"]
    os.close(memory)


@pytest.mark.parametrize(
    ("words", "size"),
    [
        (["-m", "64"], 64 * MIB),
        (["-m", "64M"], 64 * MIB),
        (["-m", "65536k"], 64 * MIB),
        (["-m", "2G"], 2048 * MIB),
        (["-m", "67108864B"], 64 * MIB),
        (["-m", "65537K"], 65544 << 10),  # of 8 KiB
        (["-m", "1T"], 1 << 40),
        (["-m", "size=64,slots=2,maxmem=1G"], 64 * MIB),
        (["-m", "64,slots=2"], 64 * MIB),
        (["-m", "64", "-smp", "2", "-m", "128"], 128 * MIB),
        (["-smp", "2"], None),
        (["-m"], None),
        (["-m", "maxmem=1G"], None),
        (["-m", "1.5G"], None),
        (["-m", "2GB"], None),
        (["-m", "64X"], None),
        (["-m", "64", "-machine", "virt,memory-backend=ram"], None),
        (["-m", "64", "-object", "memory-backend-ram,id=ram,size=64M"], None),
        (["-m", "64", "-numa", "node,mem=32M"], None),
        (["-m", "64", "-mem-path", "/dev/hugepages"], None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_memory_is_as_large_as_qemu_s_option_says(words: list[str], size: int | None) -> None:
    assert memory_size(words) == size


@pytest.mark.parametrize("size", ["64", "65536k", "67108864B", "65537K"])
def test_qemu_reads_it_the_same(tmp_path: Path, size: str) -> None:
    from hil.qemu.process import Qemu

    machine = ["qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a53", "-m", size, "-S"]
    qemu = Qemu(machine, log=tmp_path / "log", oldest="7.2")
    try:
        told = qemu.monitor.execute("query-memory-size-summary")["base-memory"]
    finally:
        qemu.abandon()
    assert memory_size(machine) == told


# a board


@pytest.fixture
def stub(tmp_path: Path) -> str:
    """A board whose machine can be saved."""
    return str(savable(stub_board(tmp_path)))


def savable(board: Path) -> Path:
    manifest = board.with_name("stub.toml")
    manifest.write_text(manifest.read_text().replace('"-kernel"', '"-m", "64", "-kernel"'))
    return board


def answers(board: Board) -> None:
    """The stub's health check: it answers a line end with its prompt."""
    board.console.write(b"\n")
    board.console.wait_for(b"# ", timeout=20)


@pytest.fixture
def opened(stub: str):  # type: ignore[no-untyped-def]
    """Open the board; at the end it leaves nothing behind."""
    before, boards = held(), []

    def act(path: str = stub, **options: Any) -> Board:
        options = {"health_check": answers, "transcripts": Path(path).parent / "transcripts", **options}
        boards.append(Board(path, **options))
        return boards[-1]

    yield act
    for one in boards:
        one.close()
    until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def test_a_board_is_booted_once_and_then_restored(opened) -> None:  # type: ignore[no-untyped-def]
    one = opened()
    report = one.fresh()
    assert (one.boots, one.restores, one.no_snapshot_reason, one.up) == (1, 1, "", True)
    assert [stage.name for stage in report.stages] == ["start", "login", "shell"]
    assert 0 < report.restored < 5
    assert report.transcript.parent.name == "whole"
    assert b"stub starts" in report.transcript.read_bytes(), "the boot's console is kept with it"
    pid = one.qemu.pid
    mapped = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if line.endswith("/whole/memory")]
    assert [line.split()[1] for line in mapped] == ["rw-p"], "a private copy"
    for _ in range(3):
        answers(one)
    assert one.fresh().stages == report.stages
    assert (one.boots, one.restores, one.qemu.pid != pid) == (1, 2, True)
    assert one.console.position == len("root\r\n# "), "the health check, and nothing of the machine before it"
    one.close()
    other = opened()
    other.fresh()
    assert (other.boots, other.restores) == (0, 1)


@pytest.mark.parametrize("change", ["manifest", "board"])
def test_another_machine_has_another_snapshot(opened, stub: str, change: str) -> None:  # type: ignore[no-untyped-def]
    opened().fresh()
    path = Path(stub)
    if change == "board":
        path.write_text(path.read_text().replace("HilQemuDriver: {}", 'HilQemuDriver: {arguments: ["-m", "256"]}'))
    else:
        path = path.with_name("stub.toml")
        path.write_text(path.read_text().replace("cortex-a53", "cortex-a57"))
    other = opened()
    other.fresh()
    assert other.boots == 1
    assert len(stored()) == 2


def test_a_killed_machine_is_followed_by_a_restored_one(opened) -> None:  # type: ignore[no-untyped-def]
    one = opened()
    one.fresh()
    os.kill(one.qemu.pid, signal.SIGKILL)
    until(lambda: one.console.ended or not one.qemu.running)
    one.fresh()
    assert (one.boots, one.restores, one.qemu.running) == (1, 2, True)
    one.off()
    one.fresh()
    assert (one.boots, one.restores, one.dirty) == (1, 3, None)


def told(errors: list[str]) -> Any:
    return lambda kind, error: errors.append(f"{kind}: {error.message}") if error else None


def test_a_memory_that_was_changed_is_told_and_made_anew(opened, cache: Path) -> None:  # type: ignore[no-untyped-def]
    first = opened()
    first.fresh()
    for boots in (1, 2):
        memory = next(cache.glob("*/whole/memory"))
        for at in range(0, memory.stat().st_size, memory.stat().st_size // 300):
            flip(memory, at)
        one = opened() if boots == 1 else first  # which has it open
        with pytest.warns(UserWarning, match="memory"):
            one.fresh()
        assert (one.boots, one.restores - (one is first), one.no_snapshot_reason) == (boots, 1, "")
        errors: list[str] = []
        one.on_attempt = told(errors)
        one.fresh()
        assert (one.boots, errors) == (boots, [])


def test_a_memory_that_changes_during_the_restore_is_made_anew(opened, cache: Path) -> None:  # type: ignore[no-untyped-def]
    opened().fresh()

    def check(board: Board) -> None:
        answers(board)
        if (board.boots, board.restores) == (0, 1):
            flip(next(cache.glob("*/whole/memory")), 4711)

    errors: list[str] = []
    one = opened(on_attempt=told(errors), health_check=check)
    with pytest.warns(UserWarning, match="memory"):
        one.fresh()
    assert (one.boots, one.restores, one.no_snapshot_reason, len(errors)) == (1, 2, "", 1)


def test_a_state_that_no_machine_takes_is_told_and_made_anew(opened, cache: Path) -> None:  # type: ignore[no-untyped-def]
    opened().fresh()
    state = next(cache.glob("*/whole/state"))
    state.write_bytes(state.read_bytes()[: state.stat().st_size // 2])
    sign(state.parent)
    errors: list[HilError] = []
    one = opened(on_attempt=lambda kind, error: errors.append(error) if error else None)
    one.fresh()
    assert (one.boots, one.restores, one.no_snapshot_reason) == (1, 3, "")
    assert [type(error) for error in errors] == [StateRefused] * 2
    other = opened()
    other.fresh()
    assert (other.boots, other.restores) == (0, 1)


def test_a_killed_restore_is_tried_again_and_costs_no_snapshot(opened, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """QEMU is killed in mid-restore, as by the kernel where memory is short."""
    opened().fresh()
    (before,) = [directory for directory, _, _ in stored()]
    made = (before / "whole").stat().st_ino
    real, kills = Monitor.put_state, [1]

    def killed(monitor: Monitor, state: bytes) -> None:
        if kills and kills.pop():
            (keeper,) = set(children(os.getpid())) - others
            os.kill(children(keeper)[0], signal.SIGKILL)
        real(monitor, state)

    monkeypatch.setattr(Monitor, "put_state", killed)
    errors: list[HilError] = []
    one = opened(on_attempt=lambda kind, error: errors.append(error) if error else None)
    others = set(children(os.getpid()))
    one.fresh()
    assert (one.boots, one.restores) == (0, 2)
    one.off()
    kills[:] = [1, 1]
    with pytest.raises(InfrastructureError, match="SIGKILL"):
        one.fresh()
    assert [type(error) for error in errors] == [InfrastructureError] * 3
    assert (one.boots, (before / "whole").stat().st_ino) == (0, made)
    one.fresh()
    assert one.boots == 0


def test_where_no_transcript_can_be_written_the_snapshot_stays(opened, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    opened().fresh()
    (before,) = [directory for directory, _, _ in stored()]
    made = (before / "whole").stat().st_ino
    one = opened()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_text", full)
        with pytest.raises(InfrastructureError, match="No space left"):
            one.fresh()
    assert (one.boots, (before / "whole").stat().st_ino) == (0, made)
    one.fresh()
    assert one.boots == 0


def test_a_snapshot_is_not_replaced_where_a_boot_fails_too(opened) -> None:  # type: ignore[no-untyped-def]
    opened().fresh()
    (before,) = [directory for directory, _, _ in stored()]
    made = (before / "whole").stat().st_ino

    def check(board: Board) -> None:
        raise RunnerError("no runner")

    one = opened(health_check=check)
    with pytest.raises(RunnerError, match="no runner"):
        one.fresh()
    assert (one.boots, one.restores, (before / "whole").stat().st_ino) == (1, 2, made)


def test_a_board_that_is_bad_when_restored_is_booted_from_then_on(opened) -> None:  # type: ignore[no-untyped-def]
    def check(board: Board) -> None:
        answers(board)
        if board.power.snapshot is not None:
            raise RunnerError("the runner was lost on the way")

    errors: list[str] = []
    one = opened(health_check=check, on_attempt=told(errors))
    report = one.fresh()
    assert "the runner was lost on the way" in one.no_snapshot_reason
    assert (one.boots, one.restores, report.restored, one.up) == (3, 4, None, True)
    assert errors == ["restore: the runner was lost on the way"] * 4
    one.fresh()
    assert (one.boots, one.restores) == (4, 4)
    assert stored() == [], "what could not be restored is not kept"


def test_a_board_that_is_bad_when_booted_is_not_saved(opened) -> None:  # type: ignore[no-untyped-def]
    def check(board: Board) -> None:
        raise RunnerError("no runner")

    one = opened(health_check=check)
    with pytest.raises(RunnerError, match="no runner"):
        one.fresh()
    assert (one.boots, one.restores, one.up) == (1, 0, False)
    assert stored() == []
    one.health_check = answers
    one.fresh()
    assert (one.boots, one.restores, one.no_snapshot_reason) == (2, 1, "")


def test_without_room_the_board_goes_on_as_it_was_booted(opened, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A limit of the process stands for the disk: the kernel refuses to write on, in the midst of a file."""
    real, (_, hard) = SnapshotStore.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def keep(*of: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        try:
            return real(*of)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    monkeypatch.setattr(SnapshotStore, "save", keep)
    one = opened()
    report = one.fresh()
    assert "File too large" in one.no_snapshot_reason
    assert (one.boots, one.restores, report.restored, one.up) == (1, 0, None, True)
    answers(one)
    assert stored() == []
    assert [path.name for path in snapshot_store.root().glob("*/*")] == ["lock"]
    monkeypatch.setattr(SnapshotStore, "save", real)
    one.fresh()
    assert one.boots == 2, "it does not try again and again"


SAVE = """
import sys
from pathlib import Path
from hil.board.board import Board
with Board(sys.argv[1], transcripts=Path(sys.argv[2]), health_check=lambda board: None) as board:
    board.fresh()
    board.console.write(b"\\n")
    board.console.wait_for(b"# ", timeout=2)
    print(board.boots, board.restores, board.no_snapshot_reason)
"""


def test_on_a_small_disk_the_board_goes_on_as_it_was_booted(stub: str, tmp_path: Path, cache: Path) -> None:
    """In a mount name space of its own, which an ordinary user may have where user name spaces are allowed."""
    cache.mkdir(parents=True)
    mount = f"mount -t tmpfs -o size=64k none {cache}"
    ways = (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"])
    alone = [way for way in ways if not subprocess.run([*way, "sh", "-c", mount], capture_output=True).returncode]
    if not alone:
        pytest.skip("neither this user nor a user name space may mount; the test with a limit stands for this one")
    script = f'{mount} && "$@" && cd {cache} && find . -type f'
    command = [*alone[0], "sh", "-c", script, "sh", sys.executable, "-c", SAVE, stub, str(tmp_path / "transcripts")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr
    told, *left = done.stdout.splitlines()
    assert re.match(f"1 0 .* {cache}/", told), told
    assert [Path(path).name for path in left] == ["lock"]


@pytest.mark.parametrize(
    ("setting", "why"),
    [("0", "HIL_SNAPSHOTS_MIB"), (None, "-m")],
)
def test_a_machine_that_is_not_to_be_saved_is_booted(
    opened, stub: str, monkeypatch: pytest.MonkeyPatch, setting: str | None, why: str
) -> None:  # type: ignore[no-untyped-def]
    if setting is not None:
        monkeypatch.setenv("HIL_SNAPSHOTS_MIB", setting)
    else:
        manifest = Path(stub).with_name("stub.toml")
        manifest.write_text(manifest.read_text().replace('"-m", "64", ', ""))
    one = opened()
    one.fresh()
    one.fresh()
    assert (one.boots, one.restores) == (2, 0)
    assert why in one.no_snapshot_reason
    assert not snapshot_store.root().exists()


def test_a_machine_with_a_disk_to_write_to_is_booted(opened, stub: str) -> None:  # type: ignore[no-untyped-def]
    disk, path = Path(stub).with_name("disk.img"), Path(stub)
    disk.write_bytes(bytes(MIB))
    drive = f"if=none,format=raw,id=flash,file={disk}"
    arguments = f'["-drive", "{drive}", "-device", "virtio-blk-device,drive=flash"]'
    path.write_text(path.read_text().replace("HilQemuDriver: {}", f"HilQemuDriver: {{arguments: {arguments}}}"))
    one = opened()
    one.fresh()
    assert "flash" in one.no_snapshot_reason
    assert (one.boots, one.restores, stored()) == (1, 0, [])
    answers(one)
    one.close()
    path.write_text(path.read_text().replace("format=raw", "format=raw,readonly=on"))
    for boots in (1, 0):
        one = opened()
        one.fresh()
        assert (one.boots, one.restores, one.no_snapshot_reason) == (boots, 1, "")
        one.close()
    os.utime(disk, (1, 1))
    one = opened()
    one.fresh()
    assert one.boots == 1, "another disk, another machine"


@pytest.mark.parametrize("name", ["a,b=c x", "[old]{kernel}*", "pr\udcfcfung", "a\nb'\""])
def test_a_board_in_a_directory_of_any_name(opened, tmp_path: Path, name: str) -> None:  # type: ignore[no-untyped-def]
    """Its image, a disk of it, its snapshot and its transcripts; the disk's path is in an option of QEMU's."""
    directory = tmp_path / name
    directory.mkdir()
    path = savable(stub_board(directory))
    (directory / "disk").write_bytes(bytes(MIB))
    disk = f'path = "disk"\nsha256 = "{hashlib.sha256(bytes(MIB)).hexdigest()}"'
    manifest = path.with_name("stub.toml")
    text = manifest.read_text().replace("[machine]", f"[files.disk]\n{disk}\n[machine]")
    drive = '"-drive", "if=none,format=raw,id=d,readonly=on,file={disk}", "-m", "64"'
    manifest.write_text(text.replace('"-m", "64"', drive) + '[[machine.load]]\nfile = "disk"\naddress = 0x43000000\n')
    one = opened(str(path))
    one.fresh()
    assert (one.boots, one.restores, one.no_snapshot_reason) == (1, 1, "")
    assert one.console.transcript.path.parent == directory / "transcripts"
    assert str(directory / "stub.bin") in one.qemu.command
    blocks = one.qemu.monitor.execute("query-block")
    assert os.fsencode(blocks[0]["inserted"]["file"]) == os.fsencode(directory / "disk") or "\udcfc" in name


def test_a_disk_in_an_odd_place_tells_machines_apart(tmp_path: Path) -> None:
    disk = tmp_path / "a,b=c"
    disk.write_bytes(b"x")
    option = f"if=none,file={str(disk).replace(',', ',,')},format=raw"
    before = file_stamps(["-drive", option])
    assert len(before) == 1
    times = disk.stat()
    disk.write_bytes(b"y")
    os.utime(disk, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_stamps(["-drive", option]) != before


def test_snapshots_can_be_switched_off(opened) -> None:  # type: ignore[no-untyped-def]
    one = opened(snapshots=False)
    one.fresh()
    assert (one.boots, one.restores, bool(one.no_snapshot_reason)) == (1, 0, True)


def test_a_limit_that_is_none_is_told_before_anything_boots(opened, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "many")
    one = opened()
    with pytest.raises(ConfigurationError, match="HIL_SNAPSHOTS_MIB.*'many'"):
        one.fresh()
    assert one.boots == 0


def test_in_virtual_time_a_restore_is_the_same_to_the_bit(opened) -> None:  # type: ignore[no-untyped-def]
    def talk(one: Board) -> list[Any]:
        stamps: list[Any] = []
        for text in (b"a\n", b"bb\n"):
            one.console.write(text)
            stamps.append(one.console.stamp(one.console.wait_for(b"# ", timeout=20).start))
        return [*stamps, one.console.lockstep.history]

    one = opened(seed=1)
    told = []
    for _ in range(2):
        one.fresh()
        assert one.virtual.exact, one.virtual
        told.append(talk(one))
    one.close()
    snapshot_store.trim(most=0)
    anew = opened(seed=1)
    anew.fresh()
    assert (anew.boots, anew.virtual.exact) == (1, True), "a snapshot that is made anew is the same, too"
    told.append(talk(anew))
    assert told[0] == told[1] == told[2]
    other = opened(seed=2)
    other.fresh()
    assert len(stored()) == 2, "each seed has its own"


def test_a_snapshot_in_virtual_time_belongs_to_the_code_that_typed_before(opened, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    for digest, boots in (("one", 1), ("one", 0), ("another", 1)):
        monkeypatch.setattr("hil.board.board.typing_digest", lambda digest=digest: digest)
        with opened(seed=1) as one:
            one.fresh()
            assert one.boots == boots


# through pytest


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """Run pytest within this process on a stub that can be saved; its process leaves nothing behind."""
    # undone afterwards, whatever a run within this process makes of it
    monkeypatch.setattr("hil.plugin.session.Session._check_health", lambda session, board: None)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # labgrid's own plugin can be loaded once a process only
    board = savable(stub_board(pytester.path))

    def act(code: str, *options: str) -> pytest.RunResult:
        pytester.makepyfile(code)
        before = children(os.getpid())
        plugins = ("-p", "hil.plugin", "-p", "no:cacheprovider")
        result = pytester.runpytest_inprocess(*plugins, "--board", str(board), *options)
        until(lambda: set(children(os.getpid())) <= set(before))
        return result

    return act


def counting(*expected: tuple[int, int]) -> str:
    """Tests that each see so many boots and restores."""
    return "".join(
        f"def test_{n}(board): assert (board.boots, board.restores) == {pair}\n" for n, pair in enumerate(expected)
    )


def test_each_test_has_a_restored_board(run) -> None:  # type: ignore[no-untyped-def]
    result = run(counting((1, 1), (1, 2), (1, 3)))
    result.assert_outcomes(passed=3)
    result.stdout.no_fnmatch_line("*no snapshot:*")
    result.stdout.fnmatch_lines(["boots: 1, none failed*", "restores: 3, none failed*"])
    run(counting((0, 1), (0, 2))).assert_outcomes(passed=2)


@pytest.mark.parametrize(("fresh", "restores"), [("test", (1, 2, 3)), ("module", (1, 1, 2)), ("session", (1, 1, 1))])
def test_it_is_as_fresh_as_asked(run, pytester, fresh: str, restores: tuple[int, int, int]) -> None:  # type: ignore[no-untyped-def]
    first, second, third = ((1, n) for n in restores)
    pytester.makepyfile(test_b=counting(third), test_a=counting(first, second))
    run("", "--fresh", fresh).assert_outcomes(passed=3)


def test_a_spoilt_board_is_restored_even_once_a_session(run) -> None:  # type: ignore[no-untyped-def]
    code = """
        import os, pytest, signal
        from hil.console import LineClosed
        def test_1(board): board.dirty = "spoilt"
        def test_2(board):
            assert (board.boots, board.restores) == (1, 2)
            os.kill(board.qemu.pid, signal.SIGKILL)
            board.console.skip()
            with pytest.raises(LineClosed): board.console.wait_for(b"never", timeout=20)
        def test_3(board, power): assert (board.boots, board.restores) == (1, 3)
        def test_4(board): assert (board.boots, board.restores) == (1, 4)
    """
    run(code, "--fresh", "session").assert_outcomes(passed=4)


def test_no_snapshots_means_boots(run) -> None:  # type: ignore[no-untyped-def]
    for counts, options in (((1, 0), (1, 0)), ()), (((1, 0), (2, 0)), ("--fresh", "test")):
        result = run(counting(*counts), "--hil-no-snapshots", *options)
        result.assert_outcomes(passed=2)
        result.stdout.no_fnmatch_line("*no snapshot:*")
    assert stored() == []


def test_where_there_can_be_none_that_is_warned_of_once(run, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "0")
    result = run(counting((1, 0), (1, 0), (1, 0)))
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*stub is booted, not restored: no snapshot: HIL_SNAPSHOTS_MIB is 0"])


def test_a_snapshot_that_fails_is_in_the_account(run, cache: Path) -> None:  # type: ignore[no-untyped-def]
    run(counting((1, 1))).assert_outcomes(passed=1)
    memory = next(cache.glob("*/whole/memory"))
    memory.write_bytes(bytes(memory.stat().st_size))
    sign(memory.parent)
    healthy = """
        import pytest
        from hil.plugin.session import Session
        from hil.console import LineTimeout
        def count(session, board):
            board.console.write(b"\\n")
            board.console.wait_for(b"# ", timeout=2)
        @pytest.fixture(scope="session", autouse=True)
        def counted(): Session._check_health = count
    """
    code = healthy + "    " + counting((1, 3), (1, 4)).replace("\n", "\n" + " " * 8)
    result = run(code)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines_random(
        ["boots: 1, none failed*", "restores: 4, 2 failed (50 %*waited 2 s for '# ' on the line*"]
    )


def test_each_test_in_virtual_time_has_a_restored_board(run) -> None:  # type: ignore[no-untyped-def]
    code = """
        import pytest
        stamps = []
        @pytest.mark.parametrize("n", range(3))
        def test_x(board, console, n):
            assert board.restores >= n + 1
            console.write(b"a\\n")
            stamps.append(console.stamp(console.wait_for(b"# ", timeout=20).start))
            assert board.virtual.exact and stamps[0] == stamps[-1]
    """
    run(code, "--clock", "virtual").assert_outcomes(passed=3)


# the command line


def words(*told: str) -> Any:
    result = CliRunner().invoke(main, ["snapshot", *told])
    assert result.exit_code == 0, result.output
    return result


def test_snapshots_are_listed_and_cleared(keep, cache: Path) -> None:  # type: ignore[no-untyped-def]
    assert words("list").stdout == ""
    assert json.loads(words("list", "--json").stdout) == []
    assert words("clear").stdout == "0 removed, 0 MiB; 0 left\n"
    keep("old", age=100)
    keep("new")
    broken = keep("broken", age=50)
    (broken.directory / "whole" / "facts.json").write_text("{")
    rows = json.loads(words("list", "--json").stdout)
    assert [row["board"] for row in rows] == ["new", "damaged", "old"]
    assert all(2 * MIB <= row["size"] < 3 * MIB and Path(row["place"]).parent == cache for row in rows)
    assert "2 MiB" in words("list").stdout
    assert words("clear", "--keep-mib", "3").stdout.startswith("2 removed, 4 MiB; 1 left\n")
    assert [row["board"] for row in json.loads(words("list", "--json").stdout)] == ["new"]
    assert words("clear").stdout == "1 removed, 2 MiB; 0 left\n"
    assert list(cache.glob("*/whole")) == []


def test_a_listed_board_says_what_it_is(opened, stub: str) -> None:  # type: ignore[no-untyped-def]
    one = opened(seed=3)
    one.fresh()
    (row,) = json.loads(words("list", "--json").stdout)
    assert (row["board"], row["image"], row["time"]) == ("stub", "stub", "virtual")
    assert row["made"] <= row["used"]


def test_hil_run_restores_and_boots_where_asked(stub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HIL_TRANSCRIPTS", str(tmp_path / "transcripts"))
    kinds: list[str] = []

    class Told(HilError):
        """Ends the run once the board is up."""

    def place(runner: object, module: object) -> str:
        board = runner.guest.board  # type: ignore[attr-defined]
        kinds.append(f"{board.boots} boots, {board.restores} restores")
        raise Told("enough")

    with Path(stub).with_name("stub.toml").open("a") as manifest:
        manifest.write("[agent]\n")
    monkeypatch.setattr("hil.wasm.Runner.place", place)
    monkeypatch.setattr("hil.wasm.health_check.check_health", lambda guest: answers(guest.board))
    hello = Path(__file__).parents[2] / "wasm_samples" / "hello.wasm"
    before = children(os.getpid())
    for more in ([], [], ["--boot"]):
        result = CliRunner().invoke(main, ["run", "--board", stub, *more, str(hello)])
        until(lambda: set(children(os.getpid())) <= set(before))
        assert (result.exit_code, result.stdout) == (71, ""), result.output
    assert kinds == ["1 boots, 1 restores", "0 boots, 1 restores", "1 boots, 0 restores"]
    monkeypatch.setenv("HIL_SNAPSHOTS_MIB", "0")
    result = CliRunner().invoke(main, ["run", "--board", stub, str(hello)])
    assert result.stdout == ""
    assert "stub is booted, not restored: no snapshot: HIL_SNAPSHOTS_MIB is 0" in result.stderr
