"""The rule that selects the boards to test on, the same for pytest and `hil`; names with dots."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from pytest_runs import LOAD, PytestProcess
from support import stub_board

from hil.board.selection import Selection, bounds_file, find, name_of, of_project, select
from hil.cli import main
from hil.errors import ConfigurationError
from hil.host import project
from hil.plugin.selection import BoardSelection


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    """A directory with the board files `a.yaml`, `qemu-v1.2.yaml` and `c.yaml`, and a project that names the last."""
    stub = stub_board(tmp_path)
    for name in ("a.yaml", "qemu-v1.2.yaml", "c.yaml"):
        (tmp_path / name).write_text(stub.read_text())
    (tmp_path / "pyproject.toml").write_text("[tool.hil]\nboard = 'c.yaml'\n")
    (tmp_path / "test_x.py").write_text("def test_x(hil_session_board): print('on', hil_session_board)\n")
    return tmp_path


# options, LG_ENV, the board, its source
RULE = [
    (("--board", "a.yaml", "--lg-env", "qemu-v1.2.yaml"), "c.yaml", "a", "--board"),
    (("--lg-env", "qemu-v1.2.yaml"), "a.yaml", "qemu-v1.2", "--lg-env"),
    ((), "qemu-v1.2.yaml", "qemu-v1.2", "LG_ENV"),
    ((), "", "c", "[tool.hil] in pyproject.toml"),
]


@pytest.mark.parametrize(("options", "lg_env", "board", "source"), RULE)
def test_pytest_and_hil_select_the_same_board(
    bench: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], lg_env: str, board: str, source: str
) -> None:
    process = PytestProcess(bench, *LOAD, "-rP", "-p", "no:cacheprovider", *options, env={"LG_ENV": lg_env or None})
    output = process.finish()
    assert process.returncode == 0, output
    (header,) = (line for line in output.splitlines() if line.startswith("hil: "))
    assert f"{board}.yaml" in header
    assert header.endswith(f"chosen by {source}")
    assert f"test_x[{board}]" in output

    monkeypatch.chdir(bench)
    monkeypatch.setenv("LG_ENV", lg_env)
    result = CliRunner().invoke(main, ["board", "boot", "--image", "nowhere.toml", *options])
    assert result.exit_code == 2
    chosen = [line for line in result.stderr.splitlines() if "chosen by" in line]
    if source == "--board":
        assert not chosen, "what is named on the command line need not be repeated"
    else:
        assert f"{board}.yaml" in chosen[0]
        assert chosen[0].endswith(f"chosen by {source}")


def test_nothing_selects_no_board_and_an_empty_variable_is_none() -> None:
    assert select([], None, {}) == select([], None, {"LG_ENV": ""}) == Selection()


@pytest.mark.parametrize(
    ("board", "name"),
    [
        ("qemu-v1.2", "qemu-v1.2"),
        ("dir.d/qemu-v1.2.yaml", "qemu-v1.2"),
        ("qemu-v1.2.yml", "qemu-v1.2"),
        ("/etc/bench.v3", "bench.v3"),
        (".yaml", ".yaml"),
        ("", ""),
    ],
)
def test_the_name_of_a_board_keeps_its_dots(board: str, name: str) -> None:
    assert name_of(board) == str(BoardSelection(board)).replace("no-board", "") == name


@pytest.mark.parametrize("place", ["+board=bench/tx2.yaml", "place:lab/tx2"])
def test_a_place_with_a_slash_is_no_path(tmp_path: Path, place: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[tool.hil]\nboard = {place!r}\n")
    assert of_project(project.of(tmp_path)).names == (place,)


def test_files_of_boards_with_dots(bench: Path) -> None:
    assert bounds_file(bench / "qemu-v1.2.yaml").name == "qemu-v1.2.bounds.toml"
    with project.used(project.Project(bench, searched={"boards": (bench,)})):
        assert find("qemu-v1.2") == bench / "qemu-v1.2.yaml"
        with pytest.raises(ConfigurationError, match="'qemu-v1'"):
            find("qemu-v1")


@pytest.mark.parametrize(
    "content", ["", "targets: [", "imports: [./broken.py]\ntargets: {main: {drivers: {HilStrategy: {}}}}"]
)
@pytest.mark.parametrize("options", [(), ("--board", "a.yaml")])
def test_a_broken_labgrid_environment_is_a_usage_error(bench: Path, content: str, options: tuple[str, ...]) -> None:
    (bench / "broken.yaml").write_text(content)
    (bench / "broken.py").write_text("raise RuntimeError('as it is')")
    process = PytestProcess(bench, *LOAD, *options, env={"LG_ENV": "broken.yaml"})
    output = process.finish()
    assert process.returncode == pytest.ExitCode.USAGE_ERROR, output
    assert "broken.yaml" in output
    assert "Traceback" not in output


def test_an_environment_with_drivers_of_its_own_is_loaded_by_labgrid_and_by_us(bench: Path) -> None:
    (bench / "own.py").write_text(
        "from labgrid.factory import target_factory\nfrom labgrid.driver import Driver\nimport attr\n"
        "@target_factory.reg_driver\n@attr.s(eq=False)\nclass OwnDriver(Driver):\n    pass\n"
    )
    board = bench / "a.yaml"
    board.write_text(board.read_text().replace("imports: [hil.labgrid]", "imports: [hil.labgrid, ./own.py]"))
    assert "own.py" in board.read_text()
    (bench / "test_x.py").write_text(
        "from hil.board import boardfile\nfrom hil.board.selection import find\n"
        "def test_x(hil_session_board): boardfile.environment(find(hil_session_board.name))\n"
    )
    process = PytestProcess(bench, *LOAD, env={"LG_ENV": "a.yaml"})
    output = process.finish()
    assert process.returncode == 0, output


def test_an_empty_choice_is_no_choice_of_the_default(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench)
    done = CliRunner().invoke(main, ["board", "boot", "--board", ""])
    assert done.exit_code == 2
    assert "board ''" in done.stderr


@pytest.mark.parametrize("place", ["place:one", "+lab=box"])
def test_a_place_has_no_bounds(place: str) -> None:
    done = CliRunner().invoke(main, ["bounds", "check", place])
    assert done.exit_code == 2
    assert f"{place} is a place" in done.stderr


def test_the_list_of_boards_names_the_one_used_without_an_option(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench)
    monkeypatch.delenv("LG_ENV", raising=False)
    listed = CliRunner().invoke(main, ["board", "list"])
    assert listed.exit_code == 0
    assert "qemu-reference" in listed.output
    assert "c.yaml (by [tool.hil] in pyproject.toml)" in listed.output.replace("\n", "")
