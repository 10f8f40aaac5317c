"""A night from its plan to its summary and exit status."""

from __future__ import annotations

import asyncio
import time
import traceback
from dataclasses import dataclass, replace
from pathlib import Path

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host.tools import disk
from hil.nightly import keep, report, state, summary
from hil.nightly.archive import NightHistory
from hil.nightly.outcome import HELD, INTERRUPTED, earlier, outcome, status
from hil.nightly.plan import Loaded, load
from hil.nightly.state import Held, Night, NightState
from hil.nightly.work import Tell, Work

LEAST_FREE = 512 << 20  # bytes: a night that fills the disk proves nothing


@dataclass(frozen=True)
class Spent:
    """What became of a night: its exit status, the summary's text, and where it is kept, if it could be.

    `error` is what kept it from running.
    """

    status: int
    text: str = ""
    path: Path | None = None
    error: HilError | None = None


def spend(path: Path, root: Path = state.DIRECTORY, *, resume: bool | None = None, tell: Tell = print) -> Spent:
    """Run the plan in `path` and keep all that comes of it in a night's directory in `root`.

    Goes on with an unfinished night of today, with `resume` of any day, with False never. `tell` gets a
    line as each run ends. Raises nothing of ours: a night that could not run leaves a summary, too.
    """
    root = root.absolute()
    try:
        loaded = load(path)
        with state.lock(root, str(loaded.path)):
            return _spend(loaded, root, resume, tell)
    except HilError as error:
        return _did_not_run(path, root, error)
    except Exception as error:  # nobody is there to read a traceback, and a night leaves a summary
        frame = traceback.extract_tb(error.__traceback__)[-1]
        told = f"an error of the framework, {type(error).__name__} at {frame.filename}:{frame.lineno}: {error}"
        return _did_not_run(path, root, InfrastructureError(told))


def _spend(loaded: Loaded, root: Path, resume: bool | None, tell: Tell) -> Spent:
    night = None if resume is False else state.to_resume(root, loaded, time.time(), asked=bool(resume))
    notes = keep.clear(root, loaded.plan.keep, night.name if night else "").lines()  # makes room
    with disk(root, LEAST_FREE, "--directory"):
        return _work(loaded, root, night, notes, tell)


def _work(loaded: Loaded, root: Path, night: Night | None, notes: list[str], tell: Tell) -> Spent:
    if night:
        begun = time.strftime("%Y-%m-%d %H:%M", time.localtime(night.state.began))
        tell(f"going on with the night {night.name}, which began {begun} and was not finished")
        night.state.state = "running"
    else:
        night = state.begin(root, state.fresh(loaded, time.time()))
    state.point_at(night)
    tell(f"night {night.path}: {len(night.state.runs)} runs")
    archive = NightHistory(root)
    archive.take(root)  # what a night that was killed has left
    work = Work(night, loaded, tell, archive)
    asyncio.run(work.do())
    night.state.state = "interrupted" if work.stopped else "done"
    night.state.ended = time.time()
    before = earlier(night, list(state.nights(root)))
    outcomes = [outcome(night, run, before) for run in night.state.runs]
    night.state.status = INTERRUPTED + work.stopped if work.stopped else status(outcomes)
    made = report.make(night)  # the overview links to it
    notes = [*_review(archive.store, night), made, *archive.notes, *notes]
    notes += keep.clear(root, loaded.plan.keep, night.name).lines()
    text = summary.summary(night, outcomes, before, notes, loaded.plan.shift / 100)
    state.write(night.path / state.SUMMARY, text)
    night.save()
    return Spent(night.state.status, text, night.path)


def _review(store: Path, night: Night) -> list[str]:
    """Make the night's overview and trends; what to tell of them. A night without them is still a night."""
    from hil.history.store import History
    from hil.review.overview import review
    from hil.review.window import ReviewWindow

    if not store.exists():  # no run has told anything
        return []
    try:
        with History(store) as history:
            window = ReviewWindow.of(history, night.name)
            left_out = [f"history: {why}" for why in history.left_out]
        made = review(replace(window, idle=night.idle), night.path)
    except Exception as error:  # whatever it is, the night has been
        return [f"no overview: {error.message if isinstance(error, HilError) else f'{type(error).__name__}: {error}'}"]
    return [f"overview: {made.overview} ({made.verdict})", *left_out]


def _did_not_run(plan: Path, root: Path, error: HilError) -> Spent:
    """Leave a trace of a night that did not run, where that can be."""
    number = HELD if isinstance(error, Held) else 2 if isinstance(error, ConfigurationError) else 3
    now = time.time()
    made = NightState(plan=plan.stem, began=now, ended=now, state="did not run", why=str(error), status=number)
    try:
        night = state.begin(root, made)
        state.point_at(night)
        text = summary.not_run(night)
        state.write(night.path / state.SUMMARY, text)
    except InfrastructureError as again:
        return Spent(number, f"no summary is kept: {again.message}\n", None, error)
    return Spent(number, text, night.path, error)
