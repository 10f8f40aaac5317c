"""The project whose tests run: its directory, its settings, and the directories where names are looked for.

A project is a directory with a `pyproject.toml` that has a table `[tool.hil]`. What a project does not have is looked
for in the package.
"""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean

FILE = "pyproject.toml"
TABLE = "[tool.hil]"
SEARCHED = {"boards": "boards", "images": "images", "samples": "wasm_samples", "suites": "suites", "plans": "plans"}
"""The kinds of things that have names, with the directory in which a project keeps them by default."""

PATHS = ("baselines", "bounds", "history", "nights", "transcripts")
PACKAGED = {"plans": "suites"}  # where the package keeps a kind, if not in the directory of its default


@dataclass(frozen=True)
class Project:
    """A project: its directory `root`, the file with its settings (None without settings), and the settings.

    `board` is the board to test on without --board, as written, `tracker` the URL of an issue with {} for its number.
    `paths` and `searched` are absolute, by the setting's name.
    """

    root: Path
    file: Path | None = None
    board: str = ""
    tracker: str = ""
    paths: Mapping[str, Path] = field(default_factory=dict)
    searched: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    def path(self, setting: str) -> Path | None:
        """Return the path that `setting`, one of `PATHS`, names; None if it is not set."""
        return self.paths.get(setting)

    @property
    def reports(self) -> Path:
        """The directory for results and reports."""
        return self.root / "reports"

    @property
    def nights(self) -> Path:
        """The directory of nights."""
        return self.path("nights") or self.reports / "nights"

    @property
    def transcripts(self) -> Path:
        """The directory for the transcripts of test runs."""
        return self.path("transcripts") or self.reports / "transcripts"

    def own(self, kind: str) -> tuple[Path, ...]:
        """Return the project's own directories of `kind`, one of `SEARCHED`."""
        return self.searched.get(kind, (self.root / SEARCHED[kind],))

    def directories(self, kind: str) -> tuple[Path, ...]:
        """Return the directories in which a name of `kind` is looked for: the project's own, then the package's."""
        own = self.own(kind)
        inside = packaged(PACKAGED.get(kind, SEARCHED[kind]))
        return own if inside in own else (*own, inside)

    def shown(self, kind: str) -> str:
        """Return the directories of `kind` for an error message."""
        own = self.own(kind)
        others = [f"nor in the package ({path})" for path in self.directories(kind) if path not in own]
        return ", ".join((*map(str, own), *others))

    def names(self, kind: str, suffix: str) -> dict[str, Path]:
        """Return the files NAME`suffix` of `kind` by name, sorted; the first directory that has a name wins.

        Hidden files are left out: editors keep locks and backups in them.
        """
        found = {
            path.name.removesuffix(suffix): path
            for directory in reversed(self.directories(kind))
            for path in directory.glob(f"[!.]*{suffix}")
            if path.is_file()
        }
        return dict(sorted(found.items()))

    def hidden(self, kind: str, path: Path) -> list[Path]:
        """Return the files of the same name as `path` in the directories after its own."""
        others = [directory / path.name for directory in self.directories(kind)]
        return [other for other in others[others.index(path) + 1 :] if other.is_file()] if path in others else []

    def origin(self, kind: str, path: Path) -> str:
        """Return where a file of `kind` comes from: `project`, `package`, or its directory."""
        if path.parent in self.own(kind):
            return "project"
        return "package" if path.parent == self.directories(kind)[-1] else str(path.parent)


def packaged(name: str) -> Path:
    """Return the directory `name` of the package's own data: in a checkout one of its top level.

    Its names are `boards`, `images`, `wasm_samples`, `suites` and `reports`.
    """
    inside = Path(str(files("hil"))).resolve() / "data" / name
    return inside if inside.is_dir() else inside.parents[2] / name


def checkout() -> Path | None:
    """Return the checkout that the framework runs from; None if it is installed from a wheel."""
    root = Path(str(files("hil"))).parent
    return None if (root / "hil" / "data").is_dir() else root


_current: Project | None = None


def current() -> Project:
    """Return the project in use: pytest's, else that of the working directory. Raises `ConfigurationError`."""
    return _current or of(Path.cwd())


def use(project: Project | None) -> Project | None:
    """Make `project` the current one, None for that of the working directory; return the one in use before."""
    global _current
    _current, before = project, _current
    return before


@contextmanager
def used(project: Project) -> Iterator[None]:
    """Make `project` the current one for the block."""
    before = use(project)
    try:
        yield
    finally:
        use(before)


def of(*directories: Path, otherwise: Path | None = None) -> Project:
    """Return the project that one of `directories`, or the nearest parent of it, holds; the first one counts.

    Without one, return the directory `otherwise`, by default the last one, without settings. Raises
    `ConfigurationError` for a wrong setting.
    """
    for directory in (each.resolve() for each in directories):  # as the working directory, which has no links
        for parent in (directory, *directory.parents):
            if (table := _table(parent / FILE)) is not None:
                return _project(parent, table)
    return Project(otherwise or directories[-1])


def _table(path: Path) -> dict[str, Any] | None:
    """Return the table `[tool.hil]` of the file; None without one."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}", hint="correct its permissions or its text") from error
    if "hil" not in text:
        return None
    try:
        table = _loaded(text).get("tool", {}).get("hil")
    except (tomllib.TOMLDecodeError, AttributeError) as error:
        raise ConfigurationError(f"{path}: not valid TOML: {error}", hint=f"correct {path}") from error
    if table is not None and not isinstance(table, dict):
        raise ConfigurationError(f"{path}: tool.hil is no table", hint=f"write the settings below {TABLE}")
    return table


@functools.lru_cache(maxsize=16)
def _loaded(text: str) -> dict[str, Any]:
    """Return the tables of `text`, which is read again for each use of a project's settings."""
    return tomllib.loads(text)


def _project(root: Path, table: dict[str, Any]) -> Project:
    file = root / FILE
    known = sorted(("board", "tracker", *PATHS, *SEARCHED))
    problems = [
        f"{file}: {TABLE} {key}: unknown key; {did_you_mean(key, known)}known keys: {', '.join(known)}"
        for key in table
        if key not in known
    ]
    project = Project(root, file)

    def take(key: str, convert: Callable[[Any], Any]) -> Any:
        try:
            return convert(table[key])
        except (ValueError, OSError, RuntimeError) as error:  # also of a name that is too long, or an unknown ~user
            problems.append(f"{file}: {TABLE} {key}: {error}")
            return None

    texts = {key: take(key, convert) for key, convert in (("board", _text), ("tracker", _tracker)) if key in table}
    paths = {
        key: take(key, lambda value: root / Path(_text(value, "a path")).expanduser()) for key in PATHS if key in table
    }
    for key, path in paths.items():
        if path is not None and (wrong := _wrong_kind(key, path)):
            problems.append(f"{file}: {TABLE} {key}: {wrong}")
    searched = {key: take(key, lambda value: _directories(root, value)) for key in SEARCHED if key in table}
    if problems:
        raise ConfigurationError("\n".join(problems), hint=f"correct {file}")
    return replace(project, **texts, paths=paths, searched=searched)


def _wrong_kind(key: str, path: Path) -> str:
    """Return why the path of the setting `key` cannot be used; empty if it can, or if it will be made."""
    is_file, is_directory = os.path.isfile(path), os.path.isdir(path)  # noqa: PTH112, PTH113  a name may be too long
    if key == "bounds":
        return "" if is_file else f"there is no file {path}"
    if key == "history":
        return f"{path} is a directory; name a file" if is_directory else ""
    return f"{path} is a file; name a directory" if is_file else ""


def _text(value: Any, wanted: str = "a text") -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{value!r}: give {wanted}")
    return value


def _tracker(value: Any) -> str:
    text = _text(value, "a URL")
    if not text.startswith(("http://", "https://")) or text.count("{}") != 1:
        raise ValueError(f"{text}: give a URL of http or https with one {{}} for the number, https://HOST/issues/{{}}")
    return text


def _directories(root: Path, value: Any) -> tuple[Path, ...]:
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ValueError("the list is empty; leave the key out for the default")
    found = tuple(root / Path(_text(each, "a directory or a list of directories")).expanduser() for each in values)
    for path in found:
        if not path.is_dir():
            raise ValueError(f"there is no directory {path}")
    return found
