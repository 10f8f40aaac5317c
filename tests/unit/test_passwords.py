"""What a manifest calls a password is in nothing that is kept or shown, and what is kept is its owner's alone."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import QUICK, Wire, stub_board

from hil.board.board import Board
from hil.board.stages import walk
from hil.console import Console, LineClosed, Transcript, asciicast, listing
from hil.console.recording import Recording
from hil.console.replay import Player
from hil.errors import BootError
from hil.history.store import History
from hil.image.manifest import ConsoleFacts, Stage
from hil.qemu.snapshot_store import SnapshotStore

SECRET = "s3cret-word"
STAGES = (
    Stage(name="login", marker="login: ", limit=QUICK),
    Stage(name="password", marker="Password: ", limit=QUICK),
    Stage(name="shell", marker="root@box# ", limit=0.3),
)


@pytest.fixture
def loose() -> Iterator[None]:
    """A umask that keeps nothing from anybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def log_in(wire: Wire, password: str, *, end: bytes = b"root@box# ") -> None:
    """Log in to a guest that echoes all that is typed, the password in two pieces."""

    def guest() -> None:
        far = wire.far
        far.sendall(b"login: ")
        far.sendall(far.recv(100).replace(b"\n", b"\r\n") + b"Password: ")
        typed = far.recv(100)
        far.sendall(typed[:3])
        time.sleep(0.02)
        far.sendall(typed[3:].replace(b"\n", b"\r\n") + end)

    thread = threading.Thread(target=guest)
    thread.start()
    facts = ConsoleFacts(password=password)
    wire.console.passwords.secrets = frozenset([password.encode()])
    try:
        walk(wire.console, STAGES, power_on_ns=time.monotonic_ns(), answers=facts.answers)
    finally:
        thread.join(QUICK)


def kept(wire: Wire) -> str:
    """Return all that is kept and shown of the line."""
    raw = wire.console.transcript.path
    rows = "".join(f"{row.text}\n" for row in listing.rows(raw, sent=True))
    cast = "".join(asciicast.lines(Recording(raw)))
    return raw.read_text() + raw.with_suffix(".tsv").read_text() + rows + cast


def test_a_password_is_redacted_where_it_is_typed_and_echoed(wire: Wire) -> None:
    log_in(wire, SECRET)
    told = kept(wire)
    assert SECRET not in told
    assert SECRET[3:] not in told
    assert wire.console.transcript.read(0, 1000).endswith(b"Password: ***********\r\nroot@box# ")


def test_it_is_not_in_the_error_of_a_login_that_fails(wire: Wire) -> None:
    with pytest.raises(BootError) as failed:
        log_in(wire, SECRET, end=b"you said s3cret-word\r\n" * 60)
    assert "you said ***********" in str(failed.value)
    assert SECRET not in str(failed.value) + kept(wire)


def test_a_password_that_is_a_word_of_the_prompt_spoils_nothing(wire: Wire) -> None:
    log_in(wire, "root")
    wire.far.sendall(b"\r\nroot\r\n")
    assert wire.console.wait_for(b"root\r\n", timeout=QUICK)
    assert wire.console.transcript.read(0, 1000).endswith(b"Password: ****\r\nroot@box# \r\nroot\r\n")


def test_a_recording_with_a_redacted_password_plays(wire: Wire, tmp_path: Path) -> None:
    log_in(wire, SECRET)
    wire.console.close()
    player = Player(Recording(wire.console.transcript.path))
    with Console(player.port, Transcript.create(tmp_path, "again"), explain_end=player.explain_end) as console:
        console.passwords.secrets = frozenset([SECRET.encode()])
        walk(console, STAGES, power_on_ns=time.monotonic_ns(), answers=ConsoleFacts(password=SECRET).answers)
        console.sendline(SECRET)
        with pytest.raises(LineClosed) as ended:
            console.wait_for(b"never", timeout=QUICK)
        assert SECRET not in str(ended.value)
    player.close()


def test_no_traceback_shows_a_password(wire: Wire) -> None:
    facts = ConsoleFacts(password=SECRET)
    assert SECRET not in repr(facts)
    wire.console.passwords.secrets = frozenset([SECRET.encode()])
    wire.far.sendall(b"Password: ")
    with pytest.raises(BootError) as waited:
        walk(wire.console, STAGES[1:], power_on_ns=time.monotonic_ns(), answers=facts.answers)
    wire.console.close()
    with pytest.raises(LineClosed) as closed:
        wire.console.sendline(facts.answers["Password: "])
    for info in (waited, closed):
        assert SECRET not in str(info.getrepr(style="long", funcargs=True))


def test_transcripts_are_their_owner_s(tmp_path: Path, loose: None) -> None:
    transcripts = tmp_path / "hil" / "transcripts"
    with Board(str(stub_board(tmp_path)), transcripts=transcripts, snapshots=False) as board:
        board.boot()
        board.console.transcript.refresh()
    modes = {path.name.partition(".")[2]: stat.S_IMODE(path.stat().st_mode) for path in transcripts.iterdir()}
    assert modes == {"raw": 0o600, "tsv": 0o600, "qemu.log": 0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (transcripts, transcripts.parent)} == {0o700}


def test_snapshots_and_the_cache_are_their_owner_s(
    wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loose: None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    memory = os.memfd_create("memory")
    os.truncate(memory, 1 << 16)
    store = SnapshotStore(["a"])
    with store.alone():
        store.save(memory, b"state", wire.console.transcript, {}).close()
    os.close(memory)
    whole = store.directory / "whole"
    assert {stat.S_IMODE(path.stat().st_mode) for path in whole.iterdir()} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (whole, store.directory)} == {0o700}


def test_the_history_is_its_owner_s(tmp_path: Path, loose: None) -> None:
    path = tmp_path / "state" / "history.sqlite"
    with History(path, write=True):
        assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
