"""What a module argument may be: the one function that turns it into a `Module`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hil.errors import ConfigurationError
from hil.guest.typed import described, text_of
from hil.host import project
from hil.host.hints import did_you_mean
from hil.text import printable_line
from hil.wasm import oci
from hil.wasm.catalogue import on_demand
from hil.wasm.module import Module
from hil.wasm.samples import Samples

Loadable = Module | os.PathLike[str] | str
"""A module, its path, the path of an OCI image layout, a reference to an artifact, or as text the name of a sample."""


def load_module(module: Loadable) -> Module:
    """Return `module` itself, or the module at the path or reference; relative paths begin at the working directory.

    Text that is no path of anything may be the name of a sample, of the project or else of the package. A tag is looked
    up at each call: load once what must stay the same. Raises the errors of `hil.wasm.oci.load`, and
    `ConfigurationError` for an object of another type.
    """
    if isinstance(module, Module):
        return module
    if isinstance(module, str):
        return _sample(module) or _named(module)
    if isinstance(module, os.PathLike) and isinstance(path := os.fspath(module), str):
        return _at(Path(path))
    raise ConfigurationError(
        f"cannot deploy {printable_line(repr(module)[:80])}: it is of type {type(module).__name__}",
        hint="Give a module, a path, or a reference to an artifact; Module.raw(name, data) makes a module from bytes.",
    )


def _named(name: str) -> Module:
    """Return the module at a path or reference; the error for a name without directory has the names of the samples."""
    try:
        return _at(name)
    except ConfigurationError as error:
        if "/" in name or ":" in name or os.path.exists(name):  # noqa: PTH110
            raise
        names = [f"{sample}.wasm" for sample in (*project.current().names("samples", ".wasm"), *on_demand())]
        hint = f"{did_you_mean(name, names)}the samples are: {', '.join(names)}; or give the path of a .wasm file"
        raise ConfigurationError(error.message, hint=hint) from error


def _at(where: str | Path) -> Module:
    """Return the module at a path or reference. Raises `ConfigurationError` for a name that no file can have."""
    try:
        return oci.load(where)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"{printable_line(str(where)[:80])!r} is no path of a module: {printable_line(str(reason))}",
            hint="Give the path of a .wasm file.",
        ) from error


def _sample(name: str) -> Module | None:
    """Return the sample `name`, with or without `.wasm`, if there is no such path; None if there is none."""
    here = project.current()
    if os.path.exists(name):  # noqa: PTH110  Path.exists() raises for a name that is too long
        return None
    if (stem := name.removesuffix(".wasm")) not in here.names("samples", ".wasm") and stem not in on_demand():
        return None
    return Samples(own=here.own("samples"))(name)


def words_of(arguments: Sequence[str | bytes]) -> tuple[str, ...]:
    """Return the arguments of a module as text; bytes that are not UTF-8 become surrogates.

    Raises `ConfigurationError` for an argument of another type.
    """
    for number, argument in enumerate(arguments, 1):
        if not isinstance(argument, (str, bytes)):
            raise ConfigurationError(
                f"argument {number} of the module is {described(argument)}",
                hint="Give text or bytes.",
            )
    return tuple(map(text_of, arguments))
