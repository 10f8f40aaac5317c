"""Image manifests: what boots, on which machine, through which stages, and how to talk to it.

A manifest is one TOML file, `images/NAME.toml`. Reading one never touches the files it names;
that is the part of `hil.image.store`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    model_validator,
)

from hil.errors import ConfigurationError
from hil.host import toml
from hil.host.hints import did_you_mean

IMAGES_DIR = Path(__file__).resolve().parents[2] / "images"
"""Where the project's own manifests are."""


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


def _has(*groups: str) -> AfterValidator:
    def check(pattern: str) -> str:
        missing = set(groups) - set(re.compile(_regex(pattern)).groupindex)
        if missing:
            raise ValueError(f"needs the named group (?P<{sorted(missing)[0]}>...)")
        return pattern

    return AfterValidator(check)


def _takes(*fields: str) -> AfterValidator:
    def check(text: str | None) -> str | None:
        if text is not None and (found := placeholders(text)) != set(fields):
            raise ValueError(f"needs exactly {{{'}, {'.join(fields)}}}, has {sorted(found)}")
        return text

    return AfterValidator(check)


_PLACEHOLDER = re.compile(r"\{([a-z0-9][a-z0-9._-]*)\}")


def placeholders(text: str) -> set[str]:
    """Return the names in braces in `text`; braces around anything else mean nothing."""
    return set(_PLACEHOLDER.findall(text))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return `text` with each `{name}` replaced; KeyError for a name without a value."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], text)


Regex = Annotated[str, AfterValidator(_regex)]
Address = Annotated[int, Field(ge=0, lt=1 << 64)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileSpec(_Model):
    """A file of an image that is brought, not built: its place and digest.

    `path` is absolute, or relative to the manifest; `~` is the user's home.
    """

    path: str = Field(min_length=1)
    sha256: Sha256


class Load(_Model):
    """A file that the machine finds in its memory at `address` when it starts."""

    file: Name
    address: Address


class Area(_Model):
    """A piece of the machine's memory, `size` bytes at `address`, that nothing may be loaded over."""

    name: Name
    address: Address
    size: int = Field(gt=0)


class Machine(_Model):
    """The emulated machine that boots the image.

    `arguments` are the emulator's, with `{file}` for the path of the image's file of that name; the
    manifest of an image that is added has none, they come with it. `emulator_version` is the oldest
    that works. `virtual_arguments` are added where the machine runs in virtual time.
    """

    emulator: str = "qemu-system-aarch64"
    emulator_version: Annotated[str, Field(pattern=r"^\d+(\.\d+)*$")] = "7.2"
    arguments: tuple[str, ...] = ()
    virtual_arguments: tuple[str, ...] = ()
    load: tuple[Load, ...] = ()
    reserved: tuple[Area, ...] = ()

    def file_names(self) -> set[str]:
        """Return the names of all files that the machine needs."""
        named: set[str] = set()
        for argument in self.arguments:
            named |= placeholders(argument)
        return named | {load.file for load in self.load}

    @model_validator(mode="after")
    def _addresses_differ(self) -> Machine:
        areas = {load.file: (load.address, 1) for load in self.load}
        if len(areas) < len(self.load):
            raise ValueError("load: one file is loaded twice")
        check_overlaps(areas | {area.name: (area.address, area.size) for area in self.reserved})
        return self


class Stage(_Model):
    """One step of a boot: literal `marker` on the console, at most `limit` seconds after the one before.

    A marker that comes again after its stage means that the machine started over, unless it `repeats`.
    """

    name: str = Field(min_length=1)
    marker: str = Field(min_length=1)
    limit: float = Field(gt=0)
    repeats: bool = False


class Failures(_Model):
    """What a boot is given up for before a stage's time is over.

    `fatal` are patterns found anywhere in a line, unless the line is one of `console.noise`; a flood is
    one line seen more than `flood_lines` times within a stage that has brought more than `flood_bytes`.
    """

    fatal: tuple[Regex, ...] = (
        "Kernel panic - not syncing.*",
        "Unable to handle kernel .*",
        "FAULT HANDLER: .*",
        "Caught cap fault .*",
        "Unhandled VCPU fault .*",
        "vm fault on .*",
        "Assertion failed: .*",
    )
    flood_lines: int = Field(default=5000, ge=50)
    flood_bytes: int = Field(default=1 << 20, ge=1 << 12)


class Secret(str):
    """A text whose `repr` does not show it: tracebacks in reports have the arguments of functions."""

    def __repr__(self) -> str:
        return "'********'"


class ConsoleFacts(_Model):
    """What the console of the guest looks like.

    `foreign` are patterns (matching whole lines) of what others than the shell write on the line, and
    `runner` of what the runner does: to the shell the same, but a deployment is judged by them.
    `noise` are patterns of lines that look like failures and are none.
    """

    login: str = "login: "
    user: str = "root"
    password: str | None = Field(default=None, repr=False)
    prompt: str = "# "
    foreign: tuple[Regex, ...] = ()
    runner: tuple[Regex, ...] = ()
    noise: tuple[Regex, ...] = ()

    @property
    def answers(self) -> dict[str, str]:
        """What is typed at which prompt to log in."""
        return {self.login: self.user} | ({"Password: ": Secret(self.password)} if self.password is not None else {})


class AgentFacts(_Model):
    """How modules are deployed in the guest and what the runner says.

    `device` is a file in the guest without which the agent cannot work. The options are None for an
    agent that has none. `module_limit` is the size in bytes of the largest module that the runner takes, None where
    it is not known. The patterns match a whole line without its line end.

    What follows is for an agent that cannot seal its verdict. `newline` is what arrives for each line
    feed that a module writes. `error` is a line in which the runner says why a module failed, with its
    error number as group `code`. `faults` are the lines of a runner that dies, with the groups `reason`,
    `address` and `pc` where they tell them; `dump` is a line that shows a register. All of these may be
    glued to output.
    """

    command: str = "wasmedge_emit"
    device: str | None = None
    hello_option: str | None = None
    seal_option: Annotated[str | None, _takes("nonce")] = None
    limit_option: Annotated[str | None, _takes("ms")] = None
    entropy_option: Annotated[str | None, _takes("hex")] = None
    module_limit: int | None = Field(default=None, gt=0)
    samples: str = "/usr/bin"
    executing: Regex = r"\[[-\d:. ]+\] \[info\] executing wasm file"
    success: Annotated[str, _has("code")] = r"\[[-\d:. ]+\] \[info\] execution success, exit code:(?P<code>\d+)"
    failed: Annotated[str, _has("reason")] = r"\[[-\d:. ]+\] \[info\] execution failed:(?P<reason>.*)"
    newline: Literal["\n", "\r\n"] = "\n"
    error: Regex = r"\[[-\d:. ]+\] \[error\](?:.*, Code: (?P<code>0x[0-9a-fA-F]+)| .*)"
    faults: tuple[Regex, ...] = ()
    dump: Annotated[str, _has("name", "value")] | None = None


class Manifest(_Model):
    """A whole image: identity, where its files come from, machine, stages, console, agent.

    `build` names the builder of an image that the project makes itself; an image with `files` is
    brought by the user; `add` names the kind of build tree that `hil image add` takes one from. `agent` is
    None for an image that runs no modules.
    """

    version: Literal[1] = Field(alias="schema")
    name: Name
    title: str
    hypervisor: str
    build: str | None = None
    add: Literal["camkes"] | None = None
    files: dict[Name, FileSpec] = {}
    machine: Machine
    stages: tuple[Stage, ...] = Field(min_length=1)
    failures: Failures = Failures()
    console: ConsoleFacts = ConsoleFacts()
    agent: AgentFacts | None = None

    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file that the manifest was read from, None for one made in memory."""
        return self._path

    @model_validator(mode="after")
    def _one_origin(self) -> Manifest:
        if sum(map(bool, (self.build, self.add, self.files))) != 1:
            raise ValueError("give one of build (a builder's name), add (a kind of build tree) and files")
        if self.add and (self.machine.arguments or self.machine.load):
            raise ValueError("machine.arguments and machine.load come with an image that is added; leave them out")
        if not self.add and "arguments" not in self.machine.model_fields_set:
            raise ValueError("machine.arguments is missing")
        unknown = self.machine.file_names() - set(self.files)
        if self.files and unknown:
            raise ValueError(f"machine names {sorted(unknown)[0]!r}, which is not one of files")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("stages: two have the same name")
        return self


def agent_of(manifest: Manifest) -> AgentFacts:
    """Return how modules are deployed on the image. Raises `ConfigurationError` for an image that has no agent."""
    if manifest.agent is None:
        hint = "describe the agent in [agent] of the manifest, choose another image, or use `guest` alone"
        raise ConfigurationError(f"image {manifest.name} has no agent and no runner", hint=hint)
    return manifest.agent


def check_overlaps(areas: dict[str, tuple[int, int]]) -> None:
    """Raise ValueError if two of the areas, name -> (address, size in bytes), share a byte."""
    placed = sorted((address, size, name) for name, (address, size) in areas.items())
    for (start, size, name), (after, _, other) in itertools.pairwise(placed):
        if start + size > after:
            raise ValueError(f"{name} ({size} bytes at {start:#x}) overlaps {other} at {after:#x}")


def load(path: Path) -> Manifest:
    """Read and check the manifest in the file `path`; ConfigurationError says what is wrong and where."""
    if (os.path.exists(path) and not os.path.isfile(path)) or "\0" in str(path):  # noqa: PTH110, PTH113  these never raise
        raise ConfigurationError(f"cannot read the image manifest {path}: not a regular file")
    manifest = toml.load(path, Manifest, "image manifest")
    manifest._path = path
    return manifest


def find(name: str, root: Path = IMAGES_DIR) -> Manifest:
    """Return the manifest of the image `name` in `root`; ConfigurationError lists what there is."""
    names = available(root)
    if name not in names:
        raise ConfigurationError(
            f"there is no image {name!r} in {root}",
            hint=f"{did_you_mean(name, names)}the images are: {', '.join(names) or 'none'}",
        )
    manifest = load(root / f"{name}.toml")
    if manifest.name != name:
        raise ConfigurationError(f"{manifest.path}: name is {manifest.name!r}, but the file says {name!r}")
    return manifest


def available(root: Path = IMAGES_DIR) -> list[str]:
    """Return the names of all images in `root`, sorted."""
    return sorted(path.stem for path in root.glob("*.toml"))
