"""Layers of a snapshot: what was sent to a board once is there after a restore, to the bit, or is sent again."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support import held, stub_board, until

from hil.board.board import Board
from hil.board.lifecycle import Lifecycle
from hil.cli import main
from hil.errors import GuestError, HilError, InfrastructureError
from hil.guest import provision
from hil.host.digests import BLOCK
from hil.qemu import changed_pages, snapshot, snapshot_store
from hil.qemu.changed_pages import PAGE
from hil.qemu.snapshot_store import stored, trim

RAM, AT, OLD = 0x40000000, 0x2800000, 0x2900000  # the machine's RAM; offsets in it that nothing uses
CONTENTS = {"/tmp/hil/m.wasm": "5" * 64}


# the pages that differ


def memory(pages: dict[int, bytes], size: int) -> int:
    file = os.memfd_create("test")
    os.ftruncate(file, size)
    for number, data in pages.items():
        os.pwrite(file, data, number * PAGE)
    return file


pages = st.dictionaries(st.integers(0, 46), st.sampled_from([b"a", b"b" * PAGE, bytes(PAGE), b"c" * 2 * PAGE]))


@given(pages, pages)
def test_the_changed_pages_make_one_memory_of_the_other(before: dict[int, bytes], after: dict[int, bytes]) -> None:
    size = 3 * BLOCK
    old, new = memory(before, size), memory(after, size)
    made, expected = bytearray(os.pread(old, size, 0)), os.pread(new, size, 0)
    changed = dict(changed_pages.changes(old, new))
    os.close(old)
    os.close(new)
    for at, page in changed.items():
        assert made[at : at + PAGE] != expected[at : at + PAGE]
        made[at : at + PAGE] = page or bytes(PAGE)
    assert made == expected


@pytest.mark.parametrize("state", [b"", b"QEVM", b"QEVM" + b"\1\0\0\0\2" + changed_pages.RAM + b"\0" * 40])
def test_a_state_of_another_format_is_left_alone(state: bytes) -> None:
    file = memory({}, BLOCK)
    with pytest.raises(InfrastructureError, match="another format"):
        changed_pages.with_changes(state, file, file)
    os.close(file)


# a board


def answers(board: Board) -> None:
    """The stub's health check: it answers a line end with its prompt. After a boot it leaves something in memory."""
    if board.power._memory is not None and board.power.snapshot is None:
        os.pwrite(board.power._memory, b"before", OLD)
    board.console.write(b"\n")
    board.console.wait_for(b"# ", timeout=20)


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Board]]:
    """Open a board whose machine can be saved; at the end it leaves nothing behind."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("HIL_SNAPSHOTS_MIB", raising=False)
    path = stub_board(tmp_path)
    manifest = path.with_name("stub.toml")
    manifest.write_text(manifest.read_text().replace('"-kernel"', '"-m", "64", "-kernel"'))
    before, boards = held(), []

    def act(**options: Any) -> Board:
        boards.append(Board(str(path), transcripts=tmp_path / "transcripts", health_check=answers, **options))
        return boards[-1]

    yield act
    for board in boards:
        board.close()
    until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


class Sender:
    """Stands for a transfer: it types, and changes two pages of a machine that can be saved; one becomes empty."""

    def __init__(self, board: Board, data: bytes = b"module") -> None:
        self.board, self.data, self.calls = board, data, 0

    def __call__(self) -> bool:
        self.calls += 1
        answers(self.board)
        if (file := self.board.power._memory) is not None:
            os.pwrite(file, self.data, AT)
            os.pwrite(file, bytes(PAGE), OLD)
        return True


def content(board: Board, tmp_path: Path, at: int) -> bytes:
    file = tmp_path / "dump"
    board.qemu.monitor.execute("pmemsave", {"val": RAM + at, "size": 6, "filename": str(file)})
    return file.read_bytes()


def layers() -> list[Path]:
    return [directory for directory, _, facts in stored() if "contents" in facts]


def test_what_is_sent_once_is_there_after_a_restore(opened: Callable[..., Board], tmp_path: Path) -> None:
    board = opened()
    board.fresh()
    send = Sender(board)
    assert (content(board, tmp_path, AT), content(board, tmp_path, OLD)) == (bytes(6), b"before")
    for restores in (3, 5):  # of the snapshot, of the board that is saved, of the layer; then without the second
        assert board.untouched
        assert board.provide(CONTENTS, send) is False
        assert (board.restores, board.boots, send.calls, board.up) == (restores, 1, 1, True)
        assert (content(board, tmp_path, AT), content(board, tmp_path, OLD)) == (b"module", bytes(6))
        assert not board.untouched, "it has more than a restored board"
        assert board.report.restored is not None  # type: ignore[union-attr]
        assert board.console.position == len("root\r\n# "), "the health check, and nothing of the machine before it"
        board.fresh()
        assert content(board, tmp_path, AT) == bytes(6), "a layer changes no snapshot"
    other = opened()
    other.fresh()
    assert other.provide(CONTENTS, Sender(other)) is False
    assert (other.boots, other.restores, content(other, tmp_path, AT)) == (0, 2, b"module")
    other.fresh()
    another = Sender(other, b"second")
    assert other.provide({"/tmp/hil/m.wasm": "6" * 64}, another) is False
    assert (another.calls, content(other, tmp_path, AT), len(layers())) == (1, b"second", 2)
    assert all(size < 1 << 20 for _, size, facts in stored() if "contents" in facts), "the changed pages alone"


def test_a_board_that_was_touched_is_not_untouched(opened: Callable[..., Board]) -> None:
    board = opened()
    assert not board.untouched
    board.boot()
    assert not board.untouched, "it has no snapshot to go back to"
    board.fresh()
    assert board.untouched
    with board.unchanged():
        answers(board)
    assert board.untouched
    answers(board)
    assert not board.untouched
    assert board.provide(CONTENTS, send := Sender(board))
    assert (send.calls, board.restores, layers()) == (1, 1, [])
    with board.unchanged():
        answers(board)
    assert not board.untouched, "it was touched before"
    board.fresh()
    board.touch()
    assert not board.untouched
    board.fresh()
    board.dirty = "spoilt"
    assert not board.untouched
    board.off()
    assert not board.untouched


def test_the_life_of_a_board_has_one_more_restore(opened: Callable[..., Board]) -> None:
    events: list[str] = []
    board = opened(lifecycle=Lifecycle(lambda up: events.append(up.kind), lambda down: events.append(down.reason)))
    for _ in range(2):
        board.fresh()
        board.provide(CONTENTS, Sender(board))
    assert events == ["restore", "fresh"] * 3 + ["restore"]


def test_an_error_of_the_transfer_is_the_caller_s(opened: Callable[..., Board]) -> None:
    board = opened()
    board.fresh()

    def send() -> bool:
        raise GuestError("no room in the guest")

    with pytest.raises(GuestError, match="no room"):
        board.provide(CONTENTS, send)
    assert (layers(), board.no_layer_reason) == ([], "")
    board.fresh()
    assert board.provide(CONTENTS, Sender(board)) is False
    assert len(layers()) == 1


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def another_format(*_: object) -> None:
    raise InfrastructureError("the machine's state has another format")


def no_lock(*_: object) -> None:
    raise InfrastructureError("the lock cannot be made")


@pytest.mark.parametrize(
    ("name", "failure", "sent", "why"),
    [
        ("hil.qemu.snapshot.write_layer", no_room, 2, "full"),
        ("hil.qemu.layer_store.with_changes", another_format, 2, "another format"),
        ("hil.qemu.layer_store.LayerStore.alone", no_lock, 1, "lock"),
        ("hil.qemu.snapshot.copy", no_room, 1, "No space"),
    ],
)
def test_without_a_layer_each_board_is_sent_to(
    opened: Callable[..., Board], monkeypatch: pytest.MonkeyPatch, name: str, failure: Any, sent: int, why: str
) -> None:
    board = opened()
    board.fresh()
    send = Sender(board)
    monkeypatch.setattr(name, failure)
    with pytest.warns(UserWarning, match="sent to each restored board"):
        assert board.provide(CONTENTS, send) is True
    assert why in board.no_layer_reason
    assert (send.calls, board.up, board.boots, layers()) == (sent, True, 1, [])
    answers(board)
    board.fresh()
    assert board.provide(CONTENTS, send) is True, "it does not try again and again"
    assert (send.calls, board.no_snapshot_reason) == (sent + 1, "")


def test_a_damaged_layer_is_made_anew(opened: Callable[..., Board], tmp_path: Path) -> None:
    board = opened()
    board.fresh()
    board.provide(CONTENTS, Sender(board))
    (layer,) = layers()
    state = layer / "whole" / "state"
    state.write_bytes(state.read_bytes()[:-1])
    board.fresh()
    send = Sender(board)
    with pytest.warns(UserWarning, match="damaged and was removed"):
        assert board.provide(CONTENTS, send) is False
    assert (send.calls, content(board, tmp_path, AT), board.boots) == (1, b"module", 1)


def test_a_layer_that_no_machine_takes_costs_neither_test_nor_snapshot(opened: Callable[..., Board]) -> None:
    errors: list[HilError] = []
    board = opened(on_attempt=lambda kind, error: errors.append(error) if error else None)
    board.fresh()
    board.provide(CONTENTS, Sender(board))
    (layer,) = layers()
    facts, state = snapshot.read_facts(layer / "whole"), (layer / "whole" / "state").read_bytes()
    shutil.rmtree(layer / "whole")
    snapshot.write_layer(layer / "whole", state[: len(state) // 2], facts)
    board.fresh()
    send = Sender(board)
    with pytest.warns(UserWarning, match="sent to each restored board"):
        assert board.provide(CONTENTS, send) is True
    assert (send.calls, len(errors), board.up, board.boots, layers()) == (1, 2, True, 1, [])
    answers(board)


def test_a_layer_of_a_replaced_snapshot_is_not_used(opened: Callable[..., Board]) -> None:
    board = opened()
    board.fresh()
    board.provide(CONTENTS, Sender(board))
    (layer,) = layers()
    base = next(directory for directory, _, facts in stored() if "contents" not in facts)
    assert json.loads((layer / "whole" / "facts.json").read_text())["facts"]["base"] == base.name
    board.close()
    shutil.rmtree(base)
    other = opened()
    other.fresh()
    send = Sender(other)
    other.provide(CONTENTS, send)
    assert (other.boots, send.calls) == (1, 1)


def test_the_snapshot_of_a_layer_stays_where_room_is_short(
    opened: Callable[..., Board], monkeypatch: pytest.MonkeyPatch
) -> None:
    board = opened()
    board.fresh()
    monkeypatch.setattr(snapshot_store, "size_limit", lambda: 1)
    board.provide(CONTENTS, Sender(board))
    assert len(stored()) == 2
    trim()
    assert stored() == []


def test_a_layer_goes_with_its_snapshot(opened: Callable[..., Board]) -> None:
    board = opened()
    board.fresh()
    board.provide(CONTENTS, Sender(board))
    (layer,) = layers()
    (base,) = {directory for directory, _, _ in stored()} - {layer}
    trim()
    assert len(stored()) == 2
    os.utime(base, (1, 1))
    trim(most=sum(size for _, size, _ in stored()) - 1)
    assert stored() == []


def test_in_virtual_time_it_is_the_same_whether_the_layer_was_there_or_not(opened: Callable[..., Board]) -> None:
    def talk(board: Board) -> tuple[Any, ...]:
        board.fresh()
        send = Sender(board)
        board.provide(CONTENTS, send)
        board.console.write(b"a\n")
        stamp = board.console.stamp(board.console.wait_for(b"# ", timeout=20).start)
        assert board.virtual.exact, board.virtual  # type: ignore[union-attr]
        calls.append(send.calls)
        return stamp, board.console.lockstep.history, board.console.token(4)  # type: ignore[union-attr]

    calls: list[int] = []
    board = opened(seed=1)
    seen = [talk(board), talk(board)]
    (layer,) = layers()
    shutil.rmtree(layer)
    seen += [talk(board), talk(board)]
    assert calls == [1, 0, 1, 0]
    assert len(set(seen)) == 1


# what is large enough


class Guest:
    """Stands for a guest whose board can have layers."""

    def __init__(self, seed: int | None, untouched: bool = True) -> None:
        self.sent: list[str] = []
        self.layers: list[dict[str, str]] = []
        self.board = SimpleNamespace(virtual=seed, untouched=untouched, provide=self.provide)

    def put(self, data: bytes, path: str) -> bool:
        self.sent.append(path)
        return True

    def provide(self, contents: dict[str, str], send: Callable[[], bool]) -> bool:
        self.layers.append(contents)
        return False


@pytest.mark.parametrize(
    ("seed", "size", "untouched", "layered"),
    [
        (None, provision.LEAST, True, True),
        (None, provision.LEAST, False, False),
        (None, provision.LEAST * 9 // 10, True, False),
        (1, provision.LEAST_VIRTUAL, True, True),
        (1, provision.LEAST_VIRTUAL * 9 // 10, True, False),
    ],
)
def test_large_files_have_a_layer(seed: int | None, size: int, untouched: bool, layered: bool) -> None:
    guest: Any = Guest(seed, untouched)
    files = {"/a": os.urandom(size), "/b": b"small, and another one in each test"}
    assert provision.provide(guest, files)
    assert guest.sent == (["/b"] if layered else ["/a", "/b"])
    assert [list(contents) for contents in guest.layers] == [["/a"]] * layered


def test_what_is_large_but_empty_has_none() -> None:
    guest: Any = Guest(None)
    provision.provide(guest, {"/a": bytes(4 << 20)})
    assert (guest.sent, guest.layers) == (["/a"], [])


# the command line


def test_a_listed_layer_says_what_it_holds(opened: Callable[..., Board]) -> None:
    board = opened()
    board.fresh()
    board.provide(CONTENTS, Sender(board))
    result = CliRunner().invoke(main, ["snapshot", "list", "--json"])
    assert result.exit_code == 0, result.output
    base, layer = sorted(json.loads(result.output), key=lambda row: row["holds"])
    assert (layer["holds"], base["holds"]) == (["m.wasm"], [])
    assert layer["of"] == Path(base["place"]).name
