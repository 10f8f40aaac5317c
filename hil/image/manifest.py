"""Image manifests: the files that boot, the machine, the stages, the console and the agent of an image.

A manifest is one TOML file, `images/NAME.toml`. Reading it does not touch the files it names; `hil.image.store` does.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PrivateAttr, model_validator

from hil.errors import ConfigurationError
from hil.host import project, toml
from hil.host.hints import did_you_mean
from hil.image.conformance import ConformanceFacts
from hil.image.fields import Address, Model, Name, Regex, Sha256, has, placeholders, takes
from hil.image.pins import PinFacts


class FileSpec(Model):
    """A file of an image that the user brings: its path and digest.

    `path` is absolute, or relative to the manifest; `~` is the user's home.
    """

    path: str = Field(min_length=1)
    sha256: Sha256


class Load(Model):
    """A file that is in the machine's memory at `address` when it starts."""

    file: Name
    address: Address


class Area(Model):
    """A part of the machine's memory, `size` bytes at `address`, into which no file may be loaded."""

    name: Name
    address: Address
    size: int = Field(gt=0)


class Machine(Model):
    """The emulated machine that boots the image.

    `arguments` are the emulator's; `{file}` in them is the path of the image's file of that name. The manifest of an
    added image has none: they come with the image. `emulator_version` is the oldest supported one.
    `virtual_arguments` are appended in virtual time.
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


class Stage(Model):
    """One step of a boot: the literal `marker` appears on the console within `limit` seconds of the stage before.

    A marker that appears again after its stage means that the machine has restarted, unless it `repeats`.
    """

    name: str = Field(min_length=1)
    marker: str = Field(min_length=1)
    limit: float = Field(gt=0)
    repeats: bool = False


class Failures(Model):
    """The failures that end a boot before the time limit of its stage.

    `fatal` are patterns searched in each line that is not `console.noise`. A flood is one line that appears more than
    `flood_lines` times within a stage of more than `flood_bytes` bytes.
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
    """A text that `repr` hides, because tracebacks in reports show the arguments of functions."""

    def __repr__(self) -> str:
        return "'********'"


class ConsoleFacts(Model):
    """The guest's console: prompts, login, and patterns of whole lines that the shell does not write.

    `foreign` are lines of other writers. `runner` are lines of the runner: the shell skips them too, but they decide
    verdicts. `noise` are lines that look like failures but are harmless.
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
        """The answers to the prompts of the login."""
        return {self.login: self.user} | ({"Password: ": Secret(self.password)} if self.password is not None else {})


class AotFacts(Model):
    """The compiled modules that the runner takes: those for `system` and `cpu` in WasmEdge's `format`.

    `format` is the number at the start of the section with native code, which follows the runtime's version. A runner
    that takes none has the reason in `refused`, and nothing else.
    """

    cpu: Literal["x86_64", "aarch64", "riscv64", "arm"] | None = None
    system: Literal["linux", "macos", "windows"] | None = None
    format: int | None = Field(default=None, ge=0)
    refused: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_answer(self) -> AotFacts:
        given = [value is not None for value in (self.cpu, self.system, self.format)]
        if any(given) if self.refused else not all(given):
            raise ValueError("set cpu, system and format, or refused alone")
        return self


class AgentFacts(Model):
    """How modules are deployed in the guest, and the messages of the runner.

    `device` is a file in the guest that the agent requires. An option is None if the agent does not have it.
    `module_limit` is the size in bytes of the largest module the runner accepts, `files_limit` that of all files in the
    directories of a module; None if unknown. In `dir_option`, `guest` is a directory of the guest, `module` the
    module's name of it, `mode` is ro or rw. The patterns match a whole line without its line end. `aot` describes the
    compiled modules that the runner takes, None if unknown.

    `modules` is the guest's directory for modules that are sent, None for one that a boot empties. One that outlives
    the boot keeps them, up to `modules_mib` MiB: the oldest are removed. After each boot their digests are checked.

    From `newline` on, the fields describe an agent that cannot seal its verdict. `newline` is received for each line
    feed a module writes. `error` is the runner's reason for a failure, with its number as group `code`. `faults` are
    the last messages of a dying runner, with the groups `reason`, `address` and `pc` if present; `dump` is a line
    with a register. These messages may follow output without a line end in between.
    """

    command: str = "wasmedge_emit"
    device: str | None = None
    hello_option: str | None = None
    seal_option: Annotated[str | None, takes("nonce")] = None
    limit_option: Annotated[str | None, takes("ms")] = None
    entropy_option: Annotated[str | None, takes("hex")] = None
    pins_option: Annotated[str | None, takes("pins")] = None
    env_option: Annotated[str | None, takes("name", "value")] = None
    dir_option: Annotated[str | None, takes("guest", "module", "mode")] = None
    module_limit: int | None = Field(default=None, gt=0)
    files_limit: int | None = Field(default=None, gt=0)
    samples: str = "/usr/bin"
    modules: Annotated[str, Field(pattern=r"^/\S*[^/\s]$")] | None = None
    modules_mib: int = Field(default=32, gt=0)
    executing: Regex = r"\[[-\d:. ]+\] \[info\] executing wasm file"
    success: Annotated[str, has("code")] = r"\[[-\d:. ]+\] \[info\] execution success, exit code:(?P<code>\d+)"
    failed: Annotated[str, has("reason")] = r"\[[-\d:. ]+\] \[info\] execution failed:(?P<reason>.*)"
    newline: Literal["\n", "\r\n"] = "\n"
    error: Regex = r"\[[-\d:. ]+\] \[error\](?:.*, Code: (?P<code>0x[0-9a-fA-F]+)| .*)"
    faults: tuple[Regex, ...] = ()
    dump: Annotated[str, has("name", "value")] | None = None
    aot: AotFacts | None = None


class CanFacts(Model):
    """The CAN bus of the partition.

    `bus` is the id of the emulator's `can-bus` object that the bench joins; `bitrate` is in bit/s.
    """

    bus: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9._-]*$")]
    bitrate: int = Field(default=500_000, ge=5_000, le=1_000_000)


class AnalogueFacts(Model):
    """The analogue channels of the partition: `inputs` AI0, AI1 and so on, `outputs` AO0 and so on.

    Under QEMU they are words of the plant's memory, see `hil.qemu.plant`.
    """

    inputs: int = Field(default=8, ge=0, le=8)
    outputs: int = Field(default=8, ge=0, le=8)

    @model_validator(mode="after")
    def _some(self) -> AnalogueFacts:
        if not self.inputs + self.outputs:
            raise ValueError("inputs and outputs are both 0; remove [analogue]")
        return self


class Manifest(Model):
    """An image: its identity, the origin of its files, its machine, stages, console and agent.

    `build` names the recipe of an image that the project builds; `files` are those of an image the user brings; `add`
    is the kind of build tree that `hil image add` reads. `agent` is None for an image that runs no modules; `pins`,
    `can` and `analogue` for one whose partition has no such wires.
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
    pins: PinFacts | None = None
    can: CanFacts | None = None
    analogue: AnalogueFacts | None = None
    conformance: ConformanceFacts = ConformanceFacts()

    _path: Path | None = PrivateAttr(default=None)

    @property
    def path(self) -> Path | None:
        """The file of the manifest; None for one created in memory."""
        return self._path

    @model_validator(mode="after")
    def _one_origin(self) -> Manifest:
        if sum(map(bool, (self.build, self.add, self.files))) != 1:
            raise ValueError("set exactly one of build (a recipe), add (a kind of build tree) and files")
        if self.add and (self.machine.arguments or self.machine.load):
            raise ValueError("machine.arguments and machine.load come with an added image; remove them")
        if not self.add and "arguments" not in self.machine.model_fields_set:
            raise ValueError("machine.arguments is missing")
        unknown = self.machine.file_names() - set(self.files)
        if self.files and unknown:
            raise ValueError(f"machine names {sorted(unknown)[0]!r}, which is not one of files")
        if self.can and not self.add and f"can-bus,id={self.can.bus}" not in self.machine.arguments:
            raise ValueError(f"can.bus is {self.can.bus!r}, but machine.arguments have no `can-bus,id={self.can.bus}`")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError("stages: two have the same name")
        return self


def agent_of(manifest: Manifest) -> AgentFacts:
    """Return the agent of the image. Raises `ConfigurationError` for an image without one."""
    if manifest.agent is None:
        hint = "describe the agent in [agent] of the manifest, choose another image, or use the fixture `guest`"
        raise ConfigurationError(f"image {manifest.name} has no agent and no runner", hint=hint)
    return manifest.agent


def check_overlaps(areas: dict[str, tuple[int, int]]) -> None:
    """Raise `ValueError` if two of the areas, name -> (address, size in bytes), share a byte."""
    placed = sorted((address, size, name) for name, (address, size) in areas.items())
    for (start, size, name), (after, _, other) in itertools.pairwise(placed):
        if start + size > after:
            raise ValueError(f"{name} ({size} bytes at {start:#x}) overlaps {other} at {after:#x}")


def load(path: Path) -> Manifest:
    """Return the manifest in the file `path`. Raises `ConfigurationError` that names the wrong line and key."""
    manifest = toml.load(path, Manifest, "image manifest")
    manifest._path = path
    return manifest


def find(name: str) -> Manifest:
    """Return the manifest of the image `name`. Raises `ConfigurationError` for an unknown name."""
    known = project.current().names("images", ".toml")
    if name not in known:
        raise ConfigurationError(
            f"there is no image {name!r} in {project.current().shown('images')}",
            hint=f"{did_you_mean(name, known)}the images are: {', '.join(known) or 'none'}",
        )
    manifest = load(known[name])
    if manifest.name != name:
        raise ConfigurationError(f"{manifest.path}: name is {manifest.name!r}, but the file is named {name!r}")
    return manifest


def available() -> list[str]:
    """Return the names of all images of the project and the package, sorted."""
    return list(project.current().names("images", ".toml"))
