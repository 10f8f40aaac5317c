"""Trees of files on this machine: read for a module's directory, written back after the run."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from pathlib import Path

from hil.errors import ConfigurationError
from hil.text import printable_line

Contents = bytes | Path
"""The contents of a file, or the path of a file or directory of this machine."""

NAME_MAX = 255  # bytes of a file's name, in Linux


def plain(path: str) -> bool:
    """Return whether `path` is relative, and no name in it is empty, `.`, `..` or too long."""
    return "\0" not in path and all(
        part not in ("", ".", "..") and len(os.fsencode(part)) <= NAME_MAX for part in path.split("/")
    )


def read_tree(directory: Path) -> dict[str, Contents]:
    """Return `Preopen.files` for all files and directories below `directory`.

    Raises `ConfigurationError` for a symbolic link, a device, and what cannot be read.
    """
    files: dict[str, bytes] = {}
    directories: dict[str, None] = {}
    read(directory, "", files, directories)
    return {**{f"{name}/": b"" for name in directories}, **files}


def read(path: Path, name: str, files: dict[str, bytes], directories: dict[str, None]) -> None:
    """Add a file to `files` as `name`, or a directory with all that is in it; otherwise as `read_tree`."""
    try:
        if path.is_dir():
            if name:
                directories.setdefault(name)
            for below in sorted(path.iterdir()):
                if below.is_symlink():
                    raise ConfigurationError(
                        f"{printable_line(str(below))} is a symbolic link, which a module is not given",
                        hint="Put a copy of the file in its place.",
                    )
                read(below, posixpath.join(name, below.name), files, directories)
        elif path.exists() and not path.is_file():
            raise ConfigurationError(
                f"{printable_line(str(path))} is neither a file nor a directory", hint="Remove it from the directory."
            )
        else:
            files[name] = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {printable_line(str(path))}: {error.strerror}", hint="Check the path, and who may read it."
        ) from error


def write_back(directory: Path, before: Iterable[str], after: Mapping[str, bytes]) -> None:
    """Make the files below `directory` those of `after`: write what differs, remove what is only in `before`.

    `before` are the names that the module was given. Raises `ConfigurationError` for a name in which a symbolic link or
    a file is in the place of a directory, and for what cannot be written.
    """
    removed = [name for name in before if name not in after and not name.endswith("/")]
    for name in (*removed, *after):
        parts = name.split("/")
        for path in (directory.joinpath(*parts[:number]) for number in range(1, len(parts) + 1)):
            if path.is_symlink():
                raise ConfigurationError(f"{path} has become a symbolic link", hint="Remove it.")
    try:
        for name in removed:
            (directory / name).unlink(missing_ok=True)
        for name, data in after.items():
            path = directory / name
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write the module's files into {directory}: {error}", hint="Check the directory."
        ) from error
