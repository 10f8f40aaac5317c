"""Import of a night's runs into the history. Errors here never fail the night."""

from __future__ import annotations

from pathlib import Path

from hil.history.ingest import add, journals
from hil.history.store import NAME, History
from hil.nightly.notes import error_text


class HistoryImport:
    """The history beside the nights in `root`. `notes` lists what could not be added, for the summary."""

    def __init__(self, root: Path) -> None:
        self.store = root / NAME
        self.notes: list[str] = []

    def add(self, directory: Path, *, ended: bool = False) -> None:
        """Add the runs in `directory` that are not in the history; with `ended` none of them is still running."""
        try:
            if not any(journals(directory)):
                return
            with History(self.store, write=True) as history:
                reasons = add(history, [directory], ended=ended).notes
        except Exception as error:  # the night continues in any case
            reasons = [f"{error_text(error)}; `hil history add {directory}` adds them later"]
        self.notes += [note for reason in reasons if (note := f"history: {reason}") not in self.notes]
