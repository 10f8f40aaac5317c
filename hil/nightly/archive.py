"""The way of a night's runs into the history, which no night fails of."""

from __future__ import annotations

from pathlib import Path

from hil.errors import HilError
from hil.history.ingest import add, journals
from hil.history.store import NAME, History


class NightHistory:
    """The history beside the nights in `root`. `notes` tell what did not get there, for a summary."""

    def __init__(self, root: Path) -> None:
        self.store = root / NAME
        self.notes: list[str] = []

    def take(self, directory: Path, *, ended: bool = False) -> None:
        """Take in the runs in `directory` that are not there yet; with `ended` nobody is at work in it any more."""
        try:
            if not any(journals(directory)):
                return
            with History(self.store, write=True) as history:
                told = add(history, [directory], ended=ended).notes
        except Exception as error:  # whatever it is, the night goes on
            why = error.message if isinstance(error, HilError) else f"{type(error).__name__}: {error}"
            told = [f"{why}; `hil history add {directory}` takes them in later"]
        self.notes += [note for one in told if (note := f"history: {one}") not in self.notes]
