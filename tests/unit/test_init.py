"""`hil init`: the files of a new project, which work at once, and what it refuses."""

from __future__ import annotations

import errno
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from pytest_runs import LOAD, PytestProcess

import hil.host.files
from hil.board import boardfile
from hil.cli import main
from hil.host import project
from hil.measure.bounds_file import Bounds
from hil.nightly import plan

REAL = ("--power", "netio:pdu.lab:3", "--serial", "serial.lab:2001", "--image", "reference", "--no-uboot")
FILES = {
    *(".gitignore", "pyproject.toml", "plans/nightly.toml", "suites/example/test_example.py"),
    *(".github/workflows/hil.yml", ".gitlab-ci.yml"),
}


@pytest.fixture
def init(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, ["init", *arguments])


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("arguments", "board"), [(("--emulated",), "emulated"), (("mine", *REAL), "mine")])
def test_a_new_project_is_whole(
    init: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], board: str
) -> None:
    done = init(*arguments)
    assert done.exit_code == 0, done.output
    assert files(tmp_path) == FILES | {f"boards/{board}.yaml", f"boards/{board}.bounds.toml"}
    boardfile.environment(tmp_path / "boards" / f"{board}.yaml")
    assert len(Bounds(tmp_path / "boards" / f"{board}.bounds.toml").rows) == (2 if board == "emulated" else 1)
    with project.used(project.of(tmp_path)):
        night = plan.load(plan.find("nightly"))
    assert [run.problems for run in night.runs] == [(), ()]
    assert {run.board for run in night.runs} == {board}
    for job in (".github/workflows/hil.yml", ".gitlab-ci.yml"):
        text = (tmp_path / job).read_text()
        assert yaml.safe_load(text)
        assert ("mmdebstrap" in text) == (board == "emulated")
    output = PytestProcess(tmp_path, *LOAD, "-p", "no:cacheprovider", "--collect-only", "-q").finish()
    assert "2 tests collected" in output


def test_existing_files_are_extended_or_refused(init: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x' # mine")
    (tmp_path / ".gitignore").write_text("/reports/\n*.o")
    (tmp_path / ".gitlab-ci.yml").write_text("mine")
    refused = init("--emulated")
    assert refused.exit_code == 2
    assert ".gitlab-ci.yml" in refused.stderr
    assert len(files(tmp_path)) == 3, "nothing was written"
    done = init("--emulated", "--ci", "github")
    assert done.exit_code == 0, done.output
    assert (tmp_path / ".gitlab-ci.yml").read_text() == "mine"
    text = (tmp_path / "pyproject.toml").read_text()
    assert text.startswith("[project]\nname = 'x' # mine\n")
    assert tomllib.loads(text)["tool"] == {"hil": {"board": "emulated"}}
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["/reports/", "*.o"]
    assert len(lines) == len(set(lines))
    again = init("second", "--emulated", "--ci", "none")
    assert again.exit_code == 2
    assert "[tool.hil]" in again.stderr


def test_existing_files_keep_their_bytes(init: Callable[..., Result], tmp_path: Path) -> None:
    before = {"pyproject.toml": b"[project]\r\nname = 'x'\r\n", ".gitignore": b"/caf\xe9/\r\n*.o"}
    for name, data in before.items():
        (tmp_path / name).write_bytes(data)
    assert init("--emulated", "--ci", "none").exit_code == 0
    for name, data in before.items():
        now = (tmp_path / name).read_bytes()
        assert now.startswith(data)
        assert now.count(b"\n") == now.count(b"\r\n")
    assert project.of(tmp_path).board == "emulated"


@pytest.mark.parametrize("text", ["tool = {x = 1}", "[project"])
def test_a_file_that_cannot_have_the_table_is_left_alone(
    init: Callable[..., Result], tmp_path: Path, text: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    done = init("--emulated")
    assert done.exit_code == 2
    assert "pyproject.toml" in done.stderr
    assert files(tmp_path) == {"pyproject.toml"}
    assert (tmp_path / "pyproject.toml").read_text() == text


def test_without_gitignore_there_is_no_project(
    init: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = hil.host.files.write

    def write(path: Path, data: str | bytes) -> None:
        if path.name == ".gitignore":
            raise OSError(errno.ENOSPC, "full")
        real(path, data)

    monkeypatch.setattr("hil.host.files.write", write)
    assert init("--emulated").exit_code == 1
    assert files(tmp_path) == set()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--emulated"),
        (("--emulated", "--serial", "/dev/ttyUSB0"), "--emulated"),
        (("My Board", "--emulated"), "'My Board'"),
        (("mine.yaml", "--emulated"), "'mine.yaml'"),
        (("mine", "--serial", "nowhere", "--power", "netio:pdu.lab:3"), "'nowhere'"),
        (("mine",), "--power"),
    ],
)
def test_wrong_usage_writes_nothing(
    init: Callable[..., Result], tmp_path: Path, arguments: tuple[str, ...], named: str
) -> None:
    done = init(*arguments)
    assert done.exit_code == 2
    assert named in done.stderr
    assert files(tmp_path) == set()


def test_a_disk_that_fails_leaves_nothing(init: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file, where a directory should be")
    done = init("--emulated")
    assert done.exit_code == 2
    assert files(tmp_path) == {"plans"}


def test_the_example_is_formatted(init: Callable[..., Result], tmp_path: Path) -> None:
    init("--emulated")
    for command in (["ruff", "check", "--isolated"], ["ruff", "format", "--isolated", "--line-length=120", "--check"]):
        done = subprocess.run([*command, "suites"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
