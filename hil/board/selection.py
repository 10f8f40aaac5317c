"""Board names, and the rule that selects the boards to test on. Cheap to import: every start of pytest does."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError
from hil.host import project
from hil.host.hints import did_you_mean
from hil.host.project import FILE, TABLE, Project

SUFFIXES = (".yaml", ".yml")
PLACES = ("place:", "+")  # prefixes of selectors of a lab's places


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


def of_project(of: Project) -> Selection:
    """Return the selection by the project's setting `board`; empty without it. A path is relative to its file."""
    name = str(of.root / os.path.expanduser(of.board)) if is_path(of.board) else of.board  # noqa: PTH111  never raises
    return Selection((name,), f"{TABLE} in {FILE}") if name else Selection()


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


def available() -> list[str]:
    """Return the names of all boards of the project and the package, sorted."""
    return list(project.current().names("boards", ".yaml"))


def find(name: str) -> Path:
    """Return the file of the board `name`, or `name` itself if it is a path. Raises `ConfigurationError`."""
    known = project.current().names("boards", ".yaml")
    if is_path(name):
        if os.path.isfile(name):  # noqa: PTH113  Path.is_file() raises for a name that is too long
            return Path(name)
        hint = f"check the path, or give a board's name; the boards are: {', '.join(known) or 'none'}"
        raise ConfigurationError(f"there is no board file {name}", hint=hint)
    if name not in known:
        raise ConfigurationError(
            f"there is no board {name!r} in {project.current().shown('boards')}",
            hint=f"{did_you_mean(name, known)}the boards are: {', '.join(known) or 'none'}; see `hil board list`",
        )
    return known[name]
