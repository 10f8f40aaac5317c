"""Import of runs from their directories into the history: each run once, a killed one up to where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hil.errors import ConfigurationError, HilError
from hil.history import journal
from hil.history.conversion import recorded_run
from hil.history.journal import Account
from hil.history.journal_lines import lines
from hil.history.store import History
from hil.host import foreign
from hil.text import counted

QUIET = 24 * 3600.0  # seconds without a line after which a run of another machine counts as killed
BROKEN_SHOWN = 5  # broken lines of a journal that are listed


@dataclass
class Added:
    """The result of an import: `runs` were added, `known` were there before; `notes` are reasons for the others."""

    runs: int = 0
    killed: int = 0
    tests: int = 0
    series: int = 0
    known: int = 0
    running: int = 0
    broken: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{counted(self.runs, 'run')} added" + (f", {self.killed} of them killed" if self.killed else "")
        text += f", with {counted(self.tests, 'test')} and {self.series} series" if self.runs else ""
        text += f"; {self.known} known already" if self.known else ""
        return text + (f"; {self.running} still running, left out" if self.running else "")


def add(history: History, directories: Sequence[Path], *, ended: bool = False) -> Added:
    """Add all runs in `directories`: of runs, nights, or directories of nights.

    A run without an end is left out while its process runs; a run of another machine until its journal has been quiet
    for a day, or with `ended` not at all. Raises `ConfigurationError` for a directory without runs.
    """
    added = Added()
    for directory in directories:
        paths = list(journals(directory))
        if not paths:
            raise ConfigurationError(
                f"there is no run in {directory}: no {journal.NAME} in it nor in its nights",
                hint="name the directory of a run, of a night, or of nights",
            )
        for path in paths:
            try:
                _add(history, path, added, ended)
            except (ConfigurationError, OSError) as error:
                added.broken += 1
                reason = error.message if isinstance(error, HilError) else foreign.why(error)
                added.notes.append(reason if str(path) in reason else f"{path}: {reason}")
    return added


def add_run(store: Path, path: Path) -> list[str]:
    """Add the run with the journal at `path` to the history at `store`. Return lines for the terminal.

    Raises what `History` does.
    """
    added = Added()
    with History(store, write=True) as history:
        _add(history, path, added, False)
    return [f"history: {store}: {added}", *added.notes]


def journals(directory: Path) -> Iterator[Path]:
    """Yield the journals of the runs in a directory of a run, of runs, of a night or of nights; each once."""
    seen: set[Path] = set()
    for pattern in ("", "*/", "*/*/", "*/*/*/"):
        for path in sorted(directory.glob(f"{pattern}{Path(journal.NAME).stem}*.jsonl")):
            hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)  # a night being removed
            if not hidden and path.is_file() and (real := path.resolve()) not in seen:  # `latest` is a link
                seen.add(real)
                yield real


def _add(history: History, path: Path, added: Added, ended: bool) -> None:
    account = _read(path)
    if history.has(account.head.id):
        added.known += 1
        return
    if account.ended is None and not ended and (reason := _still_running(account, path)):
        added.running += 1
        added.notes.append(f"{path}: {reason}")
        return
    added.broken += bool(account.broken)
    added.notes += [f"{path}: {reason}; left out" for reason in account.broken[:BROKEN_SHOWN]]
    if len(account.broken) > BROKEN_SHOWN:
        added.notes.append(f"{path}: and {len(account.broken) - BROKEN_SHOWN} more lines left out")
    recorded = recorded_run(path, account, added.notes)
    if not history.add(recorded):  # another process was faster
        added.known += 1
        return
    added.runs += 1
    added.killed += recorded.run.state == "killed"
    added.tests += len(recorded.tests)
    added.series += len(recorded.records)


def _read(path: Path) -> Account:
    """Return the account of the journal at `path`. Raises `ConfigurationError` for another file."""
    try:
        text = foreign.read(path, journal.LIMIT)
    except OSError as error:
        raise ConfigurationError(f"cannot read the journal {path}: {foreign.why(error)}") from error
    found = list(lines(text))
    version = found[0].get("journal") if found and isinstance(found[0], dict) else None
    if isinstance(version, int) and version != journal.VERSION:
        readable = f"this project reads version {journal.VERSION}"
        raise ConfigurationError(f"{path} is a journal of version {version}; {readable}")
    account = journal.account(found)
    if not account.head.id:
        reason = account.broken[0] if account.broken else "its first line is not that of a journal"
        raise ConfigurationError(f"{path} is not the journal of a run: {reason}")
    return account


def _still_running(account: Account, path: Path) -> str:
    """Return why a run without an end may still be running; empty where it is not."""
    head = account.head
    if head.alive:
        return f"it is still running, as process {head.pid}"
    quiet = time.time() - path.stat().st_mtime
    if head.elsewhere and quiet < QUIET:
        return f"it has no end and may still be running on {head.host}; if it is not, add it with --ended"
    return ""
