"""`hil new-module`: the source of a module in one of the languages, a script that builds it, and its test."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
from rich.markup import escape

from hil.cli import candidates
from hil.cli.common import out
from hil.errors import ConfigurationError
from hil.host import files, project
from hil.wasm import catalogue

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
TEMPLATE = "module"  # the name of the template of a source, before its extension
NOT_COPIED = (
    f"{TEMPLATE}.wasm",
    "build-engine",
    "engine.c",
    "engine.txt",
)  # results; sources of the engine of JavaScript
TEST = Path(__file__).parent / "templates" / "test_module.py.in"


@click.command("new-module")
@click.argument("name")
@click.option("--language", type=click.Choice(catalogue.languages()), default="c", help="The language of the module.")
@click.option(
    "--into",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=".",
    shell_complete=candidates.directories,
    help="The directory for the files; it is made if it does not exist.",
)
def new_module(name: str, language: str, into: Path) -> None:
    """Begin the module NAME: write its source, a script `build` and the test test_NAME.py.

    The script names the packages of a missing toolchain. It builds each source of the language in its directory, so a
    second module in the same language uses the same script. No existing file is overwritten.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"{name!r} is not a module's name", hint=f"Choose one that matches {NAME.pattern}.")
    contents = _contents(name, language)
    if taken := [file for file in (*contents, f"{name}.wasm") if _is_taken(into / file, contents.get(file))]:
        raise ConfigurationError(
            f"{into.absolute()} has {', '.join(taken)}",
            hint="Choose another name, or another directory with --into; each language needs a directory of its own.",
        )
    _write(into, contents)
    for file in contents:
        out.print(f"written: {escape(str(into / file))}")
    board = "" if project.of(into).board else " --board qemu-reference"
    script, test = (shlex.quote(str(into / file)) for file in ("build", f"test_{name}.py"))
    script = script if "/" in script else f"./{script}"
    out.print(f"\nNext:\n  {script}\n  pytest {test}{board}", markup=False, highlight=False)


def _contents(name: str, language: str) -> dict[str, bytes]:
    """Return the contents of the files of the module `name` by path: the files of its language, and the test."""
    directory = catalogue.SAMPLES_DIR / catalogue.LANGUAGES / language
    contents = {
        str(path.relative_to(directory)).replace(f"{TEMPLATE}.", f"{name}."): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name not in NOT_COPIED
    }
    test = TEST.read_text("utf-8").replace("<< name >>", name)
    return contents | {f"test_{name}.py": test.encode()}


def _is_taken(path: Path, content: bytes | None) -> bool:
    """Return whether the path exists with another content."""
    try:
        return path.read_bytes() != content
    except FileNotFoundError:
        return path.is_symlink()  # to nothing
    except (NotADirectoryError, IsADirectoryError):
        return True


def _write(into: Path, contents: dict[str, bytes]) -> None:
    """Write the files; after an error none of the new ones stays."""
    written: list[Path] = []
    try:
        for name, content in contents.items():
            path = into / name
            if path.exists():
                continue  # the same content, of an earlier module
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            files.write(path, content)
            if name == "build":
                path.chmod(path.stat().st_mode | 0o111)
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ConfigurationError(
                f"cannot write {error.filename}: {error.strerror}", hint="Choose another directory with --into."
            ) from error
        raise
