"""The documentation's blocks: each has a kind, each command's options exist, code and data are well formed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import yaml
from doc_blocks import PAGES, ROOT, Block, Command, blocks, commands
from labgrid.remote.client import get_parser
from limits import HANG

import hil
from hil.cli import main
from hil.plugin import hookspecs, options

BLOCKS = blocks()
OTHERS = {"python", "tail", "export", "cp", "systemctl", "journalctl"}  # programs whose options are not checked here
SPAN = re.compile(r"`(hil(?: [a-z-]+){1,2}(?: [^`]*)?)`")


def check_hil(words: list[str]) -> None:
    """Check that the command exists and takes these options; its arguments may be placeholders.

    Without words, as a group of commands is mentioned, that is the group.
    """
    command: click.Command = main
    context = click.Context(main, info_name="hil")
    while words and isinstance(command, click.Group):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    command.make_parser(context).parse_args([word for word in words if word != "..."])


@pytest.fixture(scope="module")
def pytest_options() -> set[str]:
    help_ = subprocess.run([sys.executable, "-m", "pytest", "--help"], cwd=ROOT, capture_output=True, text=True)
    return set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", help_.stdout))


def parts(command: Command) -> list[list[str]]:
    """The simple commands of a line: those of a list, and one whose output is evaluated."""
    text = re.sub(r'^eval "\$\((.*)\)"', r"\1", command.text)
    words = Command(command.page, command.line, text, "").words
    found: list[list[str]] = [[]]
    for word in words:
        if word in ("&&", "|", "&"):
            found.append([])
        else:
            found[-1].append(word)
    return [one for one in found if one]


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.page}:{command.line}")
def test_each_command_and_its_options_exist(command: Command, pytest_options: set[str]) -> None:
    for program, *words in parts(command):
        if program == "hil":
            check_hil(words)
        elif program == "pytest":
            options = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert options <= pytest_options
            assert all((ROOT / word).exists() for word in words if word.startswith("suites"))
        elif program == "labgrid-client":
            with contextlib.redirect_stderr(sys.stdout):
                get_parser().parse_args(words)
        elif "/" in program and program != "./build":  # which `hil new-module` writes
            assert (ROOT / program).exists()
        else:
            assert program in OTHERS or ((program == "jq" and shutil.which("jq") is not None) or command.not_run), (
                program
            )
            assert all((ROOT / word).exists() for word in words if word.startswith("bench/"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_ours_within_the_text_exist(page: Path) -> None:
    for text in SPAN.findall(page.read_text("utf-8")):
        words = [word for word in text.replace("...", "").split()[1:] if not word.startswith("[")]
        with contextlib.suppress(click.MissingParameter, click.BadOptionUsage):  # a mention of a command, without all
            check_hil(words)


def python(text: str) -> None:
    """Compile it, and import what it imports."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            assert [one.name for one in node.names if not hasattr(module, one.name)] == []


def json_(text: str) -> None:
    assert json.loads(text)


def c(text: str) -> None:
    """Compile it, without the imports of WebAssembly."""
    header = ROOT / "wasm_samples" / "include"
    command = ["cc", "-fsyntax-only", "-Wall", "-Werror", "-Wno-attributes", f"-I{header}", "-xc", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr


KINDS: dict[str, Callable[[str], object]] = {
    "python": python,
    "toml": tomllib.loads,
    "yaml": yaml.safe_load,
    "json": json_,
    "c": c,
    "sql": lambda text: None,  # test_history_cli.py runs it
    "text": lambda text: None,
}


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language], ids=lambda block: f"{block.page}:{block.line}"
)
def test_what_is_no_command_is_well_formed(block: Block) -> None:
    KINDS[block.language](block.text)


LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", outside_of_blocks(page), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text) for text in found]
    return {re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-") for text in texts}


def outside_of_blocks(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(outside_of_blocks(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)
    assert broken == []


# the tables of the plugin


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of docs/writing-a-suite.md."""
    text = (ROOT / "docs" / "writing-a-suite.md").read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_each_fixture_is_in_the_table_with_its_type(request: pytest.FixtureRequest) -> None:
    definitions = request._fixturemanager._get_all_fixture_defs()  # as `pytest --fixtures`: there is no public function
    ours = {found.argname for found in definitions if found.func.__module__.startswith("hil.plugin")}
    public = {name for name in ours if not name.startswith("hil_")}
    assert "board" in public, "the plugin is loaded"
    table = {cells[0].strip("`"): cells[1].strip("`") for cells in rows("Fixtures")}
    assert table.keys() == public
    assert [
        type_ for type_ in table.values() if type_ not in ("function", "labgrid's") and type_ not in hil.__all__
    ] == []


def test_each_option_is_in_the_table(pytestconfig: pytest.Config) -> None:
    parser = pytest.Parser(_ispytest=True)
    options.add_options(parser, pytestconfig.pluginmanager)
    names = {name for option in parser.getgroup("hil").options for name in option.names()}
    table = {name for cells in rows("Options") for name in re.findall(r"--[a-z-]+", cells[0])}
    assert table == names


def test_each_hook_and_each_of_its_arguments_is_in_the_table() -> None:
    page = (ROOT / "docs" / "plugin-api.md").read_text("utf-8")
    table = {
        name: words.split()
        for name, words in re.findall(r"^\| `(pytest_hil_\w+)` \| [^|]* \| `([\w ]+)` \|$", page, re.M)
    }
    functions = {name: value for name, value in vars(hookspecs).items() if name.startswith("pytest_hil_")}
    assert table == {name: list(inspect.signature(value).parameters) for name, value in functions.items()}
    for name, function in functions.items():
        assert all(f":param {argument}:" in (function.__doc__ or "") for argument in table[name])
