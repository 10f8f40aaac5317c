"""Plans of nights, in TOML: which suites run on which boards. docs/nightly.md describes the format."""

from __future__ import annotations

import collections
import hashlib
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hil.board import selection
from hil.board.selection import is_path, is_place, name_of
from hil.errors import ConfigurationError
from hil.host import extras, project, toml
from hil.host.hints import did_you_mean

NAME_LENGTH = 100  # characters of a job's name, and of a board's, in the name of a run's directory
RESERVED = {  # pytest's options that a night sets itself, with the plan's key for each
    "--board": "boards",
    "-m": "markers",
    "-n": "workers",
    "--numprocesses": "workers",
    "--image": "image",
    "--fresh": "fresh",
    "--alluredir": None,
    "--hil-results": None,
    "--hil-transcripts": None,
    "--hil-journal": None,
    "--hil-history": None,
    "--junitxml": None,
    "--junit-xml": None,
    "--collect-only": None,
    "--pdb": None,
}


def _value(text: str) -> str:
    if not text or text.startswith("-"):
        raise ValueError(f"{text!r} is empty or looks like an option")
    return text


def _option(text: str) -> str:
    name = text.partition("=")[0]
    if name in RESERVED or re.match(r"-[mn].", text):
        key = RESERVED.get(name, RESERVED.get(text[:2]))
        raise ValueError(f"{text!r} is set by the night itself" + (f"; use the key {key!r}" if key else ""))
    return text


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{twice[0]!r} occurs twice")
    return values


Value = Annotated[str, AfterValidator(_value)]
Values = Annotated[tuple[Value, ...], Field(min_length=1), AfterValidator(_unique)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=NAME_LENGTH)]
Minutes = Annotated[float, Field(gt=0, le=7 * 24 * 60)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RetentionLimits(_Model):
    """The limits for old nights: at most `gib` GiB and `nights`, but the newest `newest` in any case."""

    gib: float = Field(default=20.0, gt=0)
    nights: int = Field(default=30, ge=1)
    newest: int = Field(default=3, ge=1)


class Job(_Model):
    """Suites to run on each of some boards; None means the plan's value. `limit` is in minutes."""

    name: Name
    suites: Values
    boards: Values
    markers: str = ""
    workers: int = Field(default=1, ge=1, le=256)
    image: Value | None = None
    fresh: Literal["test", "module", "session"] | None = None
    options: tuple[Annotated[str, AfterValidator(_option)], ...] = ()
    retries: int | None = Field(default=None, ge=0, le=10)
    limit: Minutes | None = None


def _with_names(jobs: tuple[Job, ...]) -> tuple[Job, ...]:
    _unique(tuple(job.name for job in jobs))
    return jobs


class NightPlan(_Model):
    """A night: at most `limit` minutes, `parallel` boards at a time, `retries` of a job that the test bed failed.

    `min_effect` is the least change of a figure in percent that is a finding, unless its clock is exact.
    """

    limit: Minutes
    parallel: int = Field(default=4, ge=1)
    retries: int = Field(default=1, ge=0, le=10)
    image: Value | None = None
    fresh: Literal["test", "module", "session"] | None = None
    min_effect: float = Field(default=5.0, gt=0)
    keep: RetentionLimits = RetentionLimits()
    job: Annotated[tuple[Job, ...], Field(min_length=1), AfterValidator(_with_names)]


@dataclass(frozen=True)
class PlannedRun:
    """One job of a plan on one board: a pytest process, started in `start`. `name` is its directory in the night.

    `limit` is in seconds; None where only the night's applies. `problems` are the reasons why it cannot start.
    """

    name: str
    job: str
    board: str
    arguments: tuple[str, ...]
    retries: int
    limit: float | None
    problems: tuple[str, ...]
    start: Path

    def command(self, directory: Path) -> list[str]:
        """Return the command line; the results go to `directory`."""
        return [
            *(sys.executable, "-m", "pytest", *self.arguments, "-p", "no:cacheprovider"),
            *("--hil-journal", str(directory / "journal.jsonl"), "--alluredir", str(directory / "allure")),
            *("--hil-results", str(directory / "results.jsonl"), "--hil-transcripts", str(directory / "transcripts")),
            *("--junitxml", str(directory / "junit.xml")),
        ]


@dataclass(frozen=True)
class LoadedPlan:
    """A plan with its file, the digest of the file's text, and the runs of its jobs."""

    path: Path
    digest: str
    plan: NightPlan
    runs: tuple[PlannedRun, ...]

    @property
    def name(self) -> str:
        return self.path.stem


def find(name: str) -> Path:
    """Return the file of the plan `name`, or `name` itself if it is a path. Raises `ConfigurationError`."""
    if "/" in name or name.endswith(".toml"):
        return Path(name)
    known = project.current().names("plans", ".toml")
    if name not in known:
        raise ConfigurationError(
            f"there is no plan {name!r} in {project.current().shown('plans')}",
            hint=f"{did_you_mean(name, known)}the plans are: {', '.join(known) or 'none'}; or give a path, NAME.toml",
        )
    return known[name]


def load(path: Path) -> LoadedPlan:
    """Read the plan in `path`. Raises `ConfigurationError` with each wrong line and key."""
    plan = toml.load(path, NightPlan, "nightly plan", hint="docs/nightly.md has an example")
    path = path.resolve()
    taken: collections.Counter[str] = collections.Counter()
    runs = tuple(_run(path.parent, plan, job, board, taken) for job in plan.job for board in job.boards)
    return LoadedPlan(path, hashlib.sha256(path.read_bytes()).hexdigest(), plan, runs)


def _run(base: Path, plan: NightPlan, job: Job, board: str, taken: collections.Counter[str]) -> PlannedRun:
    plain = re.sub(r"[^A-Za-z0-9_.]+", "-", name_of(board)).strip("-.")[:NAME_LENGTH]
    name = f"{job.name}-{plain or 'board'}"
    taken[name] += 1
    if taken[name] > 1:
        name += f"-{taken[name]}"
    suites, problems = [], []
    for suite in job.suites:
        try:
            suites.append(str(find_suite(suite, base)))
        except ConfigurationError as error:
            problems.append(_line(error))
    start, suites = _start(suites)
    image, fresh = job.image or plan.image, job.fresh or plan.fresh
    file = board
    try:
        file = _file(board, base)
        _check(file, image)
    except ConfigurationError as error:
        problems.append(_line(error))
    arguments = [*suites, *_root([str(start / suite) for suite in suites]), f"--board={file}"]
    arguments += [f"--image={image}"] if image else []
    arguments += [f"--fresh={fresh}"] if fresh else []
    arguments += ["-m", job.markers] if job.markers else []
    arguments += ["-n", str(job.workers)] if job.workers > 1 else []
    retries = plan.retries if job.retries is None else job.retries
    limit = job.limit and 60 * job.limit
    if any("[" in suite.partition("::")[0] for suite in suites):
        problems.append("a suite's path contains a [, which pytest does not accept; rename it")
    if job.workers > 1 and extras.missing("parallel"):
        problems.append(f"workers = {job.workers}: pytest-xdist is not installed; {extras.command('parallel')}")
    return PlannedRun(name, job.name, board, (*arguments, *job.options), retries, limit, tuple(problems), start)


def _start(suites: list[str]) -> tuple[Path, list[str]]:
    """Return where to start pytest, and the suites relative to it: a [ in a path would begin a parameter."""
    if not any("[" in suite.partition("::")[0] for suite in suites):
        return project.current().root, suites
    paths = [suite.partition("::") for suite in suites]
    start = Path(os.path.commonpath([Path(path).absolute().parent for path, _, _ in paths]))
    return start, [os.path.relpath(path, start) + separator + node for path, separator, node in paths]


def _root(suites: list[str]) -> list[str]:
    """Return --rootdir for suites outside the project; otherwise node ids would depend on where pytest starts."""
    paths = [Path(suite.partition("::")[0]) for suite in suites]
    root = project.current().root.resolve()
    if not paths or any(path.resolve().is_relative_to(root) for path in paths):
        return []
    return [f"--rootdir={os.path.commonpath([path if path.is_dir() else path.parent for path in paths])}"]


def _line(error: ConfigurationError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def find_suite(suite: str, base: Path) -> Path:
    """Return the suite of that name, else the path relative to `base` or the project; `::` is allowed.

    Raises `ConfigurationError` with similar names.
    """
    path, separator, node = suite.partition("::")
    project_ = project.current()
    suites = project_.directories("suites")
    places = (*(directory / path for directory in suites), base / path, project_.root / path)
    for place in places:
        if os.path.exists(place):  # noqa: PTH110  a name may be too long
            return Path(f"{place}{separator}{node}")
    known = sorted({file.parent.name for directory in suites for file in directory.glob("*/test_*.py")})
    hint = f"{did_you_mean(path, known)}the suites are: {', '.join(known)}; a path counts from {base}"
    raise ConfigurationError(f"there is no suite {suite!r}", hint=hint)


def _file(board: str, base: Path) -> str:
    """Return the board; for a path that of the file, relative to `base` or the project. Raises `ConfigurationError`."""
    if not is_path(board):
        return board
    for path in (base / board, project.current().root / board):
        if os.path.isfile(path):  # noqa: PTH113  a name may be too long
            return str(path)
    raise ConfigurationError(f"there is no board file {board}", hint=f"a path counts from {base}, or from the project")


def _check(board: str, image: str | None) -> None:
    """Raise `ConfigurationError` where the board or image does not exist."""
    from hil.image import manifest

    if not is_place(board):  # only the coordinator has the list of places
        selection.find(board)
    if image is not None:
        manifest.find(image)
