"""Nights on the disk: a directory each, its state, written after each step, and the lock of all nights."""

from __future__ import annotations

import contextlib
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
from hil.host import files, foreign
from hil.host.disk import disk_errors
from hil.host.locks import try_lock
from hil.nightly.plan import LoadedPlan
from hil.text import storable

STATE, SUMMARY, REPORT, LATEST = "state.json", "summary.md", "report.html", "latest"
RESUMABLE = 12 * 3600.0  # seconds after its begin in which a night is resumed without --resume
NAME = re.compile(r"(\d{4}-\d\d-\d\d)(?:-(\d+))?")


class DirectoryInUse(InfrastructureError):
    """Another night is running in the same directory."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Try(_Model):
    """One process of a run. `status` is negative for a signal; `ended` is the reason if the night ended it."""

    began: float
    seconds: float = 0.0
    status: int | None = None
    ended: str = ""


class RunState(_Model):
    """The progress of a run; `why` is the reason why it was not run to its end."""

    name: str
    job: str
    board: str
    state: Literal["waiting", "running", "done", "not run"] = "waiting"
    tries: list[Try] = []
    why: str = ""


class NightState(_Model):
    """The state of a night. Times are in seconds since 1970; `digest` is that of the plan's text.

    `min_effect` is the plan's, in percent.
    """

    plan: str
    digest: str = ""
    min_effect: float = 5.0
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
        """The runs that have not ended, each with the reason; without one it is still to come."""
        return {run.name: run.why for run in self.state.runs if run.state != "done"}

    def directory(self, run: RunState, number: int) -> Path:
        """Return the directory of a run's try; `number` counts from 1."""
        return self.path / run.name / f"try-{number}"

    def directories(self, run: RunState) -> list[Path]:
        """Return the directories of a run's tries."""
        return [self.directory(run, number) for number in range(1, len(run.tries) + 1)]

    def save(self) -> None:
        """Write the state, atomically. Raises `InfrastructureError` for disk errors."""
        text = json.dumps(self.state.model_dump(), indent=1)  # ASCII: a path or a cause may contain anything
        write(self.path / STATE, text + "\n")


def write(path: Path, text: str) -> None:
    """Write a file, atomically and durably. Raises `InfrastructureError` for disk errors."""
    with disk_errors(f"write {path}"):
        files.write(path, storable(text), durable=True)


def order(name: str) -> tuple[str, int]:
    """Return the sort key of a night's name, oldest first."""
    found = NAME.fullmatch(name)
    assert found
    return found[1], int(found[2] or 1)


def directories(root: Path) -> list[Path]:
    """Return the directories of nights in `root`, oldest first."""
    with contextlib.suppress(OSError):
        found = [entry for entry in root.iterdir() if NAME.fullmatch(entry.name) and entry.is_dir()]
        return sorted(found, key=lambda entry: order(entry.name))
    return []


def nights(root: Path) -> Iterator[Night]:
    """Yield the nights in `root`, newest first; those with a broken state are left out."""
    for path in reversed(directories(root)):
        with contextlib.suppress(OSError, ValueError):  # pydantic's error is a ValueError
            state = NightState.model_validate(foreign.decode(foreign.read(path / STATE, foreign.RESULT_LIMIT)))
            for at in (state.began, state.ended):
                foreign.moment(at)
            yield Night(path, state)


@contextlib.contextmanager
def lock(root: Path, who: str) -> Iterator[None]:
    """Lock `root` for the plan `who`. Raises `DirectoryInUse`, and `InfrastructureError` for disk errors."""
    with disk_errors(f"use the directory of nights {root}", hint="choose another with --directory"):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (root / ".lock").open("a+", encoding="utf-8")
    with file:
        if not try_lock(file):
            file.seek(0)
            holder = file.read().strip() or "unknown process"
            raise DirectoryInUse(
                f"another night is running in {root}: {holder}",
                hint="wait for its end, or end it with SIGTERM; lower the `limit` in its plan to keep nights apart",
            )
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        with disk_errors(f"write {root / '.lock'}"):
            file.truncate(0)
            file.write(f"plan {storable(who)}, process {os.getpid()} on {socket.gethostname()}, since {now}\n")
            file.flush()
        yield


def begin(root: Path, state: NightState) -> Night:
    """Create the directory of a new night, named by its date. Raises `InfrastructureError` for disk errors."""
    date = time.strftime("%Y-%m-%d", time.localtime(state.began))
    number = max((order(path.name)[1] for path in directories(root) if path.name.startswith(date)), default=0)
    with disk_errors(f"create a night in {root}"):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            number += 1
            path = root / (date if number == 1 else f"{date}-{number}")
            with contextlib.suppress(FileExistsError):  # of another process, which could not run either
                path.mkdir(mode=0o700)
                break
    night = Night(path, state)
    night.save()
    return night


def point_at(night: Night) -> None:
    """Let the link `latest` point to `night`."""
    with contextlib.suppress(OSError), files.replacing(night.path.with_name(LATEST)) as new:  # a convenience
        new.symlink_to(night.name)


def initial_state(loaded: LoadedPlan, now: float) -> NightState:
    """Return the state of a night before its first run."""
    runs = [RunState(name=run.name, job=run.job, board=run.board) for run in loaded.runs]
    effect = loaded.plan.min_effect
    return NightState(plan=loaded.name, digest=loaded.digest, min_effect=effect, began=now, runs=runs)


def to_resume(root: Path, loaded: LoadedPlan, now: float, *, required: bool) -> Night | None:
    """Return the night to resume: the plan's newest, if unfinished, of the same text and less than 12 hours old.

    If `required`, its age does not matter, and `ConfigurationError` is raised where there is none.
    """
    newest = next((night for night in nights(root) if night.state.plan == loaded.name and night.state.runs), None)
    reason = ""
    if newest is None or not newest.unfinished:
        reason = f"there is no unfinished night of {loaded.path} in {root}"
    elif newest.state.digest != loaded.digest:
        reason = f"the plan has changed since the night {newest.name}"
    if reason and required:
        raise ConfigurationError(reason, hint="leave out --resume for a new night")
    if reason or newest is None:
        return None
    return newest if required or now - newest.state.began < RESUMABLE else None
