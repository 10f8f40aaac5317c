"""Board files: `boards/NAME.yaml`, plain labgrid environments, checked more strictly than labgrid does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attr
import yaml
from labgrid import Environment
from labgrid.config import Config
from labgrid.factory import target_factory

from hil.board import analyser, can_resource, qemu_driver, replay, serial_driver, strategy  # noqa: F401  registers the drivers
from hil.board.seam import described
from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean

SECTIONS = ("targets", "imports", "options", "paths", "images", "tools", "features")
LISTS = ("imports", "features")  # the other sections are mappings
TARGET_KEYS = ("resources", "drivers", "features", "options")


def environment(path: Path) -> Environment:
    """Return the labgrid environment in `path`. Raises `ConfigurationError` with file, line and key."""
    node = _composed(path)
    _refuse(path, _shape_problems(path, node))
    try:
        forget_classes(path)
        env = Environment(str(path))  # its imports may register drivers
    except Exception as error:  # its imports may raise anything
        raise ConfigurationError(
            f"{path}: {described(error)}", hint=f"correct {path} or the modules that it imports"
        ) from error
    _refuse(path, _class_problems(path, node))
    return env


def forget_classes(path: Path) -> None:
    """Unregister the drivers and resources of the Python files that the environment in `path` imports.

    labgrid runs these files for each `Environment` and refuses to register a class twice.
    """
    files = [Path(name) for name in Config(str(path)).get_imports() if name.endswith(".py")]
    modules = {file.stem for file in files}
    for registry in (target_factory.drivers, target_factory.resources, target_factory.all_classes):
        for name in [name for name, cls in registry.items() if cls.__module__ in modules]:
            del registry[name]


def remote_place(env: Environment) -> str | None:
    """Return the name of the place in the target `main`; None if it names none."""
    name = next((place.get("name") for place in _remote_places(env)), None)
    return None if name is None else str(name)


def put_place(env: Environment, name: str) -> None:
    """Set the place of the target `main` to `name`."""
    found = list(_remote_places(env))
    for place in found:
        place["name"] = name
    if not found:
        target = env.config.data["targets"]["main"]
        resources = target.setdefault("resources", {})
        if isinstance(resources, list):
            resources.append({"RemotePlace": {"name": name}})
        else:
            resources["RemotePlace"] = {"name": name}


def _remote_places(env: Environment) -> Iterator[dict[str, Any]]:
    resources = env.config.data["targets"]["main"].get("resources") or {}
    for entry in resources if isinstance(resources, list) else [resources]:
        if entry.get("cls") == "RemotePlace":
            yield entry
        elif "RemotePlace" in entry:
            yield entry["RemotePlace"]


def emulated(path: Path) -> bool:
    """Return whether the board in `path` is a machine under QEMU, from its text alone. Raises as `environment`."""
    return any(name.value == "HilQemuDriver" for name, _ in _entries_of_main(path))


def image_key(path: Path) -> str | None:
    """Return the key among `images:` of the image of the target `main`; None if the file names no `HilStrategy`."""
    for name, arguments in _entries_of_main(path):
        if name.value == "HilStrategy":
            return next((str(value.value) for key, value in _items(arguments) if key.value == "image"), "main")
    return None


def row(path: Path, cls: str) -> int:
    """Return the line of the board file on which the target `main` has a driver of the class `cls`; 1 without one."""
    return next((_row(name) for name, argument in _entries_of_main(path) if cls in (name.value, argument.value)), 1)


def _entries_of_main(path: Path) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield name and arguments of each driver and resource of the target `main`."""
    for role, _, _, name, arguments in _declarations(_composed(path)):
        if role == "main":
            yield name, arguments


def _composed(path: Path) -> yaml.Node | None:
    try:
        return yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigurationError(f"cannot read the board file {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: not valid YAML: {error}") from error


def _refuse(path: Path, problems: Iterable[str]) -> None:
    if text := "\n".join(problems):
        raise ConfigurationError(text, hint=f"correct {path}")


def _shape_problems(path: Path, node: yaml.Node | None) -> Iterator[str]:
    """Yield unknown keys, a missing target, and values that are not mappings where labgrid requires one."""
    if not isinstance(node, yaml.MappingNode):
        yield f"{path}: it is empty, or not a mapping of sections ({', '.join(SECTIONS)})"
        return
    for key, value in node.value:
        if key.value not in SECTIONS:
            yield _unknown(path, key, "section", SECTIONS)
        elif not isinstance(value, yaml.SequenceNode if key.value in LISTS else yaml.MappingNode):
            yield f"{path}:{_row(key)}: {key.value} is not a {'list' if key.value in LISTS else 'mapping'}"
    targets = {role.value: (role, target) for role, target in _section(node, "targets")}
    if "main" not in targets:
        where = next((f":{_row(key)}" for key, _ in node.value if key.value == "targets"), "")
        yield f"{path}{where}: targets has no target named 'main'"
    for role, target in targets.values():
        if not _items(target):
            yield f"{path}:{_row(role)}: target {role.value!r} has neither drivers nor resources"
        for key, value in _items(target):
            if key.value not in TARGET_KEYS:
                yield _unknown(path, key, "key of a target", TARGET_KEYS)
            for entry in _entries(key, value):
                if not isinstance(entry, yaml.MappingNode):
                    yield f"{path}:{_row(entry)}: this entry of {key.value} is not `CLASS: {{ARGUMENTS}}`"
                for name, arguments in () if _names_class(entry) else _items(entry):
                    if not isinstance(arguments, yaml.MappingNode):
                        yield f"{path}:{_row(name)}: {name.value} takes a mapping of arguments, {{}} for none"


def _class_problems(path: Path, node: yaml.Node | None) -> Iterator[str]:
    """Yield unknown drivers and resources, and unknown arguments."""
    for _, kind, entry, name, arguments in _declarations(node):
        known = getattr(target_factory, kind)
        if name.value in known:
            yield from _argument_problems(path, known[name.value], arguments)
        elif not _names_class(entry):
            yield _unknown(path, name, kind.rstrip("s"), known)


def _declarations(node: yaml.Node | None) -> Iterator[tuple[str, str, yaml.Node, yaml.Node, yaml.Node]]:
    """Yield each key of each driver and resource: target, "drivers" or "resources", entry, key and value."""
    for role, target in _section(node, "targets"):
        for key, value in _items(target):
            for entry in _entries(key, value):
                for name, arguments in _items(entry):
                    yield role.value, key.value, entry, name, arguments


def _section(node: yaml.Node | None, name: str) -> Iterable[tuple[yaml.Node, yaml.Node]]:
    return next((_items(value) for key, value in _items(node) if key.value == name), ())


def _entries(key: yaml.Node, value: yaml.Node) -> list[yaml.Node]:
    """Return the mappings of a target's drivers or resources, which are one mapping or a list of mappings."""
    if key.value not in ("drivers", "resources"):
        return []
    return value.value if isinstance(value, yaml.SequenceNode) else [value]


def _names_class(entry: yaml.Node) -> bool:
    """Return whether the entry has labgrid's other form, `{cls: CLASS, ARGUMENTS}`."""
    return any(key.value == "cls" for key, _ in _items(entry))


def _argument_problems(path: Path, cls: type, arguments: yaml.Node) -> Iterator[str]:
    known = {field.name for field in attr.fields(cls) if field.init} - {"target"} | {"bindings", "cls"}
    for key, _ in _items(arguments):
        if key.value not in known:
            yield _unknown(path, key, f"argument of {cls.__name__}", known)


def _items(node: yaml.Node | None) -> Iterable[tuple[yaml.Node, yaml.Node]]:
    return node.value if isinstance(node, yaml.MappingNode) else ()


def _row(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _unknown(path: Path, key: yaml.Node, kind: str, known: Iterable[str]) -> str:
    names = sorted(known)
    listed = f"known: {', '.join(names)}" if len(names) <= 12 else ""
    return f"{path}:{_row(key)}: unknown {kind} {key.value!r}; {did_you_mean(key.value, names)}{listed}".rstrip("; ")
