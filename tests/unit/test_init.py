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
    pins = {"suites/example/test_pins.py"} if board == "emulated" else set()
    assert files(tmp_path) == FILES | pins | {f"boards/{board}.yaml", f"boards/{board}.bounds.toml"}
    boardfile.environment(tmp_path / "boards" / f"{board}.yaml")
    assert len(Bounds(tmp_path / "boards" / f"{board}.bounds.toml").rows) == (4 if board == "emulated" else 1)
    with project.used(project.of(tmp_path)):
        night = plan.load(plan.find("nightly"))
    assert [run.problems for run in night.runs] == [(), ()]
    assert {run.board for run in night.runs} == {board}
    for job in (".github/workflows/hil.yml", ".gitlab-ci.yml"):
        text = (tmp_path / job).read_text()
        assert yaml.safe_load(text)
        assert ("mmdebstrap" in text) == (board == "emulated")
    output = PytestProcess(tmp_path, *LOAD, "-p", "no:cacheprovider", "--collect-only", "-q").finish()
    assert f"{2 + len(pins)} tests collected" in output


def test_existing_files_are_extended_or_refused(init: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x' # mine")
    (tmp_path / ".gitignore").write_text("/reports/\n*.o")
    job = tmp_path / ".github" / "workflows" / "hil.yml"
    job.parent.mkdir(parents=True)
    job.write_text("mine")
    refused = init("--emulated")
    assert refused.exit_code == 2
    assert ".github/workflows/hil.yml" in refused.stderr
    assert len(files(tmp_path)) == 3, "nothing was written"
    done = init("--emulated", "--ci", "gitlab")
    assert done.exit_code == 0, done.output
    assert job.read_text() == "mine"
    text = (tmp_path / "pyproject.toml").read_text()
    assert text.startswith("[project]\nname = 'x' # mine\n")
    assert tomllib.loads(text)["tool"] == {"hil": {"board": "emulated"}}
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["/reports/", "*.o"]
    assert len(lines) == len(set(lines))
    again = init("second", "--emulated", "--ci", "none")
    assert again.exit_code == 2
    assert "[tool.hil]" in again.stderr


@pytest.mark.parametrize(
    ("url", "there", "written"),
    [
        ("git@github.com:team/tests.git", ".gitlab-ci.yml", {".github/workflows/hil.yml"}),
        ("https://me@gitlab.team.example/github/tests.git", "", {".gitlab-ci.yml"}),
        ("", ".gitlab-ci.yml", {".gitlab/hil.yml"}),
        ("/srv/tests.git", ".github/dependabot.yml", {".github/workflows/hil.yml"}),
        ("", "", {".github/workflows/hil.yml", ".gitlab-ci.yml"}),
    ],
)
def test_the_ci_job_is_that_of_the_repository(
    init: Callable[..., Result], tmp_path: Path, url: str, there: str, written: set[str]
) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True, cwd=tmp_path)
    if url:
        subprocess.run(["git", "remote", "add", "origin", url], check=True, cwd=tmp_path)
    if there:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).write_text("mine")
    done = init("--emulated")
    assert done.exit_code == 0, done.output
    assert {name for name in files(tmp_path) if name.endswith(".yml")} == written | ({there} - {""})
    assert ("include:" in done.stdout) == (".gitlab/hil.yml" in written)


@pytest.mark.parametrize(
    ("file", "text", "outside"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['tests']\n", True),
        ("pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['tests', 'suites/*']\n", False),
        ("pyproject.toml", "[tool.pytest]\ntestpaths = ['tests']\n", True),
        ("pyproject.toml", "[project]\nname = 'x'\n", False),
        ("pytest.ini", "[pytest]\ntestpaths = tests\n", True),
        ("pytest.ini", "[pytest]\ntestpaths = .\n", False),
        ("setup.cfg", "[tool:pytest]\ntestpaths = tests gone\n", True),
        ("tox.ini", "[pytest]\ntestpaths = gone\n", False),
    ],
)
def test_the_next_step_runs_the_example(
    init: Callable[..., Result], tmp_path: Path, file: str, text: str, outside: bool
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / file).write_text(text)
    done = init("--emulated", "--ci", "none")
    assert ("  pytest suites\n" in done.stdout, "testpaths" in done.stdout) == (outside, outside)
    assert "  pytest" in done.stdout
    assert ("pytest" in tomllib.loads((tmp_path / "pyproject.toml").read_text())["tool"]) == ("[tool.pytest" in text)


def test_alone_on_a_terminal_it_asks(
    init: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter(["n", "My Board", "mine", "", "netio:pdu.lab:3", "serial.lab:2001", "reference", "n"])
    monkeypatch.setattr("hil.cli.newboard.on_terminal", lambda: True)
    monkeypatch.setattr("hil.cli.newboard.click.prompt", lambda *_, **__: next(given))
    done = init("--ci", "none")
    assert done.exit_code == 0, done.output
    assert "'My Board'" in done.stderr
    assert "NetworkPowerPort" in (tmp_path / "boards" / "mine.yaml").read_text()


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
