"""The directories and variables that a module is given: checks, the agent's options, and the files of a directory."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hil.errors import ConfigurationError
from hil.guest.typed import described, text_of
from hil.image.manifest import Manifest, agent_of
from hil.text import printable_line
from hil.wasm.module import Module
from hil.wasm.trees import Contents, plain, read


@dataclass(frozen=True)
class Preopen:
    """A directory that a module finds at `at`, a path such as "/" or "data".

    `files` maps the path of a file in it to its contents: bytes, or the path of a file of this machine. The path of a
    directory gives all its files and directories; a name that ends with "/" and has empty contents is an empty
    directory. Symbolic links are refused. With `writable` the module may change the directory, and its files come back.
    """

    at: str = "/"
    files: Mapping[str, Contents] = field(default_factory=dict)
    writable: bool = False


@dataclass(frozen=True)
class Directory:
    """A checked `Preopen`: `files` maps paths to contents, `directories` are the paths of the directories in it."""

    at: str
    files: Mapping[str, bytes]
    directories: tuple[str, ...]
    writable: bool

    @property
    def size(self) -> int:
        """The size in bytes of all files."""
        return sum(map(len, self.files.values()))

    def archive(self) -> Module | None:
        """Return a tar archive of all in it, the same bytes for the same contents; None if it is empty."""
        if not self.files and not self.directories:
            return None
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in self.directories:
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(entry)
            for name, data in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o644
                archive.addfile(entry, io.BytesIO(data))
        return Module.raw("files.tar", target.getvalue())


def directories_of(preopens: Sequence[Preopen], files: Mapping[str, Contents] | None) -> tuple[Directory, ...]:
    """Check `preopens` and `files`, which is one more read-only directory at "/", and read their files.

    Raises `ConfigurationError` for what is no directory, for two at one path, for a path that is not plain, and for a
    file that cannot be read.
    """
    if isinstance(preopens, Preopen) or not isinstance(preopens, Sequence):
        raise ConfigurationError(f"preopens are {described(preopens)}", hint="Give a list of Preopen.")
    given = [*preopens, *([Preopen(files=files)] if files is not None else [])]
    found = [_directory(preopen) for preopen in given]
    names = [directory.at for directory in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigurationError(
            f"two directories of the module are at {twice[0]!r}",
            hint='Give each its own path; files= is short for a directory at "/".',
        )
    return tuple(found)


def variables_of(env: Mapping[str, str | bytes] | None) -> tuple[tuple[str, str], ...]:
    """Check the variables of a module's environment. Raises `ConfigurationError` for what cannot be one."""
    if env is None:
        return ()
    if not isinstance(env, Mapping):
        raise ConfigurationError(f"env is {described(env)}", hint='Give a dict, as in env={"LEVEL": "2"}.')
    for name, value in env.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise ConfigurationError(
                f"{printable_line(repr(name)[:80])} is no name of an environment variable",
                hint="Give text without '=' and NUL.",
            )
        if not isinstance(value, (str, bytes)) or "\0" in text_of(value):
            raise ConfigurationError(
                f"the environment variable {printable_line(name)} is {described(value)}",
                hint="Give text or bytes without NUL.",
            )
    return tuple((name, text_of(value)) for name, value in env.items())


def environment_options(manifest: Manifest, variables: Sequence[tuple[str, str]]) -> list[str]:
    """Return the agent's options for `variables`. Raises `ConfigurationError` if the agent has no such option."""
    option = agent_of(manifest).env_option
    if variables and option is None:
        raise _cannot(manifest, "environment variables", "env_option")
    return [option.format(name=name, value=value) for name, value in variables if option]


def directory_options(manifest: Manifest, directories: Sequence[Directory], places: Sequence[str]) -> list[str]:
    """Return the agent's options for `directories`, which are at `places` in the guest.

    Raises `ConfigurationError` if the agent has no such option, and for files that are too large for the partition.
    """
    facts = agent_of(manifest)
    if not directories:
        return []
    if facts.dir_option is None:
        raise _cannot(manifest, "directories", "dir_option")
    size = sum(directory.size for directory in directories)
    if facts.files_limit is not None and size > facts.files_limit:
        raise ConfigurationError(
            f"the files for the module have {size} bytes; image {manifest.name} takes at most {facts.files_limit}",
            hint="Give it fewer or smaller files.",
        )
    modes = ["rw" if directory.writable else "ro" for directory in directories]
    return [
        facts.dir_option.format(guest=place, module=directory.at, mode=mode)
        for directory, place, mode in zip(directories, places, modes, strict=True)
    ]


def _cannot(manifest: Manifest, what: str, field: str) -> ConfigurationError:
    return ConfigurationError(
        f"the agent of image {manifest.name} cannot give {what} to a module",
        hint=f"Choose an image whose manifest has agent.{field}, or pass the data as arguments.",
    )


def _directory(preopen: Preopen) -> Directory:
    if not isinstance(preopen, Preopen):
        raise ConfigurationError(f"{described(preopen)} is no directory", hint="Give a Preopen.")
    at = preopen.at
    if not isinstance(at, str) or ":" in at or "\0" in at or not (at in ("/", ".") or plain(at.removeprefix("/"))):
        raise ConfigurationError(
            f"{printable_line(repr(at)[:80])} is no path at which a module can find a directory",
            hint='Give "/", ".", or a path such as "data" or "/data/in"; "..", "//" and ":" cannot be in it.',
        )
    if not isinstance(preopen.files, Mapping):
        raise ConfigurationError(
            f"the files of directory {at!r} are {described(preopen.files)}",
            hint='Give a dict of paths and contents, as in files={"config.json": b"{}"}.',
        )
    files: dict[str, bytes] = {}
    directories: dict[str, None] = {}
    for name, contents in preopen.files.items():
        _add(files, directories, at, name, contents)
    for name in (*files, *directories):
        for above in _above(name):
            directories.setdefault(above)
    if both := next((name for name in files if name in directories), None):
        raise ConfigurationError(
            f"{printable_line(both)} in directory {at!r} is both a file and a directory", hint="Rename one."
        )
    return Directory(at, files, tuple(sorted(directories)), bool(preopen.writable))


def _add(files: dict[str, bytes], directories: dict[str, None], at: str, name: object, contents: object) -> None:
    """Add one item of `Preopen.files`."""
    if not isinstance(name, str) or not plain(name.removesuffix("/")):
        raise ConfigurationError(
            f"{printable_line(repr(name)[:80])} is no path of a file in directory {at!r}",
            hint='Give a relative path without "." and "..".',
        )
    if name.endswith("/"):
        if contents != b"":
            raise ConfigurationError(
                f"{printable_line(name)} in directory {at!r} has contents, but its name is a directory's",
                hint='Leave the "/" away, or give b"".',
            )
        directories.setdefault(name[:-1])
    elif isinstance(contents, bytes):
        files[name] = contents
    elif isinstance(contents, os.PathLike):
        read(Path(contents), name, files, directories)
    else:
        raise ConfigurationError(
            f"{printable_line(name)} in directory {at!r} is {described(contents)}",
            hint="Give bytes, or a pathlib.Path.",
        )


def _above(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def unpacked(archive: bytes, directories: Sequence[Directory]) -> dict[int, dict[str, bytes]]:
    """Return the files in an archive of the writable directories, by the directory's number and the path in it.

    The first name of each path in the archive is the number of the directory. Raises `ValueError` for an archive that
    is damaged or names other paths.
    """
    found: dict[int, dict[str, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for entry in opened:
                number, _, name = entry.name.partition("/")
                if not entry.isreg():
                    continue
                if not number.isdecimal() or int(number) >= len(directories) or not plain(name):
                    raise ValueError(f"the archive names {entry.name!r}")
                data = opened.extractfile(entry)
                found.setdefault(int(number), {})[name] = data.read() if data else b""
    except tarfile.TarError as error:
        raise ValueError(f"the archive is damaged: {error}") from error
    return found
