"""The sample modules and their expected results, from `wasm_samples/samples.toml`."""

from __future__ import annotations

import os
import re
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hil.errors import ConfigurationError
from hil.host.hints import did_you_mean
from hil.image.store import Image, command_for
from hil.wasm import oci, on_demand
from hil.wasm.catalogue import SAMPLES_DIR
from hil.wasm.execution import DEFAULT_LIMIT, Execution
from hil.wasm.module import Module
from hil.wasm.pins import PIN
from hil.wasm.verdict import Exited, Failed, Faulted, Verdict


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Case(_Model):
    """One way to run a sample and its expected result; samples.toml explains the keys."""

    name: str
    arguments: tuple[str, ...] = ()
    limit_ms: int | None = None
    verdict: Literal["exited", "failed", "faulted"]
    code: int = 0
    reason: str = ""
    hazard: str | None = None
    lines: tuple[str, ...] | None = None
    last_line: str | None = None
    patterns: tuple[str, ...] | None = None
    text: str | None = None
    size: int | None = Field(default=None, alias="bytes")
    crc32: str | None = None

    @property
    def limit(self) -> float:
        """The time in seconds that the module may run."""
        return self.limit_ms / 1000 if self.limit_ms else DEFAULT_LIMIT

    @property
    def expected(self) -> Verdict:
        return {"exited": Exited(self.code), "failed": Failed(self.reason), "faulted": Faulted()}[self.verdict]

    def problems(self, run: Execution) -> list[str]:
        """Return the differences between `run` and the expected result, a sentence each."""
        compared = (
            ("lines are", tuple(run.lines), self.lines),
            ("last line is", next(reversed(run.lines), None), self.last_line),
            ("output is", run.text, self.text),
            ("bytes of the output are", len(run.output), self.size),
            ("CRC-32 of the output is", f"{zlib.crc32(run.output):08X}", self.crc32 and self.crc32.upper()),
        )
        found = [
            f"{what} {has!r}, expected {expected!r}" for what, has, expected in compared if expected not in (None, has)
        ]
        if run.verdict != self.expected:
            found.insert(0, f"verdict is {run.verdict}, expected {self.expected}")
        if run.intact is False:
            found.append("the output was garbled on the line")
        if self.patterns is not None and (
            len(run.lines) != len(self.patterns)
            or not all(map(re.fullmatch, self.patterns, run.lines))  # the lengths are equal here
        ):
            found.append(f"lines are {run.lines}, expected to match {list(self.patterns)}")
        return found


class Sample(_Model):
    """A module in `wasm_samples/` with its cases."""

    name: str
    file: str
    source: str
    sha256: str = ""
    kind: Literal["interpreted", "aot"]
    build: str
    language: str = ""
    prebuilt: str = ""
    on_demand: bool = False
    about: str
    pins: tuple[Annotated[str, Field(pattern=f"^{PIN}$")], ...] = ()
    ready: str | None = Field(default=None, pattern=r"^[^\r\n]+$")
    case: tuple[Case, ...] = Field(min_length=1)

    def __getitem__(self, name: str) -> Case:
        for case in self.case:
            if case.name == name:
                return case
        raise KeyError(f"sample {self.name} has no case {name!r}; it has: {', '.join(case.name for case in self.case)}")


class _File(_Model):
    prebuilt: str
    sample: tuple[Sample, ...]
    toolchain: dict[str, Any]
    language: dict[str, Any] = {}


class Samples:
    """The samples of a directory; calling it with a file name returns the module, verified by its digest.

    A module in one of the directories `own` hides the sample of the same name.
    """

    def __init__(self, directory: Path | str = SAMPLES_DIR, own: Sequence[Path] = ()) -> None:
        self.directory = Path(directory)
        self._own = tuple(path for path in own if path != self.directory)
        path = self.directory / "samples.toml"
        try:
            self._samples = _File.model_validate(tomllib.loads(path.read_text("utf-8-sig"))).sample
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
            raise ConfigurationError(f"cannot read {path}: {error}") from error

    def __iter__(self) -> Any:
        return iter(self._samples)

    def __call__(self, file: str) -> Module:
        """Return the module in `file` ("hello.wasm"), at a path, in an OCI layout or in a registry (`oci.load`).

        Raises `ConfigurationError` for an unknown name and for bytes that differ from the sample's, `MissingToolchain`
        if the sample is built on demand and cannot be, else as `oci.load`.
        """
        if "/" in file or file.startswith(f"{oci.LAYOUT}:"):
            return oci.load(file)
        own = (directory / name for directory in self._own for name in (file, f"{file}.wasm"))
        if found := next((path for path in own if os.path.isfile(path)), None):  # noqa: PTH113  a name may be too long
            return Module.load(found)
        sample = self[file]
        held = self.directory / sample.file
        if sample.on_demand:
            held = on_demand.built(self.directory, sample.file, sample.source, sample.language)
        module = replace(Module.load(held), name=sample.file, pins=sample.pins, ready=sample.ready)
        if module.sha256 != sample.sha256 and not sample.on_demand:
            raise ConfigurationError(
                f"{module.path} differs from the sample in samples.toml: its SHA-256 is {module.sha256}",
                hint="Restore it, or record it with wasm_samples/build --record.",
            )
        return module

    def aot(self, file: str, image: Image) -> Module:
        """Return the sample in `file` ("nbody-c.wasm") with native code for the runner of `image`.

        Raises `ConfigurationError` if the image does not hold it, or holds one without native code.
        """
        sample = self[file]
        name = f"{sample.name}.aot.wasm"
        if name not in image.files:
            held = ", ".join(sorted(key for key in image.files if key.endswith(".aot.wasm"))) or "none"
            raise ConfigurationError(
                f"image {image.manifest.name} holds no {name}", hint=f"Use one of its native modules: {held}."
            )
        module = replace(Module.load(image.files[name]), pins=sample.pins, ready=sample.ready)
        if module.kind != "aot":
            raise ConfigurationError(f"{module.path} has no native code", hint=f"{command_for(image.manifest)} --force")
        return module

    def __getitem__(self, file: str) -> Sample:
        for sample in self._samples:
            if file in (sample.file, sample.name):
                return sample
        names = [path.name for directory in self._own for path in sorted(directory.glob("*.wasm"))]
        names += [sample.file for sample in self._samples]
        raise ConfigurationError(
            f"there is no sample {file!r}",
            hint=f"{did_you_mean(file, names)}the samples are: {', '.join(names)}; "
            "a module of your own is named by a path with a slash, or by oci:// or oci-layout:",
        )
