"""FMUs as plants: functional mock-up units for co-simulation, of FMI 2 and 3 (fmi-standard.org), by the package FMPy.

Code of an FMU runs in this process: one that crashes ends the tests, and one that hangs cannot be interrupted.
"""

from __future__ import annotations

import contextlib
import tempfile
import weakref
import zipfile
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.errors import ConfigurationError, PlantError
from hil.host import extras
from hil.host.hints import did_you_mean
from hil.measure.units import shown

MESSAGES = 10  # of the FMU's log, in an error
NUMBERS = {"Real", "Integer", "Enumeration", "Boolean", "Float32", "Float64"} | {
    f"{kind}{bits}" for kind in ("Int", "UInt") for bits in (8, 16, 32, 64)
}
FATAL = 4  # status of a call after which nothing may be called


@dataclass
class _Instance:
    """The running instance; kept apart from `Fmu`, so that it can be freed after it."""

    directory: tempfile.TemporaryDirectory[str]
    slave: Any = None
    dead: bool = False
    messages: deque[str] = field(default_factory=lambda: deque(maxlen=MESSAGES))

    def free(self) -> None:
        slave, self.slave = self.slave, None
        if slave is not None and not self.dead:
            with contextlib.suppress(Exception):  # an FMU may not be terminated after an error
                slave.terminate()
            with contextlib.suppress(Exception):
                slave.freeInstance()
        self.dead = False

    def close(self) -> None:
        self.free()
        self.directory.cleanup()


@dataclass(frozen=True, eq=False)
class FmuState:
    """A state of an FMU: its bytes, or a handle that is valid for one instance."""

    data: bytes | None
    handle: Any = None
    of: object = None


class Fmu:
    """The FMU in the file at `path`, a plant for `Loop.run`.

    Its inputs and outputs have the names of the model; the model's outputs are all recorded, and other variables if
    they are connected. `start_values` are set before the initialisation, by name. The FMU is unpacked into a temporary
    directory, which `close` removes; the end of the object does it too.

    Raises `MissingExtraError` without FMPy; `ConfigurationError` for a file that is no FMU for co-simulation of FMI 2
    or 3, without a binary for this machine, and for unknown variables.
    """

    def __init__(self, path: Path | str, start_values: Mapping[str, float | str] | None = None) -> None:
        extras.require("fmpy", "FMUs as plants")
        self.path = Path(path)
        self.name = self.path.name
        self._model = _description(self.path)
        self._variables = {variable.name: variable for variable in self._model.modelVariables}
        _check_kind(self.path, self._model)
        self._start = dict(start_values or {})
        self._check_names(self._start, self._variables, "start value")
        self.outputs = [name for name in self._variables if self._variable(name).causality == "output"]
        self.outputs = [name for name in self.outputs if _is_number(self._variable(name))]
        self.units = {name: unit for name in self._variables if (unit := self._variable(name).unit)}
        directory = tempfile.TemporaryDirectory(prefix="hil-fmu-")
        self._instance = _Instance(directory)
        self._finalizer = weakref.finalize(self, _Instance.close, self._instance)
        _unpack(self.path, Path(directory.name))

    def connect(self, inputs: Iterable[str], outputs: Iterable[str]) -> None:
        """Check the names that the loop uses. Raises `ConfigurationError` for an unknown one."""
        accepted = [name for name, variable in self._variables.items() if variable.causality == "input"]
        self._check_names(inputs, accepted, "input")
        self._check_names(outputs, self._variables, "output")
        for name in (*inputs, *outputs):
            if not _is_number(self._variable(name)):
                raise ConfigurationError(
                    f"the variable {name} of the FMU {self.path} is {self._variable(name).type}, not one number",
                    hint="Connect scalar variables that are numbers or Booleans.",
                )
        self.outputs = list(dict.fromkeys([*self.outputs, *outputs]))

    def reset(self) -> dict[str, float]:
        """Make a new instance, initialise it and return its outputs."""
        from fmpy.simulation import instantiate_fmu

        instance = self._instance
        instance.free()
        instance.messages.clear()
        if not self._finalizer.alive:
            raise ConfigurationError(f"the FMU {self.path} is closed", hint="Make a new Fmu.")
        try:
            with contextlib.chdir("."):  # FMPy changes the directory, and does not return after an error
                slave = instantiate_fmu(
                    instance.directory.name, self._model, "CoSimulation", logger=self._logger(instance.messages)
                )
        except Exception as error:
            raise ConfigurationError(
                f"the FMU {self.path} cannot be loaded: {error}{_log(instance.messages)}",
                hint="Check that it is built for this machine and that the libraries it needs are installed.",
            ) from error
        instance.slave = slave
        with self._errors("in its initialisation"):
            # FMI 2 sets up the experiment before, FMI 3 with the initialisation
            if hasattr(slave, "setupExperiment"):
                slave.setupExperiment(startTime=0.0)
            self._set(self._start)
            slave.enterInitializationMode()
            slave.exitInitializationMode()
            return self._get()

    def step(self, t: float, dt: float, inputs: Mapping[str, float]) -> dict[str, float]:
        """Return the outputs at `t + dt`. Raises `PlantError` with the log of the FMU."""
        if self._instance.slave is None:
            self.reset()
        with self._errors(f"at {shown(t)}"):
            self._set(inputs)
            reply = self._instance.slave.doStep(currentCommunicationPoint=t, communicationStepSize=dt)
            if reply is not None and reply[1]:
                raise PlantError(f"the FMU {self.name} ended the simulation at {shown(t)}{self._messages}")
            if reply is not None and reply[2]:
                raise PlantError(f"the FMU {self.name} ended the step at {shown(t)} early, at {shown(reply[3])}")
            return self._get()

    def state(self) -> FmuState:
        """Return the state of the FMU. Raises `ConfigurationError` if it cannot save its state."""
        slave = self._able("canGetAndSetFMUstate")
        with self._errors("while it saved its state"):
            handle = slave.getFMUState()
            if not self._model.coSimulation.canSerializeFMUstate:
                return FmuState(None, handle, slave)
            data = slave.serializeFMUState(handle)
            slave.freeFMUState(handle)
            return FmuState(data)

    def restore(self, state: FmuState) -> None:
        """Return to `state`. Raises `ConfigurationError` if the FMU cannot, or was reset since and saves no bytes."""
        slave = self._able("canGetAndSetFMUstate")
        if state.data is None and state.of is not slave:
            raise ConfigurationError(
                f"the state of the FMU {self.path} is that of an earlier instance, and it cannot be saved as bytes",
                hint="Export the FMU with canSerializeFMUState.",
            )
        with self._errors("while it restored its state"):
            handle = state.handle if state.data is None else slave.deserializeFMUState(state.data)
            slave.setFMUState(handle)
            if state.data is not None:
                slave.freeFMUState(handle)

    def close(self) -> None:
        """Free the instance and remove the temporary directory."""
        self._finalizer()

    def __enter__(self) -> Fmu:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def _variable(self, name: str) -> Any:
        return self._variables[name]

    def _able(self, ability: str) -> Any:
        if not getattr(self._model.coSimulation, ability) or self._instance.slave is None:
            why = "has not begun" if self._instance.slave is None else "cannot save and restore its state"
            raise ConfigurationError(
                f"the FMU {self.path} {why}",
                hint="Export it with canGetAndSetFMUState, or begin each test with a reset of the plant.",
            )
        return self._instance.slave

    def _check_names(self, names: Iterable[str], known: Iterable[str], what: str) -> None:
        known = list(known)
        for name in names:
            if name not in known:
                some = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
                raise ConfigurationError(
                    f"the FMU {self.path} has no {what} {name!r}",
                    hint=f"{did_you_mean(name, known)}Its variables for this are: {some or 'none'}.",
                )

    def _set(self, values: Mapping[str, Any]) -> None:
        by_type: dict[str, list[tuple[int, Any]]] = {}
        for name, value in values.items():
            kind = self._variable(name).type
            by_type.setdefault(kind, []).append((self._variable(name).valueReference, _as_type(kind, value)))
        for kind, pairs in by_type.items():
            method = getattr(self._instance.slave, f"set{self._function(kind)}")
            method([reference for reference, _ in pairs], [value for _, value in pairs])

    def _get(self) -> dict[str, float]:
        by_type: dict[str, list[str]] = {}
        for name in self.outputs:
            by_type.setdefault(self._variable(name).type, []).append(name)
        values: dict[str, float] = {}
        for kind, names in by_type.items():
            method = getattr(self._instance.slave, f"get{self._function(kind)}")
            found = method([self._variable(name).valueReference for name in names])
            values.update((name, value + 0) for name, value in zip(names, found, strict=True))
        return {name: values[name] for name in self.outputs}

    def _function(self, kind: str) -> str:
        """Return the suffix of the functions for a type."""
        if kind != "Enumeration":
            return kind
        return "Integer" if self._model.fmiVersion == "2.0" else "Int64"

    @property
    def _messages(self) -> str:
        return _log(self._instance.messages)

    @contextlib.contextmanager
    def _errors(self, when: str) -> Any:
        """Convert FMPy's errors into `PlantError`, with the log of the FMU."""
        from fmpy.fmi1 import FMICallException

        try:
            yield
        except FMICallException as error:
            self._instance.dead = error.status >= FATAL
            raise PlantError(
                f"the FMU {self.name} failed {when}: {str(error).rstrip('.')}{self._messages}",
                hint="Check its inputs, start values and step with the tool that exported it.",
            ) from error

    def _logger(self, messages: deque[str]) -> Any:
        """Return the callback for the FMU's messages; None where FMPy cannot format them."""

        def log2(environment: object, instance: bytes, status: int, category: bytes, message: bytes) -> None:
            messages.append(message.decode(errors="replace"))

        def log3(environment: object, status: int, category: bytes, message: bytes) -> None:
            messages.append(message.decode(errors="replace"))

        if self._model.fmiVersion != "2.0":
            return log3
        try:
            import fmpy.logging  # noqa: F401  a library that FMPy has for some machines only
        except OSError:
            return None
        return log2


def _description(path: Path) -> Any:
    from fmpy import read_model_description

    try:
        return read_model_description(str(path), validate=False)
    except OSError as error:
        raise ConfigurationError(f"cannot read the FMU {path}: {error.strerror or error}") from error
    except Exception as error:  # FMPy raises Exception, and errors of its XML library
        raise ConfigurationError(
            f"{path} is not a valid FMU: {error}", hint="Export it again, as FMI 2 or 3 for co-simulation."
        ) from error


def _check_kind(path: Path, model: Any) -> None:
    """Check that the FMU is for co-simulation, of a known version, and has a binary for this machine."""
    import fmpy

    if model.fmiVersion != "2.0" and not model.fmiVersion.startswith("3."):
        raise ConfigurationError(f"the FMU {path} is of FMI {model.fmiVersion}", hint="Export it as FMI 2 or 3.")
    if model.coSimulation is None:
        raise ConfigurationError(
            f"the FMU {path} is not for co-simulation: it has no solver of its own",
            hint="Export it for co-simulation, not for model exchange alone.",
        )
    mine = fmpy.platform if model.fmiVersion == "2.0" else fmpy.platform_tuple
    with zipfile.ZipFile(path) as archive:
        binaries = [name.split("/") for name in archive.namelist() if name.startswith("binaries/")]
    there = sorted({parts[1] for parts in binaries if len(parts) > 2 and parts[2]})
    if mine not in there:
        raise ConfigurationError(
            f"the FMU {path} has no binary for this machine, {mine}; it has: {', '.join(there) or 'none'}",
            hint=f"Export it for {mine}, or, if it has sources, run `fmpy compile {path}`.",
        )


def _unpack(path: Path, directory: Path) -> None:
    from fmpy import extract

    try:
        extract(str(path), str(directory))
    except Exception as error:  # FMPy raises Exception for paths that leave the directory
        raise ConfigurationError(f"cannot unpack the FMU {path}: {error}") from error


def _is_number(variable: Any) -> bool:
    return variable.type in NUMBERS and not variable.dimensions


def _as_type(kind: str, value: Any) -> Any:
    if kind == "String":
        return str(value)
    if kind == "Boolean":
        return bool(value)
    return float(value) if kind in ("Real", "Float32", "Float64") else round(float(value))


def _log(messages: Iterable[str]) -> str:
    text = "; ".join(messages)
    return f"; it reported: {text}" if text else ""
