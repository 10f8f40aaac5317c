"""A night from its plan to its summary and exit status."""

from __future__ import annotations

import asyncio
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from hil.errors import ConfigurationError, HilError, InfrastructureError
from hil.host.disk import disk
from hil.nightly import evidence, state, summary
from hil.nightly.evidence import HistoryImport
from hil.nightly.outcome import IN_USE, INTERRUPTED, run_outcome, status
from hil.nightly.plan import LoadedPlan, load
from hil.nightly.retention import remove_old_nights
from hil.nightly.scheduler import Log, Scheduler
from hil.nightly.state import DirectoryInUse, Night, NightState

LEAST_FREE = 512 << 20  # bytes; on a full disk all runs would fail


@dataclass(frozen=True)
class NightResult:
    """The exit status of a night, its summary, and its directory if there is one.

    `error` is the reason why it could not run.
    """

    status: int
    text: str = ""
    path: Path | None = None
    error: HilError | None = None


def run_night(path: Path, root: Path, *, resume: bool | None = None, log: Log = print) -> NightResult:
    """Run the plan in `path` and store the results in a directory of the night in `root`.

    An unfinished night of the last 12 hours is resumed; with `resume` one of any age, with False none. `log` is
    called with a line at each run's end. Raises no error of this project: a night that could not run has a summary.
    """
    root = root.absolute()
    try:
        loaded = load(path)
        with state.lock(root, str(loaded.path)):
            return _prepare(loaded, root, resume, log)
    except HilError as error:
        return _did_not_run(path, root, error)
    except Exception as error:  # an unattended night has to leave a summary
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{type(error).__name__} at {frame.filename}:{frame.lineno}: {error}"
        return _did_not_run(path, root, InfrastructureError(f"an error of the framework, {where}"))


def _prepare(loaded: LoadedPlan, root: Path, resume: bool | None, log: Log) -> NightResult:
    night = None if resume is False else state.to_resume(root, loaded, time.time(), required=bool(resume))
    notes = remove_old_nights(root, loaded.plan.keep, night.name if night else "")
    with disk(root, LEAST_FREE, "--directory"):
        return _run(loaded, root, night, notes, log)


def _run(loaded: LoadedPlan, root: Path, night: Night | None, notes: list[str], log: Log) -> NightResult:
    if night:
        began = time.strftime("%Y-%m-%d %H:%M", time.localtime(night.state.began))
        log(f"resuming the unfinished night {night.name}, which began {began}")
        night.state.state = "running"
    else:
        night = state.begin(root, state.initial_state(loaded, time.time()))
    state.point_at(night)
    log(f"night {night.path}: {len(night.state.runs)} runs")
    history = HistoryImport(root)
    history.add(root)  # also runs of nights that were killed
    scheduler = Scheduler(night, loaded, log, history)
    asyncio.run(scheduler.run())
    night.state.state = "interrupted" if scheduler.stopped else "done"
    night.state.ended = time.time()
    outcomes = [run_outcome(night, run) for run in night.state.runs]
    night.state.status = INTERRUPTED + scheduler.stopped if scheduler.stopped else status(outcomes)
    report_note = evidence.make_report(night)  # first: the overview links to it
    review, review_notes = evidence.make_review(history.store, night)
    notes = [*review_notes, report_note, *history.notes, *notes]
    notes += remove_old_nights(root, loaded.plan.keep, night.name)
    text = summary.summary(night, outcomes, review, notes)
    state.write(night.path / state.SUMMARY, text)
    night.save()
    return NightResult(night.state.status, text, night.path)


def _did_not_run(plan: Path, root: Path, error: HilError) -> NightResult:
    """Leave a directory and a summary of a night that did not run, if the disk permits."""
    number = IN_USE if isinstance(error, DirectoryInUse) else 2 if isinstance(error, ConfigurationError) else 3
    now = time.time()
    failed = NightState(plan=plan.stem, began=now, ended=now, state="did not run", why=str(error), status=number)
    try:
        night = state.begin(root, failed)
        state.point_at(night)
        text = summary.not_run(night)
        state.write(night.path / state.SUMMARY, text)
    except InfrastructureError as disk_error:
        return NightResult(number, f"no summary is kept: {disk_error.message}\n", None, error)
    return NightResult(number, text, night.path, error)
