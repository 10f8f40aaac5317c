"""The project: its settings, where names are looked for, and where results go; the same for pytest and `hil`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pytest_runs import LOAD, PytestProcess
from support import stub_board

from hil.board import selection
from hil.cli import main
from hil.errors import ConfigurationError
from hil.host import project
from hil.host.project import packaged
from hil.nightly import plan
from hil.wasm import Samples


def make(root: Path, settings: str) -> Path:
    """Make a project in `root` with these settings."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "pyproject.toml").write_text(f"[project]\nname = 'mine'\n\n[tool.hil]\n{settings}\n")
    return root


def test_settings_are_relative_to_their_file_wherever_one_stands(tmp_path: Path) -> None:
    inner = make(tmp_path / "a", "history = 'h.sqlite'\nnights = '../nights'\nboard = 'hw/b.yaml'") / "suites" / "deep"
    inner.mkdir(parents=True)
    found = project.of(inner)
    assert found.root == tmp_path / "a"
    assert found.path("history") == tmp_path / "a" / "h.sqlite"
    assert found.nights.resolve() == tmp_path / "nights"
    assert selection.of_project(found).names == (str(tmp_path / "a" / "hw" / "b.yaml"),)
    assert found.transcripts == tmp_path / "a" / "reports" / "transcripts"
    at_home = project.of(make(tmp_path / "c", "board = '~/b.yaml'"))
    assert selection.of_project(at_home).names == (str(Path.home() / "b.yaml"),)


def test_a_link_to_a_project_is_the_project(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(packaged("boards"))
    found = project.of(tmp_path / "link")
    assert found.root == packaged("boards").parent
    assert found.directories("boards") == (packaged("boards"),)


def test_the_nearest_file_with_the_table_counts_and_others_do_not(tmp_path: Path) -> None:
    inner = make(tmp_path, "") / "inner"
    inner.mkdir()
    (inner / "pyproject.toml").write_text("[tool.pytest.ini_options]\n# hil\n")
    assert project.of(inner).root == tmp_path
    other = make(tmp_path / "other", "")
    assert project.of(inner, other).root == tmp_path
    elsewhere = packaged("boards")
    assert project.of(Path("/"), otherwise=elsewhere) == project.Project(elsewhere)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("boord = 'x'", "boord"),
        ("board = 3", "board"),
        ("tracker = ''", "tracker"),
        ("tracker = 'tracker.example/{}'", "one {}"),
        ("boards = {x = 1}", "a directory or a list of directories"),
        ("nights = 3", "a path"),
        ("bounds = 'none.toml'", "none.toml"),
        ("images = 'nowhere'", "nowhere"),
        ("boards = []", "boards"),
        ("boards = ['boards', 7]", "7"),
        ("nights = '~nobody-of-this-name/x'", "nights"),
        (f"suites = '{'x' * 5000}'", "suites"),
        (f"bounds = '{'x' * 5000}'", "bounds"),
        ("history = 'boards'", "history"),
        ("transcripts = 'pyproject.toml'", "transcripts"),
        ("[tool.hil", "not valid TOML"),
    ],
)
def test_a_wrong_setting_names_its_file_and_key(tmp_path: Path, settings: str, named: str) -> None:
    (make(tmp_path, settings) / "boards").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        project.of(tmp_path)
    assert str(tmp_path / "pyproject.toml") in caught.value.message
    assert named in caught.value.message


def test_all_wrong_settings_are_named_at_once_by_pytest_and_hil(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "boord = 'x'\nhistory = 1")
    process = PytestProcess(tmp_path, *LOAD, "-p", "no:cacheprovider")
    output = process.finish()
    assert process.returncode == pytest.ExitCode.USAGE_ERROR
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["board", "list"])
    assert done.exit_code == 2
    for text in (output, done.stderr.replace("\n", "")):
        assert "boord" in text
        assert "'board'" in text
        assert "history" in text


def test_help_and_completion_need_no_right_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path, "boord = 'x'"))
    for words in (["board", "list", "--help"], ["completion", "bash"]):
        assert CliRunner().invoke(main, words).exit_code == 0


def test_a_tool_hil_that_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool]\nhil = 3\n")
    with pytest.raises(ConfigurationError, match="no table"):
        project.of(tmp_path)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, as working directory, with a board and an image that have names of the package's, and own ones."""
    make(tmp_path, "boards = ['hw/boards', 'boards']\nsamples = 'modules'")
    for name in ("hw/boards", "boards", "images", "modules"):
        (tmp_path / name).mkdir(parents=True)
    stub = stub_board(tmp_path).read_text()
    for file in ("hw/boards/qemu-reference.yaml", "boards/qemu-reference.yaml", "boards/own.yaml"):
        (tmp_path / file).write_text(stub)
    (tmp_path / "images" / "reference.toml").write_text((packaged("images") / "reference.toml").read_text())
    (tmp_path / "modules" / "hello.wasm").write_bytes(b"\0asm\1\0\0\0")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_projects_own_names_win_and_the_lists_say_so(mine: Path) -> None:
    rows = {row["name"]: row for row in json.loads(CliRunner().invoke(main, ["board", "list", "--json"]).stdout)}
    assert rows["qemu-reference"]["file"] == str(mine / "hw/boards/qemu-reference.yaml")
    assert "project" in rows["qemu-reference"]["from"]
    assert "package" in rows["qemu-reference"]["from"], "it hides that of the package"
    assert rows["own"]["from"] == "project"
    assert rows["qemu-uboot"]["from"] == "package"
    images = {row["name"]: row for row in json.loads(CliRunner().invoke(main, ["image", "list", "--json"]).stdout)}
    assert images["reference"]["from"].startswith("project")
    assert images["plain-linux"]["from"] == "package"


def test_the_locks_of_editors_are_no_boards(mine: Path) -> None:
    (mine / "boards" / ".#own.yaml").symlink_to("user@host.1")
    (mine / "boards" / "gone.yaml").symlink_to("nowhere")
    (mine / "boards" / "directory.yaml").mkdir()
    done = CliRunner().invoke(main, ["board", "list", "--json"])
    assert {"own", "qemu-reference"} == {row["name"] for row in json.loads(done.stdout) if "project" in row["from"]}


def test_a_name_that_is_nowhere_is_an_error_with_all_places(mine: Path) -> None:
    with project.used(project.of(mine)), pytest.raises(ConfigurationError) as caught:
        selection.find("onw")
    for directory in (mine / "hw/boards", mine / "boards", packaged("boards")):
        assert str(directory) in caught.value.message
    assert f"nor in the package ({packaged('boards')})" in caught.value.message
    assert "'own'" in (caught.value.hint or "")


def test_a_board_file_of_a_plan_counts_from_the_plan_or_the_project(
    mine: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (mine / "plans").mkdir()
    boards = "'../hw/boards/qemu-reference.yaml', 'boards/own.yaml', 'elsewhere.yaml'"
    (mine / "plans" / "n.toml").write_text(f"limit = 5\n[[job]]\nname = 'a'\nsuites = ['smoke']\nboards = [{boards}]\n")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "elsewhere.yaml").write_text((mine / "boards" / "own.yaml").read_text())
    monkeypatch.chdir(elsewhere)
    with project.used(project.of(mine)):
        runs = plan.load(mine / "plans" / "n.toml").runs
    assert [bool(run.problems) for run in runs] == [False, False, True]
    assert f"--board={mine / 'boards' / 'own.yaml'}" in runs[1].arguments


def test_hil_bounds_takes_board_and_bounds_of_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path, "board = 'b.yaml'\nbounds = 'all.toml'"))
    monkeypatch.delenv("LG_ENV", raising=False)
    (tmp_path / "b.yaml").write_text(stub_board(tmp_path).read_text())
    rows = '[[bound]]\nquantity = "{}"\nsubject = "hello.wasm"\nfigure = "p50"\nlimit = "1 s"\nreason = "r"\n'
    (tmp_path / "all.toml").write_text(rows.format("response time"))
    listed = CliRunner().invoke(main, ["bounds", "list", "--json"])
    assert [row["quantity"] for row in json.loads(listed.stdout)] == ["response time"]
    (tmp_path / "pyproject.toml").write_text("[tool.hil]\nboard = 'b.yaml'\n")
    (tmp_path / "b.bounds.toml").write_text(rows.format("execution time"))
    listed = CliRunner().invoke(main, ["bounds", "list", "--json"])
    assert [row["quantity"] for row in json.loads(listed.stdout)] == ["execution time"]


def test_an_own_module_is_no_typo_in_bounds(mine: Path) -> None:
    (mine / "modules" / "hullo.wasm").write_bytes(b"")
    bounds = mine / "b.toml"
    row = '[[bound]]\nquantity = "response time"\nsubject = "{}"\nfigure = "p50"\nlimit = "1 s"\nreason = "r"\n'
    bounds.write_text(row.format("hullo.wasm") + row.format("hallo.wasm"))
    done = CliRunner().invoke(main, ["bounds", "check", "own", "--bounds", str(bounds), "--json"])
    assert [found["subject"] for found in json.loads(done.stdout)] == ["hallo.wasm"], done.output


def test_an_own_module_hides_a_sample(mine: Path) -> None:
    samples = Samples(own=project.of(mine).own("samples"))
    assert len(samples("hello.wasm").data) == len(samples("hello").data) == 8
    assert len(samples("exit.wasm").data) > 8
    for wrong in ("helo.wasm", "x" * 5000):
        with pytest.raises(ConfigurationError, match=wrong):
            samples(wrong)


def test_pytest_uses_the_settings_and_writes_below_the_project(tmp_path: Path) -> None:
    make(tmp_path, "board = 'b.yaml'\ntranscripts = 'out/t'\nhistory = 'out/h.sqlite'")
    (tmp_path / "b.yaml").write_text(stub_board(tmp_path).read_text())
    suite = tmp_path / "suite"
    suite.mkdir()
    (suite / "test_x.py").write_text("def test_x(hil_session_board): pass\n")
    process = PytestProcess(suite, *LOAD, "-p", "no:cacheprovider", "test_x.py")
    output = process.finish()
    assert process.returncode == 0, output
    assert "b.yaml, chosen by [tool.hil] in pyproject.toml" in output
    assert (tmp_path / "out" / "h.sqlite").exists()
    assert list((tmp_path / "out" / "t").glob("*/journal.jsonl"))
    assert not (suite / "reports").exists()
    assert not (tmp_path / "reports").exists()


def test_the_settings_beside_a_given_configuration_file_count(tmp_path: Path) -> None:
    mine = make(tmp_path / "mine", "board = 'b.yaml'")
    (mine / "b.yaml").write_text(stub_board(mine).read_text())
    suite = make(tmp_path / "other", "board = 'nowhere.yaml'")
    (suite / "test_x.py").write_text("def test_x(hil_session_board): pass\n")
    process = PytestProcess(suite, *LOAD, "-p", "no:cacheprovider", "-c", str(mine / "pyproject.toml"), "--rootdir=.")
    output = process.finish()
    assert process.returncode == 0, output
    assert str(mine / "b.yaml") in output


def test_a_board_file_may_name_its_image(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(
        (packaged("boards") / "qemu-reference.yaml").read_text().replace("../images/reference.toml", "reference")
    )
    done = CliRunner().invoke(main, ["snapshot", "list"])
    assert done.exit_code == 0
    from hil.board.board import Board

    with Board(str(tmp_path / "b.yaml")) as board:
        assert board.manifest.path == packaged("images") / "reference.toml"
