"""Board names, and the rule that selects the boards to test on. Cheap to import: every start of pytest does."""

from __future__ import annotations

import configparser
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean

BOARDS_DIR = Path(__file__).resolve().parents[2] / "boards"
SUFFIXES = (".yaml", ".yml")
PLACES = ("place:", "+")  # prefixes of selectors of a lab's places
INI_KEY = "hil_board"
INI_SECTIONS = {  # by file name, in pytest's order
    "pytest.toml": ("pytest",),
    ".pytest.toml": ("pytest",),
    "pytest.ini": ("pytest",),
    ".pytest.ini": ("pytest",),
    "pyproject.toml": ("tool", "pytest"),
    "tox.ini": ("pytest",),
    "setup.cfg": ("tool:pytest",),
}
ALWAYS_PYTEST = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini")  # with or without a section


@dataclass(frozen=True)
class Selection:
    """The boards to test on, by name, path, `place:NAME` or `+TAG=VALUE`, and the `source` of the selection."""

    names: tuple[str, ...] = ()
    source: str = ""


def select(boards: Sequence[str], lg_env: str | None, environ: Mapping[str, str] = os.environ) -> Selection:
    """Return the selection by `--board`, else `--lg-env`, else the variable LG_ENV; empty without any.

    The latter two are paths of labgrid environments.
    """
    if boards:
        return Selection(tuple(boards), "--board")
    for path, source in ((lg_env, "--lg-env"), (environ.get("LG_ENV"), "LG_ENV")):
        if path:
            return Selection((str(Path(path).absolute()),), source)
    return Selection()


def from_ini(name: str, file: Path | None) -> Selection:
    """Return the selection by `hil_board = name` in pytest's configuration `file`; empty for an empty name.

    A path is relative to that file.
    """
    if not name:
        return Selection()
    if file is None:
        return Selection((name,), INI_KEY)
    return Selection((str(file.parent / name) if is_path(name) else name,), f"{INI_KEY} in {file.name}")


def ini_selection(directory: Path) -> Selection:
    """Return the selection by the pytest configuration of `directory` or its nearest parent with one.

    Raises `ConfigurationError` for a file that cannot be read.
    """
    for parent in (directory, *directory.parents):
        for name in INI_SECTIONS:
            found = _ini_value(parent / name)
            if found is not None:
                return from_ini(found, parent / name)
    return Selection()


def _ini_value(path: Path) -> str | None:
    """Return `hil_board` in `path`, empty if not set; None for a file without a section of pytest."""
    if not path.is_file():
        return None
    sections = INI_SECTIONS[path.name]
    try:
        if path.suffix == ".toml":
            table = tomllib.loads(path.read_text("utf-8"))
            for section in sections:
                table = table.get(section, {})
            found = table.get("ini_options", table) or None
        else:
            ini = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
            ini.read_string(path.read_text("utf-8"))
            found = dict(ini[sections[0]]) if sections[0] in ini else None
    except (OSError, ValueError, AttributeError, configparser.Error) as error:
        raise ConfigurationError(
            f"cannot read pytest's configuration {path}: {error}", hint="correct it, or pass --board NAME"
        ) from error
    if found is None:
        return "" if path.name in ALWAYS_PYTEST else None
    return str(found.get(INI_KEY, ""))


def name_of(board: str | Path) -> str:
    """Return the name of a board given by name or by the path of its file.

    >>> name_of("boards/qemu-v1.2.yaml"), name_of("qemu-v1.2")
    ('qemu-v1.2', 'qemu-v1.2')
    """
    name = Path(board).name
    suffix = next((suffix for suffix in SUFFIXES if name.endswith(suffix) and name != suffix), "")
    return name.removesuffix(suffix)


def is_place(board: str) -> bool:
    """Return whether `board` selects a place of a lab: `place:NAME` or `+TAG=VALUE`."""
    return board.startswith(PLACES)


def is_path(board: str) -> bool:
    """Return whether `board` is the path of a board file, neither a board's name nor a place."""
    return not is_place(board) and ("/" in board or board.endswith(SUFFIXES))


def bounds_file(board: Path) -> Path:
    """Return the bounds file that belongs to the board file `board`."""
    return board.with_name(f"{name_of(board)}.bounds.toml")


def available(root: Path = BOARDS_DIR) -> list[str]:
    """Return the names of all boards in `root`, sorted."""
    return sorted(name_of(path) for path in root.glob("*.yaml"))


def find(name: str, root: Path = BOARDS_DIR) -> Path:
    """Return the file of the board `name`, or `name` itself if it is a path. Raises `ConfigurationError`."""
    names = available(root)
    if is_path(name):
        if os.path.isfile(name):  # noqa: PTH113  Path.is_file() raises for a name that is too long
            return Path(name)
        hint = f"check the path, or give a board's name; the boards are: {', '.join(names) or 'none'}"
        raise ConfigurationError(f"there is no board file {name}", hint=hint)
    if name not in names:
        raise ConfigurationError(
            f"there is no board {name!r} in {root}",
            hint=f"{did_you_mean(name, names)}the boards are: {', '.join(names) or 'none'}; see `hil board list`",
        )
    return root / f"{name}.yaml"
