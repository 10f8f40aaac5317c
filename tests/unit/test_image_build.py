"""The builder's parts, with stand-ins for the outside programs: errors are clear and nothing is left."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from limits import HANG
from support import until

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import tools
from hil.host.progress import Lines, Progress, shown
from hil.host.project import packaged
from hil.image import build as builder
from hil.image import ensure, manifest, packages, recipe, store, workshop
from hil.image.cpio import Tree
from hil.image.packages import Packages

FAKES = {
    "aarch64-linux-gnu-gcc": "echo gcc 1",
    "dtc": "echo dtc 1",
    "lz4": "echo lz4 1",
    "mmdebstrap": "echo 'E: Failed to fetch http://nowhere/InRelease'; exit 25",
}


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache directory, and stand-ins for all tools on the PATH."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name, script in FAKES.items():
        fake(tmp_path, name, script)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(packages, "NEEDED", 1)
    monkeypatch.setattr(builder, "NEEDED", 1)
    return tmp_path / "cache/hil"


def fake(directory: Path, name: str, script: str) -> None:
    (directory / "bin").mkdir(exist_ok=True)
    path = directory / "bin" / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def build(**options: bool) -> store.Image:
    return builder.build(manifest.find("reference"), progress=Progress(), **options)


def gone(pid: int) -> bool:
    """Whether the process ends within 5 s."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def left(cache: Path) -> set[str]:
    return {str(path.relative_to(cache)) for path in cache.rglob("*")} - {"lock"}


def test_broken_download(cache: Path) -> None:
    with pytest.raises(InfrastructureError) as caught:
        build()
    assert "mmdebstrap failed with status 25" in caught.value.message
    assert "Failed to fetch" in caught.value.message
    assert caught.value.hint
    assert left(cache) == set()


def test_bad_mirror(cache: Path) -> None:
    with pytest.raises(ConfigurationError, match="'debian'"):
        builder.build(manifest.find("reference"), mirror="debian", progress=Progress())
    assert not cache.exists()


def test_missing_tool(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin/mmdebstrap").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    with pytest.raises(InfrastructureError) as caught:
        build()
    assert "mmdebstrap" in caught.value.message
    assert " mmdebstrap" in (caught.value.hint or "")
    assert left(cache) == set()


def test_missing_compiler_is_named_when_opening(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin/aarch64-linux-gnu-gcc").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    with pytest.raises(InfrastructureError) as caught:
        ensure(manifest.find("reference"), Progress())
    assert " gcc-aarch64-linux-gnu" in (caught.value.hint or "")


def test_full_disk_before(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "NEEDED", 1 << 60)
    with pytest.raises(InfrastructureError, match=r" 1099511627776 MiB"):
        build()
    assert left(cache) == set()


def test_full_disk_in_a_tool(cache: Path, tmp_path: Path) -> None:
    fake(tmp_path, "mmdebstrap", "echo 'tar: x: Cannot write: No space left on device'; exit 1")
    with pytest.raises(InfrastructureError, match="full"):
        build()
    assert left(cache) == set()


def test_unusable_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(InfrastructureError, match="file/hil: Not a directory"):
        build()


def test_full_disk_seen_by_apt(cache: Path, tmp_path: Path) -> None:
    fake(tmp_path, "mmdebstrap", 'echo "E: You don\'t have enough free space in /x."; exit 25')
    with pytest.raises(InfrastructureError, match="full"):
        build()


def test_missing_c_library_is_named(tmp_path: Path, cache: Path) -> None:
    fake(tmp_path, "aarch64-linux-gnu-gcc", "echo 'a.c:1: fatal error: stdio.h: No such file or directory'; exit 1")
    with pytest.raises(InfrastructureError) as caught:
        tools.run(["aarch64-linux-gnu-gcc"], limit=10)
    assert " libc6-dev-arm64-cross" in (caught.value.hint or "")


def test_full_disk_in_our_own_write(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def keep(root: Path, kept: Path) -> None:
        (kept / "kernel").write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(packages, "_unpack", lambda *_: None)
    monkeypatch.setattr(packages, "_keep", keep)
    with pytest.raises(InfrastructureError, match="full"):
        build()
    assert left(cache) == set()


def test_an_image_that_is_gone_again_is_the_disk_s_failure(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Packages(cache / "packages", {}, {})
    monkeypatch.setattr(packages, "fetch", lambda *_: parts)
    monkeypatch.setattr(builder, "_make", lambda *_: None)
    monkeypatch.setattr(workshop, "publish", lambda *_: None)
    with pytest.raises(InfrastructureError, match="cannot be read in .*reference-"):
        build()


def test_interrupt_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packages, "_keep", interrupted)
    monkeypatch.setattr(packages, "_unpack", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        build()
    assert left(cache) == set()


def test_ctrl_c_ends_the_tools(cache: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    fake(tmp_path, "mmdebstrap", f"sleep 60 & echo $! > {note}.new; mv {note}.new {note}; wait")
    program = (
        "from hil.image import build, manifest; from hil.host.progress import Progress\n"
        "build.build(manifest.find('reference'), progress=Progress())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(packaged("images").parent)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 30
        while not note.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=HANG)[1]
    assert gone(int(note.read_text()))
    assert left(cache) == set()


def test_leftovers_of_a_killed_build_go(cache: Path) -> None:
    locked = cache / "staging/packages/root/closed"
    locked.mkdir(parents=True)
    (locked / "file").write_text("x")
    locked.chmod(0o500)
    with pytest.raises(InfrastructureError):
        build()
    assert left(cache) == set()


def test_second_build_waits_and_takes_the_result(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described = manifest.find("reference")
    target = store.directory_of(described, recipe.recipe(described).key)
    cache.mkdir(parents=True)
    steps: list[str] = []

    class Watch(Progress):
        def step(self, name: str, total: float | None = None) -> None:
            steps.append(name)

    def first() -> None:
        time.sleep(0.5)
        target.mkdir(parents=True)
        sizes = {name: {"sha256": "0" * 64, "size": 0} for name in described.machine.file_names()}
        for name in sizes:
            (target / name).touch()
        digest = store.digest_of(dict.fromkeys(sizes, "0" * 64))
        (target / store.RECORD).write_text(f'{{"digest": "{digest}", "files": {sizes}}}'.replace("'", '"'))
        fcntl.flock(lock, fcntl.LOCK_UN)

    with (cache / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = threading.Thread(target=first)
        other.start()
        image = builder.build(described, progress=Watch())
        other.join()
    assert image.directory == target
    assert steps == ["waiting for another process to make it"]


def test_waiting_ends(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workshop, "WAIT", 0.3)
    cache.mkdir(parents=True)
    with (cache / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InfrastructureError, match="lock"):
            build()


def test_old_images_are_forgotten(cache: Path) -> None:
    images = cache / "images"
    for number in range(5):
        path = images / f"reference-{number:016x}"
        path.mkdir(parents=True)
        os.utime(path, (number, number))
    workshop.forget_old("reference", images / f"reference-{0:016x}")
    assert [path.name[-1] for path in sorted(images.iterdir())] == ["0", "3", "4"]


def test_the_key_follows_the_machine() -> None:
    described = manifest.find("reference")
    other = described.model_copy(update={"machine": described.machine.model_copy(update={"load": ()})})
    assert recipe.recipe(described).key == recipe.recipe(described).key
    assert recipe.recipe(described).key != recipe.recipe(other).key


def test_the_key_follows_the_bit_rate() -> None:
    described = manifest.find("reference")
    assert described.can is not None
    other = described.model_copy(update={"can": described.can.model_copy(update={"bitrate": 125_000})})
    assert recipe.recipe(described).key != recipe.recipe(other).key


def test_kernel_modules_lose_their_signature() -> None:
    module, signature, facts = b"ELF", b"x" * 300, bytes(8) + (300).to_bytes(4, "big")
    signed = module + signature + facts + b"~Module signature appended~\n"
    assert packages._unsigned(signed) == packages._unsigned(module) == module


def test_brought_images_are_not_built(tmp_path: Path) -> None:
    described = manifest.find("reference").model_copy(update={"build": None})
    with pytest.raises(ConfigurationError, match="reference"):
        builder.build(described, progress=Progress())


def test_tool_that_hangs_is_ended() -> None:
    began = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"sh .* 0\.3 s"):
        tools.run(["sh", "-c", "echo on; sleep 60 & wait"], limit=0.3)
    assert time.monotonic() - began < 60


def test_tool_gets_input_and_may_ignore_it() -> None:
    assert tools.run(["cat"], limit=10, data=b"a\nb") == "a\nb"
    assert tools.run(["true"], limit=10, data=b"x" * 1_000_000) == ""


def test_children_of_a_tool_end_with_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    tools.run(["sh", "-c", f"sleep 60 >/dev/null 2>&1 & echo $! > {note}"], limit=10)
    assert gone(int(note.read_text()))


def test_ctrl_c_while_a_tool_starts_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "pid"

    def interrupted(timer: threading.Timer) -> None:
        until(note.exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Timer, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tools.run(["sh", "-c", f"echo $$ > {note}.new; mv {note}.new {note}; exec sleep 60"], limit=10)
    assert gone(int(note.read_text()))


def test_archive_is_the_same_each_time_and_cpio_reads_it() -> None:
    def archive(*order: str) -> bytes:
        tree = Tree()
        for name in order:
            tree.file(name, name.encode(), 0o755)
        tree.link("bin/sh", "busybox")
        tree.device("dev/console", 5, 1)
        tree.directory("tmp", 0o1777)
        out = io.BytesIO()
        tree.write(out)
        return out.getvalue()

    data = archive("usr/bin/a", "init")
    assert data == archive("init", "usr/bin/a")
    assert data.startswith(b"070701")
    assert len(data) % 4 == 0
    names = [data[at + 110 : data.index(b"\0", at + 110)].decode() for at in records(data)]
    assert names == ["bin", "bin/sh", "dev", "dev/console", "init", "tmp", "usr", "usr/bin", "usr/bin/a", "TRAILER!!!"]


def records(data: bytes) -> list[int]:
    """The offsets of the records of a newc archive."""
    at, found = 0, []
    while at < len(data):
        found.append(at)
        size, name = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        at += (110 + name + 3) // 4 * 4 + (size + 3) // 4 * 4
    return found


def test_progress_of_a_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told: list[object] = []

    class Watch(Progress):
        def step(self, name: str, total: float | None = None) -> None:
            told.append((name, total))

        def advance(self, done: float) -> None:
            told.append(done)

    def run(command: list[str], **options: object) -> str:
        assert command[0] == "mmdebstrap"
        for line in (
            "Get:1 http://host suite InRelease [140 kB]",
            "Need to get 1,500 kB of archives.",
            "Get:1 http://host suite/main arm64 one arm64 1 [500 kB]",
            "Get:2 http://host suite/main arm64 two arm64 1 [1 MB]",
            "I: extracting archives...",
        ):
            options["on_line"](line)  # type: ignore[operator]
        return ""

    monkeypatch.setattr(tools, "run", run)
    packages._unpack(None, tmp_path, tmp_path / "root", tmp_path / "listing", Watch())
    assert told[1:] == [0.14, ("downloading packages", 1.5), 0.5, 1.5, ("unpacking packages", None)]


def test_lines_in_a_pipe() -> None:
    stream = io.StringIO()
    with shown(stream) as progress:
        progress.step("one", 10)
        progress.advance(5)
    assert stream.getvalue().endswith("s] one\n")
    stream = io.StringIO()
    lines = Lines(stream, every=0)
    lines.step("one", 10)
    lines.advance(5)
    assert stream.getvalue().endswith("one 50% 0.0 s\n")


@pytest.mark.skipif(not Path("/usr/bin/script").exists(), reason="needs script(1) for a terminal")
def test_bar_on_a_terminal(tmp_path: Path) -> None:
    program = (
        "import sys; from hil.host.progress import shown\n"
        "with shown(sys.stderr) as p: p.step('one', 2); p.advance(1); p.step('two')\n"
    )
    (tmp_path / "program.py").write_text(program)
    command = f"{sys.executable} {tmp_path}/program.py"
    done = subprocess.run(
        ["script", "-qec", command, "/dev/null"],
        capture_output=True,
        timeout=HANG,
        env={**os.environ, "PYTHONPATH": str(packaged("images").parent), "TERM": "xterm", "COLUMNS": "80"},
    )
    assert done.returncode == 0
    assert all(text in done.stdout for text in (b"one", b"two", b"\x1b["))
