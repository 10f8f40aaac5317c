"""What a module argument may be: the one function that turns it into a `Module`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hil.errors import ConfigurationError
from hil.guest.typed import text_of
from hil.text import printable_line
from hil.wasm import oci
from hil.wasm.module import Module

Loadable = Module | os.PathLike[str] | str
"""A module, its path, the path of an OCI image layout, or a reference to an artifact."""


def load_module(module: Loadable) -> Module:
    """Return `module` itself, or the module at the path or reference; relative paths begin at the working directory.

    A tag is looked up at each call: load once what must stay the same. Raises the errors of `hil.wasm.oci.load`, and
    `ConfigurationError` for an object of another type.
    """
    if isinstance(module, Module):
        return module
    if isinstance(module, str):
        return oci.load(module)
    if isinstance(module, os.PathLike) and isinstance(path := os.fspath(module), str):
        return oci.load(Path(path))
    raise ConfigurationError(
        f"cannot deploy {printable_line(repr(module)[:80])}: it is of type {type(module).__name__}",
        hint="Give a module, a path, or a reference to an artifact; Module.raw(name, data) makes a module from bytes.",
    )


def words_of(arguments: Sequence[str | bytes]) -> tuple[str, ...]:
    """Return the arguments of a module as text; bytes that are not UTF-8 become surrogates.

    Raises `ConfigurationError` for an argument of another type.
    """
    for number, argument in enumerate(arguments, 1):
        if not isinstance(argument, (str, bytes)):
            raise ConfigurationError(
                f"argument {number} of the module, {printable_line(repr(argument)[:80])}, is of type "
                f"{type(argument).__name__}",
                hint="Give text or bytes.",
            )
    return tuple(map(text_of, arguments))


def call_of(module: Module, words: Sequence[str]) -> str:
    """Return the module and its arguments on one line."""
    return printable_line(" ".join((module.name, *words)))
