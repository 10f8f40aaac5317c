"""Board files: `boards/NAME.yaml`, plain labgrid environments, checked more strictly than labgrid does."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

import attr
import yaml
from labgrid import Environment
from labgrid.exceptions import InvalidConfigError
from labgrid.factory import target_factory

from hil import labgrid as _ours  # noqa: F401  registers our drivers
from hil.errors import ConfigurationError

BOARDS_DIR = Path(__file__).resolve().parents[2] / "boards"
SECTIONS = ("targets", "imports", "options", "paths", "images", "tools", "features")
TARGET_KEYS = ("resources", "drivers", "features", "options")


def available(root: Path = BOARDS_DIR) -> list[str]:
    """The names of all boards in `root`, sorted."""
    return sorted(path.stem for path in root.glob("*.yaml"))


def find(name: str, root: Path = BOARDS_DIR) -> Path:
    """The file of the board `name`, which may also be a path. Raises `ConfigurationError` with near names."""
    if name.endswith((".yaml", ".yml")):
        if Path(name).is_file():
            return Path(name)
        raise ConfigurationError(f"there is no board file {name}", hint="check the path, or give a board's name")
    names = available(root)
    if name not in names:
        raise ConfigurationError(
            f"there is no board {name!r} in {root}",
            hint=_near(name, names) + f"the boards are: {', '.join(names) or 'none'}; `pytest --hil-boards` shows them",
        )
    return root / f"{name}.yaml"


def environment(path: Path) -> Environment:
    """The labgrid environment in `path`. Raises `ConfigurationError` naming file, line and key."""
    try:
        node = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"cannot read the board file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error
    try:
        env = Environment(str(path))  # first: its imports may register drivers
    except (InvalidConfigError, ImportError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if problems := list(_problems(path, node)):
        raise ConfigurationError("\n".join(problems), hint=f"correct {path}")
    return env


def _problems(path: Path, node: yaml.Node | None) -> Iterator[str]:
    for key, value in _items(node):
        if key.value not in SECTIONS:
            yield _unknown(path, key, "section", SECTIONS)
        elif key.value == "targets":
            if "main" not in (role.value for role, _ in _items(value)):
                yield f"{path}:{_row(key)}: targets has no target named 'main'"
            for _, target in _items(value):
                yield from _target_problems(path, target)


def _target_problems(path: Path, target: yaml.Node) -> Iterator[str]:
    for key, value in _items(target):
        if key.value not in TARGET_KEYS:
            yield _unknown(path, key, "key of a target", TARGET_KEYS)
        elif key.value in ("drivers", "resources"):
            known = getattr(target_factory, key.value)
            entries = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for entry in entries:
                for name, arguments in _items(entry):
                    if name.value == "cls":
                        continue
                    if name.value in known:
                        yield from _argument_problems(path, known[name.value], arguments)
                    elif not any(item.value == "cls" for item, _ in _items(entry)):
                        yield _unknown(path, name, key.value.rstrip("s"), known)


def _argument_problems(path: Path, cls: type, arguments: yaml.Node) -> Iterator[str]:
    known = {field.name for field in attr.fields(cls) if field.init} - {"target"} | {"bindings", "cls"}
    for key, _ in _items(arguments):
        if key.value not in known:
            yield _unknown(path, key, f"argument of {cls.__name__}", known)


def _items(node: yaml.Node | None) -> Iterable[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _row(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _unknown(path: Path, key: yaml.Node, what: str, known: Iterable[str]) -> str:
    names = sorted(known)
    listed = f"known: {', '.join(names)}" if len(names) <= 12 else ""
    return f"{path}:{_row(key)}: unknown {what} {key.value!r}; {_near(key.value, names)}{listed}".rstrip("; ")


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}? " if near else ""
