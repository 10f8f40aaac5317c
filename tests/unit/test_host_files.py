"""This machine: files that appear whole, locks, suggestions, processes that end with their owner, tools, the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import digests, directories, disk, files, hints, locks, processes, tools

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("data", ["text: \u00e4\n", b"\x00\xff"])
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_whole(tmp_path: Path, data: str | bytes, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    files.write(path, data, durable=durable)
    assert path.read_bytes() == (data if isinstance(data, bytes) else data.encode())
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_made_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), files.replacing(path) as new:
        new.write_text("half \ud800", "utf-8")
    with pytest.raises(FileNotFoundError), files.replacing(path):
        pass
    assert (path.read_text(), list(tmp_path.iterdir())) == ("old", [path])


def test_new_files_of_one_process_do_not_collide(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with files.replacing(path) as one, files.replacing(path) as other:
        one.write_text("one")
        other.write_text("other")
    assert path.read_text() == "one"


def test_a_lock_keeps_others_out_until_its_file_is_closed(tmp_path: Path) -> None:
    waits: list[str] = []
    with (tmp_path / "lock").open("w") as first, (tmp_path / "lock").open("w") as second:
        locks.lock(first)
        assert not locks.try_lock(second)
        with pytest.raises(InfrastructureError, match=str(tmp_path)):
            locks.lock_within(second, 0.0, lambda: waits.append("waiting"))
        first.close()
        locks.lock_within(second, 0.0, lambda: waits.append("waiting"))
    assert waits == ["waiting"]


def test_close_words_are_suggested() -> None:
    assert hints.did_you_mean("powr", ["power", "frame"]) == "did you mean 'power'? "
    assert hints.did_you_mean("zzz", ["power", "frame"]) == ""
    assert hints.closest("pr", ["power"]) == ""
    assert hints.closest("pr", ["power"], 0.3) == "power"


def test_a_tied_command_dies_with_its_owner() -> None:
    script = f"import subprocess; p = subprocess.Popen({processes.tied(['sleep', '60'])!r}); print(p.pid, flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        child = processes.Process.of(int(owner.stdout.readline()))
        assert child is not None
        while child.arguments[:1] != ["sleep"]:  # from then on it is tied
            time.sleep(0.01)
        owner.kill()
    assert child.wait(10)


def test_a_script_has_its_descriptors_and_a_session_of_its_own(tmp_path: Path) -> None:
    script, output = tmp_path / "script.py", tmp_path / "output"
    script.write_text(
        "import os, sys\nos.write(int(sys.argv[1]), b'%d %s' % (os.getsid(0), sys.argv[2].encode()))\nprint('on')"
    )
    read, write = os.pipe()
    with output.open("wb") as file:
        process = processes.start_script(script, str(write), "word", fds=[write], output=file)
    os.close(write)
    assert os.read(read, 100) == b"%d word" % process.pid
    assert process.wait(10) == 0
    os.close(read)
    assert output.read_text() == "on\n"


def test_a_script_starts_where_there_are_no_priorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_setscheduler")
    script = tmp_path / "script.py"
    script.write_text("")
    assert processes.start_script(script, fds=[], priority=40).wait(10) == 0


@pytest.mark.parametrize(("trap", "grace", "status"), [("", 10.0, -15), ("trap '' TERM;", 0.1, -9), ("", 0.0, -9)])
def test_a_group_ends_with_its_children(trap: str, grace: float, status: int) -> None:
    command = f"{trap} sleep 60 & echo $!; while :; do sleep 0.05; done"
    process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    child = processes.Process.of(int(process.stdout.readline()))
    process.stdout.close()
    processes.end_group(process, grace)
    processes.signal_group(process.pid, processes.signal.SIGKILL)  # nobody is left
    assert process.returncode == status
    assert child is not None
    assert child.wait(10)


def test_a_process_is_not_taken_for_a_later_one_of_its_number() -> None:
    own = processes.Process.of(os.getpid())
    assert own is not None
    later = processes.Process(own.pid, own.start + 1)
    assert (own.alive, later.alive, later.wait(0)) == (True, False, True)
    assert own.parent == os.getppid()
    later.kill()  # a stranger is spared
    assert not own.wait(0)


def test_a_missing_tool_names_its_package() -> None:
    with pytest.raises(InfrastructureError, match="no-such-tool"):
        tools.run(["no-such-tool"], limit=1)
    assert (tools.missing("/opt/mine/dtc").hint or "").endswith(" device-tree-compiler")
    assert tools.find("no-such-tool") is None


def test_a_slow_tool_ends_in_time() -> None:
    begun = time.monotonic()
    with pytest.raises(InfrastructureError, match=r"0\.2 s"):
        tools.run(["sleep", "60"], limit=0.2)
    assert time.monotonic() - begun < 30


def test_disk_errors_are_the_infrastructures(tmp_path: Path) -> None:
    with pytest.raises(InfrastructureError, match=str(tmp_path)), disk.disk(tmp_path, 1 << 60):
        pass
    with pytest.raises(InfrastructureError, match="gone"), disk.disk(tmp_path, 0):
        (tmp_path / "gone").read_text()
    with pytest.raises(InfrastructureError, match=str(tmp_path)), disk.disk(tmp_path, 0):
        raise OSError(28, "No space left on device")


def test_directories_follow_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable, root, default in (
        ("XDG_CACHE_HOME", directories.cache_root, ".cache"),
        ("XDG_DATA_HOME", directories.data_root, ".local/share"),
    ):
        monkeypatch.setenv(variable, "/somewhere")
        assert root() == Path("/somewhere/hil")
        monkeypatch.setenv(variable, "relative")
        assert root() == tmp_path / default / "hil"
    with pytest.raises(ConfigurationError, match="no-such-user"):
        directories.expanded(Path("~no-such-user/x"))


def test_a_tool_is_run_for_its_version_again_only_after_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool, runs = tmp_path / "tool", tmp_path / "runs"

    def write(version: int) -> None:
        tool.write_text(f"#!/bin/sh\necho >>{runs}\necho tool {version}\n")
        tool.chmod(0o755)

    write(1)
    monkeypatch.setattr(digests, "SETTLED_NS", 1 << 62)
    assert [tools.version(str(tool)) for _ in range(2)] == ["tool 1"] * 2
    assert runs.read_bytes() == b"\n" * 2, "it may change again without a new time stamp"
    monkeypatch.setattr(digests, "SETTLED_NS", -1)
    assert [tools.version(str(tool)) for _ in range(3)] == ["tool 1"] * 3
    assert runs.read_bytes() == b"\n" * 3
    write(20)
    assert tools.version(str(tool)) == "tool 20"
