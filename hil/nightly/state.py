"""Nights on disk: a directory each, its state written after each step, and the lock that lets in one at a time."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from hil.errors import ConfigurationError, InfrastructureError
from hil.host import foreign
from hil.nightly.plan import ROOT, Loaded, PlannedRun
from hil.text import storable

DIRECTORY = ROOT / "reports" / "nights"
STATE, SUMMARY, REPORT, LATEST = "state.json", "summary.md", "report.html", "latest"
RESUMABLE = 12 * 3600.0  # seconds since its begin in which a night is taken up by itself
NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:-(\d+))?")


class Held(InfrastructureError):
    """Another night is at work in the same directory."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Try(_Model):
    """One process of a run. `status` is what it ended with, negative for a signal; `ended` why we ended it."""

    began: float
    seconds: float = 0.0
    status: int | None = None
    ended: str = ""


class RunState(_Model):
    """How far a run has come; `why` says what kept it from being run, or made it run again."""

    name: str
    job: str
    board: str
    state: Literal["waiting", "running", "done", "not run"] = "waiting"
    tries: list[Try] = []
    why: str = ""


class NightState(_Model):
    """A night. Times are in seconds since 1970; `plan` is the plan's name and `digest` that of its text."""

    plan: str
    digest: str = ""
    began: float
    ended: float = 0.0
    state: Literal["running", "interrupted", "done", "did not run"] = "running"
    why: str = ""
    status: int | None = None
    runs: list[RunState] = []


@dataclass(frozen=True)
class Night:
    """A night's directory and its state."""

    path: Path
    state: NightState

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def unfinished(self) -> bool:
        return self.state.state in ("running", "interrupted")

    @property
    def idle(self) -> dict[str, str]:
        """The runs that are not at their end, with what kept them from it; empty where nothing did, as yet."""
        return {run.name: run.why for run in self.state.runs if run.state != "done"}

    def directory(self, run: RunState, number: int) -> Path:
        """Where the try of that number, from 1, of a run keeps its results."""
        return self.path / run.name / f"try-{number}"

    def save(self) -> None:
        """Write the state, whole or not at all. Raises `InfrastructureError` where it cannot be."""
        text = json.dumps(self.state.model_dump(), indent=1)  # ASCII: a path or a cause may hold anything
        write(self.path / STATE, text + "\n")


def write(path: Path, text: str) -> None:
    """Write a file, whole or not at all, also when the power fails. Raises `InfrastructureError`."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(storable(text))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise InfrastructureError(f"cannot write {path}: {error.strerror}", hint="look at the disk") from error


def order(name: str) -> tuple[str, int]:
    """By what nights are sorted, oldest first."""
    found = NAME.fullmatch(name)
    assert found
    return found[1], int(found[2] or 1)


def directories(root: Path) -> list[Path]:
    """The directories of nights in `root`, oldest first."""
    with contextlib.suppress(OSError):
        found = [entry for entry in root.iterdir() if NAME.fullmatch(entry.name) and entry.is_dir()]
        return sorted(found, key=lambda entry: order(entry.name))
    return []


def nights(root: Path) -> Iterator[Night]:
    """The nights in `root`, newest first; those with a broken state are left out."""
    for path in reversed(directories(root)):
        with contextlib.suppress(OSError, ValueError):  # pydantic's is one
            state = NightState.model_validate(foreign.decode(foreign.read(path / STATE, foreign.RESULT_LIMIT)))
            for at in (state.began, state.ended):
                foreign.moment(at)
            yield Night(path, state)


@contextlib.contextmanager
def lock(root: Path, who: str) -> Iterator[None]:
    """Keep others out of `root`. Raises `Held`, which says who is in it since when, `InfrastructureError` elsewhere."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (root / ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise InfrastructureError(
            f"cannot use the directory of nights {root}: {error.strerror}", hint="choose another with --directory"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "someone who has not said who"
            raise Held(
                f"another night is at work in {root}: {holder}",
                hint="wait for its end, or end it with SIGTERM; a lower limit in its plan keeps nights apart",
            ) from None
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        file.truncate(0)
        try:
            file.write(f"plan {storable(who)}, process {os.getpid()} on {socket.gethostname()}, since {now}\n")
            file.flush()
        except OSError as error:
            raise InfrastructureError(f"cannot write {root / '.lock'}: {error.strerror}") from error
        yield


def begin(root: Path, state: NightState) -> Night:
    """Make the directory of a new night, named by its date. Raises `InfrastructureError`."""
    date = time.strftime("%Y-%m-%d", time.localtime(state.began))
    number = max((order(path.name)[1] for path in directories(root) if path.name.startswith(date)), default=0)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            number += 1
            path = root / (date if number == 1 else f"{date}-{number}")
            with contextlib.suppress(FileExistsError):  # another one's, who could not run either
                path.mkdir(mode=0o700)
                break
    except OSError as error:
        raise InfrastructureError(f"cannot make a night in {root}: {error.strerror}", hint="see the disk") from error
    night = Night(path, state)
    night.save()
    return night


def point_at(night: Night) -> None:
    """Let the link `latest` lead to `night`."""
    new = night.path.with_name(f".{LATEST}.{os.getpid()}")
    with contextlib.suppress(OSError):  # a convenience
        new.unlink(missing_ok=True)
        new.symlink_to(night.name)
        new.replace(night.path.with_name(LATEST))


def fresh(loaded: Loaded, now: float) -> NightState:
    """The state of a night that has still to begin."""
    return NightState(plan=loaded.name, digest=loaded.digest, began=now, runs=[_waiting(run) for run in loaded.runs])


def _waiting(run: PlannedRun) -> RunState:
    return RunState(name=run.name, job=run.job, board=run.board)


def to_resume(root: Path, loaded: Loaded, now: float, *, asked: bool) -> Night | None:
    """The unfinished night to go on with: the plan's newest, of the same text, begun less than 12 hours ago.

    With `asked` its age does not matter, and `ConfigurationError` says why there is none.
    """
    newest = next((one for one in nights(root) if one.state.plan == loaded.name and one.state.runs), None)
    why = ""
    if newest is None or not newest.unfinished:
        why = f"there is no unfinished night of {loaded.path} in {root}"
    elif newest.state.digest != loaded.digest:
        why = f"the plan has changed since the night {newest.name}"
    if why and asked:
        raise ConfigurationError(why, hint="leave out --resume for a new night")
    if why or newest is None:
        return None
    return newest if asked or now - newest.state.began < RESUMABLE else None
