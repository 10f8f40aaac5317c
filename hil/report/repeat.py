"""The command that repeats one test, and the digests and versions that must match."""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from hil.guest.typed import bytes_of
from hil.host.project import checkout
from hil.text import printable_line

DISTRIBUTION = "wasm-hil"
MODULES = 20  # listed
GIT_LIMIT = 5.0  # seconds


@dataclass(frozen=True)
class Deployed:
    """A module that the test deployed, with its arguments, the names of the pins that it could use, and its variables.

    `directories` are the paths of its directories, whose files the test made, with `:rw` if they were writable.
    `source` is its origin, empty where the test made it. With `aot` it was compiled first; `sha256` is then the digest
    of the module before.
    """

    name: str
    sha256: str
    source: str
    arguments: tuple[str, ...] = ()
    pins: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    directories: tuple[str, ...] = ()
    aot: bool = False


@dataclass(frozen=True)
class Ran:
    """A test that ran, and how.

    `test` is its node id when it runs with `options`, in the directory `root`. `image` is the image's name,
    `image_sha256` its digest, empty where the board was never up. `board` is an argument of `hil run`, with `seed` in
    virtual time. `facts` are shown last.
    """

    test: str
    options: tuple[str, ...]
    root: Path
    board: str
    image: str = ""
    image_sha256: str = ""
    seed: int | None = None
    deployed: tuple[Deployed, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """The command for a shell."""
        return shlex.join(["pytest", self.test, *self.options])

    def __str__(self) -> str:
        return "\n".join([f"# in {self.root}", self.command, "", *self._needed()]) + "\n"

    def _needed(self) -> Iterator[str]:
        rows: list[tuple[str, str]] = []
        if self.image:
            rows.append(("image", f"{self.image} sha256 {self.image_sha256 or 'unknown: the board was never up'}"))
        for module in self.deployed[:MODULES]:
            call = printable_line(" ".join((module.name, *module.arguments)))
            where = _relative(module.source, self.root) if module.source else "made by the test"
            rows.append(("module", f"{call} sha256 {module.sha256} ({where}){', compiled' if module.aot else ''}"))
        if len(self.deployed) > MODULES:
            rows.append(("module", f"and {len(self.deployed) - MODULES} more, see the executions"))
        rows += [*self.facts.items(), *software(self.root).items()]
        width = max(len(name) for name, _ in rows) if rows else 0
        yield from (f"{name:{width}}  {text}" for name, text in rows)
        checks = [f"hil image info {shlex.quote(self.image)}"] if self.image_sha256 and self.image else []
        checks += [self._deployment(module) for module in self.deployed[:MODULES] if module.source]
        if checks:
            yield from ("", "# check the image's digest, and run each module alone", *checks)

    def _deployment(self, module: Deployed) -> str:
        options = ["--board", self.board, *(["--image", self.image] if self.image else [])]
        options += [] if self.seed is None else ["--seed", str(self.seed)]
        options += ["--pins", ",".join(module.pins)] if module.pins else []
        options += [word for name, value in module.env for word in ("--env", f"{name}={value}")]
        options += [word for path in module.directories for word in ("--dir", f"DIRECTORY:{path}")]
        options += ["--aot"] if module.aot else []
        words = ["hil", "run", *options, "--", _relative(module.source, self.root), *module.arguments]
        return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word quoted for bash, in printable characters."""
    if word.isprintable():
        return shlex.quote(word)
    safe = re.sub(rb"[^ -~]|['\\\\]", lambda match: b"\\x%02x" % match[0][0], bytes_of(word))
    return f"$'{safe.decode()}'"


def _relative(source: str, root: Path) -> str:
    """Return a path relative to `root` if it is below it; anything else unchanged."""
    path = Path(source)
    return str(path.relative_to(root)) if path.is_absolute() and path.is_relative_to(root) else source


@functools.cache
def software(root: Path) -> Mapping[str, str]:
    """Return the framework's version and commit, and the commit of the tests in `root` if it is another repository."""
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "not installed"
    ours = commit(here) if (here := checkout()) is not None and (here / ".git").exists() else ""
    theirs = commit(root)
    framework = {"framework": f"{version}, commit {ours}" if ours else version}
    return framework | ({"tests": f"commit {theirs}"} if theirs and theirs != ours else {})


def commit(directory: Path) -> str:
    """Return the commit of the repository at `directory`, and whether files differ from it; empty without one."""
    found = _git(directory, "rev-parse", "HEAD")
    if not found:
        return ""
    return f"{found} with changes" if _git(directory, "status", "--porcelain", "--untracked-files=no") else found


def _git(directory: Path, *arguments: str) -> str:
    command: Sequence[str] = ["git", "-C", str(directory), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=GIT_LIMIT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
