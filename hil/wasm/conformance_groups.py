"""The groups of cases of a conformance suite: what each runs and which cases it has, as tests are parametrised."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError
from hil.wasm.module import Module

if TYPE_CHECKING:
    from hil.image.manifest import Manifest

TABLE, GIVEN, MODULES = "modules.json", "groups.toml", "modules"


@dataclass(frozen=True)
class Refusal:
    """A case that is a module of its own, which the runner must refuse, or which must trap before `_start`."""

    name: str
    data: bytes


@dataclass(frozen=True)
class GivenDirectory:
    """A directory that the module of a group finds at `at`, with the contents of its files by path."""

    at: str
    files: Mapping[str, str]
    writable: bool = False


@dataclass(frozen=True)
class ConformanceGroup:
    """Cases that share a module. Names of cases begin with the group's name and a slash.

    `cases` are the names that the module prints, one line each. `traps` are the reasons for which it traps, by name:
    with the argument N it runs the N-th one alone. With each number of `exits` as its argument it exits with that code.
    `module` is None if there are only `refused`. `limit` is in seconds, None for the runner's default.
    """

    name: str
    module: Path | None
    sha256: str
    cases: tuple[str, ...] = ()
    traps: Mapping[str, str] = field(default_factory=dict)
    refused: tuple[Refusal, ...] = ()
    exits: tuple[int, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    directories: tuple[GivenDirectory, ...] = ()
    limit: float | None = None

    @property
    def names(self) -> list[str]:
        """The name of the group and those of its cases: what a list of expected failures may name."""
        exits = map(self.exit_name, self.exits)
        return [self.name, *self.cases, *self.traps, *(case.name for case in self.refused), *exits]

    @property
    def family(self) -> str:
        """The groups that one test runs: on one board, uploaded together."""
        first = self.name.partition("-")[0]
        if first == "wasi" and (self.environment or self.directories):
            return "wasi-given"
        return first if first in ("core", "wasi") else "proposals"

    def full(self, case: str) -> str:
        return f"{self.name}/{case}"

    def exit_name(self, code: int) -> str:
        return self.full(f"exit:{code}")

    def missing(self, manifest: Manifest) -> str:
        """Return what the group needs and the agent of an image cannot give to a module; empty if it has all."""
        if manifest.agent and self.environment and manifest.agent.env_option is None:
            return f"the agent of image {manifest.name} gives no environment variables to a module"
        if manifest.agent and self.directories and manifest.agent.dir_option is None:
            return f"the agent of image {manifest.name} gives no directories to a module"
        return ""

    def __str__(self) -> str:
        return self.name


def conformance_groups(directory: Path) -> list[ConformanceGroup]:
    """Return the groups of the suite in `directory`, in the order of their names.

    Reads `modules.json`, which the suite's `build` writes, and `groups.toml`. Raises `ConfigurationError` for a file
    that is missing or wrong.
    """
    try:
        table: dict[str, Any] = json.loads((directory / TABLE).read_text("utf-8"))["groups"]
        given: dict[str, Any] = tomllib.loads((directory / GIVEN).read_text("utf-8"))
        unknown = sorted(set(given) - set(table))
        if unknown:
            raise ValueError(f"{GIVEN} has the group {unknown[0]!r}, which {TABLE} does not have")
        return [_group(directory, name, table[name], given.get(name, {})) for name in sorted(table)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"cannot read the conformance suite in {directory}: {error}",
            hint=f"Run {directory / 'build'} --record after a change of its sources.",
        ) from error


def _group(directory: Path, name: str, entry: Mapping[str, Any], given: Mapping[str, Any]) -> ConformanceGroup:
    def full(cases: Iterable[str]) -> tuple[str, ...]:
        return tuple(f"{name}/{case}" for case in cases)

    traps: Sequence[Sequence[str]] = entry["traps"]
    return ConformanceGroup(
        name=name,
        module=directory / MODULES / f"{name}.wasm" if entry["sha256"] else None,
        sha256=entry["sha256"],
        cases=full(entry["cases"]),
        traps={f"{name}/{trap}": reason for trap, reason in traps},
        refused=tuple(Refusal(f"{name}/{case}", bytes.fromhex(data)) for case, _, data in entry["refused"]),
        exits=tuple(given.get("exits", ())),
        arguments=tuple(given.get("arguments", ())),
        environment=given.get("environment"),
        directories=tuple(GivenDirectory(**one) for one in given.get("directory", ())),
        limit=given.get("limit"),
    )


def load_recorded(group: ConformanceGroup) -> Module:
    """Return the module of `group`. Raises `ConfigurationError` if it is not the recorded one."""
    assert group.module is not None
    module = Module.load(group.module)
    if module.sha256 != group.sha256:
        raise ConfigurationError(
            f"{group.module} is not the module that {TABLE} records",
            hint="Run the suite's `build --record`, or restore the file.",
        )
    return module
