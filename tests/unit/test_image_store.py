"""The store: brought images, built images, digests."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from support import children, stub_board

from hil.board.board import Board
from hil.errors import ConfigurationError, InfrastructureError
from hil.host import digests
from hil.host.directories import cache_root
from hil.image import store
from hil.image.manifest import Manifest, load
from hil.lab.start import commands
from hil.qemu.process import Qemu

STAGES = ({"name": "login", "marker": "login: ", "limit": 5},)


def manifest(**facts: Any) -> Manifest:
    base = {"schema": 1, "name": "mini", "title": "A small image", "hypervisor": "Xen", "stages": STAGES}
    return Manifest.model_validate(base | facts)


def brought(directory: Path, content: bytes = b"kernel", digest: str | None = None, **machine: Any) -> Manifest:
    path = directory / "ker,nel"
    path.write_bytes(content)
    files = {"kernel": {"path": str(path), "sha256": digest or hashlib.sha256(content).hexdigest()}}
    return manifest(files=files, machine={"arguments": ("-kernel", "{kernel}"), **machine})


def test_brought(tmp_path: Path) -> None:
    image = store.open(brought(tmp_path, load=({"file": "kernel", "address": 0x1000},)))
    assert image is not None
    assert image.command() == [
        "qemu-system-aarch64",
        "-kernel",
        str(tmp_path / "ker,nel"),
        "-device",
        f"loader,file={tmp_path}/ker,,nel,addr=0x1000,force-raw=on",
    ]
    store.verify(image)
    assert len(image.digest) == 64


def test_wrong_digest_of_a_brought_file(tmp_path: Path) -> None:
    image = store.open(brought(tmp_path, digest="0" * 64))
    assert image is not None
    with pytest.raises(ConfigurationError, match=r"ker,nel.*0000"):
        store.verify(image)


def test_missing_file(tmp_path: Path) -> None:
    described = brought(tmp_path)
    (tmp_path / "ker,nel").unlink()
    with pytest.raises(ConfigurationError, match=r"files\.kernel: .*ker,nel"):
        store.open(described)


@pytest.mark.parametrize("path", ["a\0b", "~no-such-user/x", "a" * 300, "loop", "fifo", "/dev/zero", "."])
def test_a_path_that_leads_to_no_file_is_the_user_s(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    described = manifest(files={"kernel": {"path": path, "sha256": "0" * 64}}, machine={"arguments": ()})
    described._path = tmp_path / "mini.toml"
    with pytest.raises(ConfigurationError, match=r"files\.kernel"):
        store.open(described)


@pytest.mark.parametrize("name", ["a\0b.toml", "a" * 300 + ".toml", "loop", "fifo", ".", "\udcff.toml"])
def test_a_manifest_that_is_no_file_is_the_user_s(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ConfigurationError, match="manifest"):
        load(tmp_path / name)


def test_overlap_of_sizes(tmp_path: Path) -> None:
    area = {"name": "page", "address": 0x1004, "size": 4}
    described = brought(tmp_path, load=({"file": "kernel", "address": 0x1000},), reserved=(area,))
    with pytest.raises(ConfigurationError, match=r"kernel .*0x1000.* page"):
        store.open(described)


def built(directory: Path) -> Manifest:
    (directory / "xen").write_bytes(b"xen")
    digest = hashlib.sha256(b"xen").hexdigest()
    record = {"files": {"xen": {"sha256": digest, "size": 3}}, "digest": store.digest_of({"xen": digest})}
    (directory / store.RECORD).write_text(json.dumps(record))
    return manifest(build="reference", machine={"arguments": ("-kernel", "{xen}")})


def test_built(tmp_path: Path) -> None:
    image = store.read(built(tmp_path), tmp_path)
    assert image is not None
    store.verify(image)
    (tmp_path / "xen").write_bytes(b"nex")
    with pytest.raises(InfrastructureError, match="xen"):
        store.verify(image)


def age(path: Path) -> None:
    """Wait until the file's time stamps tell all later changes."""
    while time.time_ns() - path.stat().st_ctime_ns <= digests.SETTLED_NS:
        time.sleep(0.01)


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the notes, none there yet, in the cache and in this process; files settle at once."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_NS", 20_000_000)
    forget(monkeypatch)
    return tmp_path / "cache" / "hil" / "digests"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be another process."""
    monkeypatch.setattr(digests, "_quick", {})
    monkeypatch.setattr(digests, "_sha256", {})


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[object]:
    calls: list[object] = []
    module = hashlib if name == "file_digest" else digests
    real = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *of: calls.append(of) or real(*of))
    return calls


@pytest.mark.parametrize("kind", ["brought", "built", "added"])
@pytest.mark.parametrize("proven", [False, True], ids=["first", "proven before"])
def test_an_altered_image_is_refused(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch, kind: str, proven: bool
) -> None:
    """Of the same size, and with its time set back."""
    directory = tmp_path / "image"
    directory.mkdir()
    if kind == "brought":
        image = store.open(brought(directory))
    elif kind == "built":
        image = store.read(built(directory), directory)
    else:
        monkeypatch.setattr(store, "added_directory", lambda _: directory)
        image = store.open(added(directory))
    assert image is not None
    (path,) = image.files.values()
    if proven:
        age(path)
        store.prove(image)
        assert len(list(notes.iterdir())) == 1
    for other_process in (False, True):
        if other_process:
            forget(monkeypatch)
        times = path.stat()
        data = bytearray(path.read_bytes())
        data[0] ^= 1
        good, path_bytes = path.read_bytes(), bytes(data)
        path.write_bytes(path_bytes)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(ConfigurationError if kind == "brought" else InfrastructureError) as caught:
            store.prove(image)
        told = str(caught.value)
        for datum in (path, hashlib.sha256(good).hexdigest(), hashlib.sha256(path_bytes).hexdigest()):
            assert str(datum) in told
        assert caught.value.hint
        path.write_bytes(good)
        store.prove(image)


def test_damage_that_changes_no_time_stamp_is_found_by_the_next_process(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a failing disk."""
    image = store.open(brought(tmp_path))
    assert image is not None
    age(image.files["kernel"])
    store.prove(image)
    forget(monkeypatch)
    real = os.preadv

    def damaged(file: int, buffers: list[bytearray], at: int) -> int:
        size = real(file, buffers, at)
        buffers[0][0] ^= 1
        return size

    monkeypatch.setattr(os, "preadv", damaged)
    computed = counted(monkeypatch, "file_digest")
    store.prove(image)
    assert len(computed) == 1, "the note is not believed"


def test_a_proof_reads_a_file_once_a_process(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = store.open(brought(tmp_path))
    assert image is not None
    slow, read = counted(monkeypatch, "file_digest"), counted(monkeypatch, "blocks")
    age(image.files["kernel"])
    for _ in range(3):
        store.prove(image)
    assert (len(slow), len(read)) == (1, 1)
    forget(monkeypatch)
    for _ in range(3):
        store.prove(image)
    assert (len(slow), len(read)) == (1, 2)


def test_a_file_that_has_just_changed_is_read_each_time(
    tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change once more without another time stamp."""
    monkeypatch.setattr(digests, "SETTLED_NS", 1 << 62)
    image = store.open(brought(tmp_path))
    assert image is not None
    read = counted(monkeypatch, "blocks")
    for times in (1, 2):
        store.prove(image)
        assert len(read) == times
    assert not notes.exists()


@pytest.mark.parametrize("note", ["{", "[]", "{}", '{"identity": 1, "quick": 1, "sha256": 1}', "\0"])
def test_a_bad_note_is_as_none(tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch, note: str) -> None:
    image = store.open(brought(tmp_path))
    assert image is not None
    age(image.files["kernel"])
    store.prove(image)
    (path,) = notes.iterdir()
    path.write_text(note)
    forget(monkeypatch)
    store.prove(image)
    assert json.loads(path.read_text())["sha256"] == hashlib.sha256(b"kernel").hexdigest()


def test_without_a_place_for_notes_it_is_proven_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("not a directory")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "SETTLED_NS", 0)
    image = store.open(brought(tmp_path))
    assert image is not None
    store.prove(image)


def test_a_brought_file_that_cannot_be_read_is_the_user_s(tmp_path: Path, notes: Path) -> None:
    image = store.open(brought(tmp_path))
    assert image is not None
    image.files["kernel"].unlink()
    with pytest.raises(ConfigurationError, match="ker,nel"):
        store.prove(image)


def test_holes_count_as_zeros(tmp_path: Path) -> None:
    content = bytes(3 << 16) + b"x" + bytes(5 << 16)
    (tmp_path / "full").write_bytes(content)
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(len(content))
        file.seek(3 << 16)
        file.write(b"x")
    found = []
    for name in ("full", "sparse"):
        with (tmp_path / name).open("rb") as file:
            file.seek(7)
            found.append(digests.quick(file.fileno()))
            assert file.tell() == 7, "where the caller reads is left as it was"
    assert found[0] == found[1]


def added(directory: Path) -> Manifest:
    described = built(directory).model_copy(update={"build": None, "add": "camkes"})
    record = json.loads((directory / store.RECORD).read_text())
    (directory / store.ADDED).write_text(json.dumps(record | {"arguments": ["-M", "virt", "-kernel", "{xen}"]}))
    return described


def test_not_whole_is_not_there(tmp_path: Path) -> None:
    described = built(tmp_path)
    (tmp_path / "xen").write_bytes(b"longer")
    assert store.read(described, tmp_path) is None
    (tmp_path / "xen").unlink()
    assert store.read(described, tmp_path) is None
    (tmp_path / store.RECORD).write_text("{")
    assert store.read(described, tmp_path) is None


def test_unknown_file_of_a_builder(tmp_path: Path) -> None:
    built(tmp_path)
    described = manifest(build="reference", machine={"arguments": ("-kernel", "{zen}")})
    with pytest.raises(ConfigurationError, match="'zen'"):
        store.read(described, tmp_path)


def test_unknown_builder() -> None:
    described = manifest(build="refrence", machine={"arguments": ()})
    with pytest.raises(ConfigurationError, match="'refrence'"):
        store.open(described)


def test_cache_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "hil"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_root() == Path.home() / ".cache/hil"


def test_digest_tells_names_apart() -> None:
    assert store.digest_of({"a": "1", "b": "2"}) == store.digest_of({"b": "2", "a": "1"})
    assert store.digest_of({"a": "1", "b": "2"}) != store.digest_of({"a": "2", "b": "1"})


# what boots


def altered(directory: Path) -> Path:
    """A board whose image was changed by one bit."""
    board = stub_board(directory)
    file = directory / "stub.bin"
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    return board


def test_an_altered_image_reaches_neither_machine_nor_report_nor_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = altered(tmp_path)
    before = children(os.getpid())
    with Board(str(path), transcripts=tmp_path / "transcripts") as board:
        for use in (board.boot, board.image, board.fresh):
            with pytest.raises(ConfigurationError, match=r"stub\.bin"):
                use()
        assert not board.power.get()
    assert children(os.getpid()) == before
    monkeypatch.setattr("hil.image.manifest.find", lambda name: load(tmp_path / "stub.toml"))
    with pytest.raises(ConfigurationError, match=r"stub\.bin"):
        commands(1, "stub")


def test_an_image_that_changes_while_qemu_reads_it_does_not_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = stub_board(tmp_path)
    before = children(os.getpid())

    def late(*of: Any, **named: Any) -> Qemu:
        altered(tmp_path)
        return Qemu(*of, **named)

    monkeypatch.setattr("hil.board.qemu_driver.Qemu", late)
    with Board(str(path), transcripts=tmp_path / "transcripts") as board:
        with pytest.raises(ConfigurationError, match=r"stub\.bin"):
            board.boot()
        assert not board.power.get()
    assert children(os.getpid()) == before
