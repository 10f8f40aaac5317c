"""`hil init`: what a repository needs to test with the framework."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from hil.cli import newboard
from hil.cli.common import out
from hil.cli.newboard import ask, board_options, check_name, drafted, write, yes
from hil.cli.repository import ci_systems, left_out, pytest_settings
from hil.errors import ConfigurationError
from hil.host import files, project
from hil.host.packages import debian_packages
from hil.host.project import FILE, TABLE

CI = {"github": (".github/workflows/hil.yml", "github.yml"), "gitlab": (".gitlab-ci.yml", "gitlab-ci.yml")}
INCLUDED = ".gitlab/hil.yml"  # where there is a .gitlab-ci.yml
IGNORED = ("/reports/", ".pytest_cache/", "__pycache__/", ".venv/")
PYTEST = """\
[tool.pytest.ini_options]
addopts = "-ra --strict-markers"
testpaths = ["suites"]

"""


@click.command()
@click.argument("board", required=False)
@click.option("--emulated", is_flag=True, help="A board under QEMU with the reference image; asks nothing.")
@click.option(
    "--ci",
    type=click.Choice(("auto", *CI, "both", "none")),
    default="auto",
    help="The CI jobs to write: .github/workflows/hil.yml, .gitlab-ci.yml (.gitlab/hil.yml where that exists); auto: "
    "those of the host of git's remotes, else of the system that has files here, else both.",
)
@board_options
def init(board: str | None, emulated: bool, ci: str, **options: Any) -> None:
    """Make the working directory a project: settings, the board BOARD, an example suite, bounds, a CI job, a plan.

    Existing files stay as they are: .gitignore and pyproject.toml are extended, any other is an error. On a terminal,
    ask for the board's name and missing options, as `hil board new` does.
    """
    root = Path.cwd()
    if emulated and any(value not in (None, ()) for value in options.values()):
        raise ConfigurationError("--emulated cannot be combined with options of a real board")
    if board is None and not emulated:
        if not newboard.on_terminal():
            raise ConfigurationError("no board is named", hint="hil init BOARD, or hil init --emulated")
        real = any(value not in (None, ()) for value in options.values())
        emulated = not real and ask("--emulated", "Is the board emulated, under QEMU? (y/n)", yes, "y")
        board = ask("BOARD", "The board's name", check_name, "emulated" if emulated else None)
    board = check_name(board or "emulated")
    settings = _settings(root, board)
    jobs = _jobs(root, ci)
    new = {
        f"boards/{board}.yaml": "board.yaml",
        f"boards/{board}.bounds.toml": "bounds.toml",
        "suites/example/test_example.py": "test_example.py.in",
        "plans/nightly.toml": "nightly.toml",
        **({"suites/example/test_pins.py": "test_pins.py.in"} if emulated else {}),
        **jobs,
    }
    if there := [name for name in new if (root / name).exists()]:
        raise ConfigurationError(
            f"{root} has {', '.join(there)}",
            hint="move them away, name another board, or leave the CI jobs out with --ci none",
        )
    texts = {name: _render(template, board=board, emulated=emulated) for name, template in new.items()}
    if not emulated:
        texts[f"boards/{board}.yaml"] = drafted(**options)
    _write(root, texts, settings)
    for name in (*texts, ".gitignore", FILE):
        out.print(f"written: {escape(name)}")
    if INCLUDED in texts:
        out.print(f"\nAdd to .gitlab-ci.yml: include: {{local: {INCLUDED}}}", markup=False)
    if outside := left_out(root, "suites/example"):
        out.print(f"\n{outside}: this leaves suites out, so name the directory.", markup=False)
    tests = "pytest suites" if outside else "pytest"
    out.print("\nNext:" + ("\n  hil doctor emulate build" if emulated else "") + f"\n  {tests}\n  hil nightly nightly")


def _jobs(root: Path, ci: str) -> dict[str, str]:
    """Return the files of the CI jobs, with the template of each."""
    names = {"none": [], "both": list(CI), "auto": ci_systems(root) or list(CI)}.get(ci, [ci])
    jobs = dict(CI[name] for name in names)
    if (root / ".gitlab-ci.yml").exists() and (template := jobs.pop(".gitlab-ci.yml", None)):
        jobs[INCLUDED] = template
    return jobs


def _settings(root: Path, board: str) -> bytes:
    """Return the new contents of the project's file. Raises `ConfigurationError` if it has our settings already."""
    path = root / FILE
    if project.of(root).file == path:
        raise ConfigurationError(f"{path} has a table {TABLE}: this is a project already", hint="see `hil board new`")
    table = f'{TABLE}\nboard = "{board}"\n'
    before = _read(path)
    if before.strip():
        table = f"\n{table}"
    elif not pytest_settings(root)[0]:  # another file would be ignored for this one
        table = PYTEST + table
    new = _extended(before, table)
    try:
        tomllib.loads(new.decode("utf-8-sig"))
    except ValueError as error:
        hint = f"correct {path}, or write the settings of a project into it by hand"
        raise ConfigurationError(f"{path}: a table {TABLE} cannot be added: {error}", hint=hint) from error
    return new


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _extended(before: bytes, lines: str) -> bytes:
    """Return `before` with `lines` after it, with its line ends."""
    end = b"\r\n" if b"\r\n" in before else b"\n"
    start = before if not before or before.endswith(b"\n") else before + end
    return start + lines.encode().replace(b"\n", end)


def _render(template: str, **facts: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("hil.cli"),
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(packages=" ".join(debian_packages("emulate", "build")), **facts)


def _write(root: Path, texts: dict[str, str], settings: bytes) -> None:
    """Write all files, the settings last; after an error none of `texts` stays."""
    ignored = _read(root / ".gitignore")
    more = [line for line in IGNORED if line.encode() not in ignored.split()]
    written: list[Path] = []
    try:
        for name, text in texts.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            if name.startswith("boards/") and name.endswith(".yaml"):
                write(path, text)  # checked as labgrid's environment
            else:
                files.write(path, text)
        if more:
            files.write(root / ".gitignore", _extended(ignored, "\n".join(more) + "\n"))
        files.write(root / FILE, settings)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
