"""The Allure report of a night: the results of all its runs, each with its tries."""

from __future__ import annotations

from hil.nightly.notes import error_text
from hil.nightly.state import REPORT, Night
from hil.report.build import HISTORY, Built, build
from hil.report.merge import Part


def make(night: Night) -> str:
    """Write the report. Return a line for the summary, also where it fails."""
    directories = [
        (run.name, night.directory(run, number)) for run in night.state.runs for number in range(1, len(run.tries) + 1)
    ]
    parts = [Part(directory / "allure", name, directory / "journal.jsonl") for name, directory in directories]
    title = f"Night {night.name}, plan {night.state.plan}"
    try:
        history = night.path.with_name(HISTORY)
        built: Built = build(parts, night.path / REPORT, title=title, history=history, night=night.name)
        return f"report: {built.path}"
    except Exception as error:  # the night's results stand in any case
        return f"no report: {error_text(error)}"
