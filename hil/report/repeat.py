"""How to run one test again, exactly: the command, and what has to be the same for it."""

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
from hil.text import printable_line

DISTRIBUTION = "wasm-hil"
MODULES = 20  # that are listed
GIT_LIMIT = 5.0  # seconds
HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Deployed:
    """A module that the test deployed, with its arguments; `source` is where it is from, empty where a test made it."""

    name: str
    sha256: str
    source: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ran:
    """What ran, and how.

    `test` is the node id that it has when it is run with `options`, in the directory `root`. `image` is the image's
    name, `image_sha256` its digest, empty where the board was never up. `board` is what `hil run` takes, with `seed`
    in virtual time. `facts` are told after all else.
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
        """For a shell."""
        return shlex.join(["pytest", self.test, *self.options])

    def __str__(self) -> str:
        return "\n".join([f"# in {self.root}", self.command, "", *self._needed()]) + "\n"

    def _needed(self) -> Iterator[str]:
        rows: list[tuple[str, str]] = []
        if self.image:
            rows.append(("image", f"{self.image} sha256 {self.image_sha256 or 'unknown: the board was never up'}"))
        for one in self.deployed[:MODULES]:
            call = printable_line(" ".join((one.name, *one.arguments)))
            where = _near(one.source, self.root) if one.source else "made by the test"
            rows.append(("module", f"{call} sha256 {one.sha256} ({where})"))
        if len(self.deployed) > MODULES:
            rows.append(("module", f"and {len(self.deployed) - MODULES} more, see the executions"))
        rows += [*self.facts.items(), *software(self.root).items()]
        width = max(len(name) for name, _ in rows) if rows else 0
        yield from (f"{name:{width}}  {text}" for name, text in rows)
        checks = [f"hil image info {shlex.quote(self.image)}"] if self.image_sha256 and self.image else []
        checks += [self._deployment(one) for one in self.deployed[:MODULES] if one.source]
        if checks:
            yield from ("", "# whether the image is the same (its digest), and each module by itself", *checks)

    def _deployment(self, one: Deployed) -> str:
        options = ["--board", self.board, *(["--image", self.image] if self.image else [])]
        options += [] if self.seed is None else ["--seed", str(self.seed)]
        words = ["hil", "run", *options, "--", _near(one.source, self.root), *one.arguments]
        return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word for bash; in a form that a page can show where it holds more than text."""
    if word.isprintable():
        return shlex.quote(word)
    safe = re.sub(rb"[^ -~]|['\\\\]", lambda match: b"\\x%02x" % match[0][0], bytes_of(word))
    return f"$'{safe.decode()}'"


def _near(source: str, root: Path) -> str:
    """A path as it is from `root`, where it is below it; anything else as it is."""
    path = Path(source)
    return str(path.relative_to(root)) if path.is_absolute() and path.is_relative_to(root) else source


@functools.cache
def software(root: Path) -> Mapping[str, str]:
    """The framework's version and commit, and that of the tests in `root` where it is another repository's."""
    try:
        version = metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        version = "not installed"
    ours, theirs = commit(HERE), commit(root)
    told = {"framework": f"{version}, commit {ours}" if ours else version}
    return told | ({"tests": f"commit {theirs}"} if theirs and theirs != ours else {})


def commit(directory: Path) -> str:
    """The commit of the repository that holds `directory`, and whether files differ from it; empty without one."""
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
