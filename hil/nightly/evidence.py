"""The evidence of a night: its runs in the history, its report and its review. Errors here never fail the night."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import HilError
from hil.history.ingest import add, journals
from hil.history.store import NAME, History
from hil.host import project
from hil.measure.units import shown
from hil.nightly.state import REPORT, Night
from hil.report.build import HISTORY, build
from hil.report.merge import Part

if TYPE_CHECKING:
    from hil.review.overview import Review
    from hil.review.trend_series import TrendSeries


class HistoryImport:
    """The project's history, by default beside the nights in `root`.

    `notes` lists what could not be added, for the summary.
    """

    def __init__(self, root: Path) -> None:
        self.store = project.current().path("history") or root / NAME
        self.notes: list[str] = []

    def add(self, directory: Path, *, ended: bool = False) -> None:
        """Add the runs in `directory` that are not in the history; with `ended` none of them is still running."""
        try:
            if not any(journals(directory)):
                return
            with History(self.store, write=True) as history:
                reasons = add(history, [directory], ended=ended).notes
        except Exception as error:  # the night continues in any case
            reasons = [f"{_text(error)}; `hil history add {directory}` adds them later"]
        self.notes += [note for reason in reasons if (note := f"history: {reason}") not in self.notes]


def make_report(night: Night) -> str:
    """Write the Allure report of all tries of all runs. Return a line for the summary, also where it fails."""
    parts = [
        Part(directory / "allure", run.name, directory / "journal.jsonl")
        for run in night.state.runs
        for directory in night.directories(run)
    ]
    title = f"Night {night.name}, plan {night.state.plan}"
    try:
        history = night.path.with_name(HISTORY)
        built = build(parts, night.path / REPORT, title=title, history=history, night=night.name)
        return f"report: {built.path}"
    except Exception as error:  # the night's results stand in any case
        return f"no report: {_text(error)}"


def make_review(history: Path, night: Night) -> tuple[Review | None, list[str]]:
    """Write the night's overview and trend pages. Return its review, None without one, and lines for the summary."""
    if not history.exists():  # no run has written a journal
        return None, []
    try:
        return _review(history, night)
    except Exception as error:  # the night's results stand in any case
        return None, [f"no overview: {_text(error)}"]


def _review(file: Path, night: Night) -> tuple[Review, list[str]]:
    from hil.review.overview import review
    from hil.review.review_window import ReviewWindow
    from hil.review.trend_series import trend_series

    with History(file) as history:
        window = ReviewWindow.of(history, night.name, min_effect=night.state.min_effect / 100)
        left_out = [f"history: {reason}" for reason in history.left_out]
    made = review(replace(window, idle=night.idle), night.path)
    exact = _exact_changes(trend_series(window))
    return made, [*exact, f"overview: {made.overview} ({made.verdict})", *left_out]


def _exact_changes(all_series: Sequence[TrendSeries]) -> Iterator[str]:
    """Yield a line if figures of exact clocks, which repeat to the bit, changed since they were last measured."""
    exact = [series for series in all_series if series.now and series.exact and len(series.values) > 1]
    changed = [series for series in exact if series.values[-1] != series.values[-2]]
    if changed:
        first, key = changed[0], changed[0].key
        since = first.night(len(first.values) - 2)
        old, new = (shown(value, key.unit) for value in first.values[-2:])
        example = f"{key.quantity} of {key.subject}, {key.board}: {key.name} {old} -> {new} since {since}"
        yield f"exact figures: {len(changed)} of {len(exact)} changed: {example}" + ", ..." * (len(changed) > 1)


def _text(error: Exception) -> str:
    """Return the error's message; for an error of another library with its class."""
    if not isinstance(error, HilError):
        return f"{type(error).__name__}: {error}"
    return f"{error.message}; what to do: {error.hint}" if error.hint else error.message
