"""From the directories of runs into the store: each run whole, once, and with what it had told when it was killed."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hil.errors import ConfigurationError, HilError
from hil.history import journal
from hil.history.identity import choice_of, repetition_in, stable_test, suite_of
from hil.history.journal import Account, Tested
from hil.history.rows import Boot, RecordedRun, Run, Test
from hil.history.store import History
from hil.host import foreign

if TYPE_CHECKING:
    from hil.measure.results import SeriesRecord

QUIET = 24 * 3600.0  # seconds without a line after which a run of another machine counts as killed
BROKEN_SHOWN = 5  # broken lines of a journal that are named
TRY = re.compile(r"try-(\d+)")
STATE, RESULTS = "state.json", "results.jsonl"


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class RunLocation:
    """Where a run belongs: its night, its name in it, the night's plan and the number of its try."""

    night: str = ""
    name: str = ""
    plan: str = ""
    attempt: int = 1


@dataclass
class Added:
    """What became of some directories: `runs` were added, `known` are there already, `notes` tell of the others."""

    runs: int = 0
    killed: int = 0
    tests: int = 0
    series: int = 0
    known: int = 0
    running: int = 0
    broken: int = 0
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"{counted(self.runs, 'run')} added" + (f", {self.killed} of them killed" if self.killed else "")
        told += f", with {counted(self.tests, 'test')} and {self.series} series" if self.runs else ""
        told += f"; {self.known} known already" if self.known else ""
        return told + (f"; {self.running} still running, left out" if self.running else "")


def add(history: History, directories: Sequence[Path], *, ended: bool = False) -> Added:
    """Take in all runs in `directories`: of runs, nights, or directories of nights.

    A run that has not written its end is left out while its process is there; one of another machine until it has
    been quiet for a day, or with `ended` at once. Raises `ConfigurationError` for a directory without any run.
    """
    added = Added()
    for directory in directories:
        found = list(journals(directory))
        if not found:
            raise ConfigurationError(
                f"there is no run in {directory}: no {journal.NAME} in it nor in its nights",
                hint="name the directory of a run, a night or nights; `hil history import` reads Allure's results",
            )
        for path in found:
            try:
                _add(history, path, added, ended)
            except (ConfigurationError, OSError) as error:
                added.broken += 1
                told = error.message if isinstance(error, HilError) else foreign.why(error)
                added.notes.append(told if str(path) in told else f"{path}: {told}")
    return added


def take(store: Path, path: Path, *, ended: bool = False) -> list[str]:
    """Take the run of the journal at `path` into the store at `store`, which is made where it is not there.

    What to tell of it. Raises what `History` does.
    """
    added = Added()
    with History(store, write=True) as history:
        _add(history, path, added, ended)
    return [f"history: {store}: {added}", *added.notes]


def journals(directory: Path) -> Iterator[Path]:
    """The journals of the runs in a directory of a run, of several, of a night or of nights; each once."""
    seen: set[Path] = set()
    for pattern in ("", "*/", "*/*/", "*/*/*/"):
        for path in sorted(directory.glob(f"{pattern}{Path(journal.NAME).stem}*.jsonl")):
            hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)  # on its way out
            if not hidden and path.is_file() and (real := path.resolve()) not in seen:  # `latest` is a link
                seen.add(real)
                yield real


def _add(history: History, path: Path, added: Added, ended: bool) -> None:
    account, ident = _read(path)
    if history.has(ident):
        added.known += 1
        return
    if account.ended is None and not ended and (why := _at_work(account, path)):
        added.running += 1
        added.notes.append(f"{path}: {why}")
        return
    added.broken += bool(account.broken)
    added.notes += [f"{path}: {why}; left out" for why in account.broken[:BROKEN_SHOWN]]
    if len(account.broken) > BROKEN_SHOWN:
        added.notes.append(f"{path}: and {len(account.broken) - BROKEN_SHOWN} more lines left out")
    taken = taken_of(path, account, ident, added.notes)
    if not history.add(taken):  # another one was quicker
        added.known += 1
        return
    added.runs += 1
    added.killed += taken.run.state == "killed"
    added.tests += len(taken.tests)
    added.series += len(taken.records)


def _read(path: Path) -> tuple[Account, str]:
    """The account of the journal at `path`, and the run's id. Raises `ConfigurationError` for what is no journal."""
    try:
        text = foreign.read(path, journal.LIMIT)
    except OSError as error:
        raise ConfigurationError(f"cannot read the journal {path}: {foreign.why(error)}") from error
    lines = list(journal.lines(text))
    first = lines[0] if lines and isinstance(lines[0], dict) else {}
    version = first.get("journal")
    if isinstance(version, int) and version > journal.VERSION:
        told = f"{path} is a journal of version {version}, only {journal.VERSION} is known"
        raise ConfigurationError(told, hint="update this project")
    account = journal.account(lines)
    if "journal" not in first or (account.broken[:1] and account.broken[0].startswith("line 1:")):
        why = account.broken[0] if account.broken else "its first line is not a journal's"
        raise ConfigurationError(f"{path} is no journal of a run: {why}")
    begin = b"\n".join(text.split(b"\n")[:2])  # which was the time to the microsecond, and the tests
    return account, account.head.id or hashlib.sha256(begin).hexdigest()[:32]


def _at_work(account: Account, path: Path) -> str:
    """Why a run without an end may still be at work; empty where it is not."""
    head = account.head
    if head.alive:
        return f"it is still running, as process {head.pid}"
    quiet = time.time() - path.stat().st_mtime
    if head.elsewhere and quiet < QUIET:
        return f"it has no end, and only {head.host} knows whether it is still running: --ended says that it is not"
    return ""


def taken_of(path: Path, account: Account, ident: str, notes: list[str]) -> RecordedRun:
    """The run of the journal at `path`, as the store has it. What could not be read goes to `notes`."""
    place, head = place_of(path), account.head
    tests = _with_earlier(path, account, place)
    records, facts = _measured(path, account, notes)
    names = _boards(account)
    made = [_test(ident, test, account, names) for test in tests]
    boards = list(dict.fromkeys(test.board for test in made if test.board))
    told = {"host": head.host, "command": " ".join(head.command), "died": account.died}
    told |= {f"problem {number}": f"{where}: {cause}" for number, (where, cause) in enumerate(account.problems, 1)}
    run = Run(
        id=ident,
        night=place.night,
        name=place.name or (Path(head.transcripts).name if head.transcripts else path.parent.name),
        plan=place.plan,
        board=", ".join(boards or [name or choice for choice, name in head.choices.items()]),
        began=head.time or path.stat().st_mtime,
        ended=account.ended,
        status=account.status,
        state="killed" if account.ended is None else "done",
        facts={name: fact for name, fact in (facts | told).items() if fact},
        source="journal",
        attempt=place.attempt,
        host=head.host,
    )
    boots = [
        Boot(ident, *(boot.get(name, "") for name in ("board", "kind", "fault", "stage", "cause")))
        for boot in account.boots
    ]
    return RecordedRun(run, made, boots, records)


def place_of(path: Path) -> RunLocation:
    """Where the run of the journal at `path` belongs: nowhere, unless it is NIGHT/NAME/try-N/journal.jsonl."""
    directory = path.resolve().parent
    number, night = TRY.fullmatch(directory.name), directory.parent.parent
    if number is None:
        return RunLocation()
    try:
        plan = foreign.decode(foreign.read(night / STATE, journal.LIMIT))["plan"]
    except (OSError, ValueError, LookupError, TypeError):
        return RunLocation()
    return RunLocation(night.name, directory.parent.name, str(plan), int(number[1]))


def _with_earlier(path: Path, account: Account, place: RunLocation) -> list[Tested]:
    """The run's tests; those that an earlier try saw fail by image or test stay failed, as in the night's summary."""
    tests = dict(account.tests)
    for number in range(1, place.attempt):
        before = path.parent.with_name(f"try-{number}") / path.name
        tests |= {test.nodeid: test for test in journal.read(before).failed if test.blamed}
    return list(tests.values())


def _boards(account: Account) -> Mapping[str, str]:
    """What stands for each choice in the stable names: the board that was had for it, else the one expected."""
    names = dict(account.head.choices)
    for nodeid, test in account.tests.items():
        choice = choice_of(nodeid, names)
        if choice and not names[choice]:
            names[choice] = test.board
    return names


def _test(run: str, test: Tested, account: Account, names: Mapping[str, str]) -> Test:
    head = account.head
    choice = choice_of(test.nodeid, names)
    name = head.choices.get(choice, "") or test.board or names.get(choice, "")
    return Test(
        run=run,
        test=stable_test(test.nodeid, choice, name or choice, repetition_in(test.nodeid, head.repeat)),
        suite=suite_of(test.nodeid, head.root),
        board=test.board or head.board(name),
        place=test.place,
        image=test.image,
        clock=head.clock,
        outcome=test.outcome,
        fault=test.fault,
        cause=test.cause,
        seconds=test.seconds,
        retried=test.retried,
        transcript=test.transcript,
        image_sha256=test.image_sha256,
        nodeid=test.nodeid,
    )


def _measured(path: Path, account: Account, notes: list[str]) -> tuple[tuple[SeriesRecord, ...], dict[str, str]]:
    """The series of a run, and what its results file says of the whole session."""
    found = next((one for one in _results(path, account) if _is_file(one)), None)
    if found is None:
        return (), {}
    from hil.measure import results

    try:
        loaded = results.load(found)
    except HilError as error:
        notes.append(f"its series are left out: {error.message}")
        return (), {}
    facts = dict(loaded.facts or {})
    if account.head.id and facts.pop("run", account.head.id) != account.head.id:
        return (), {}  # another run's, which was told the same file
    if loaded.torn:
        notes.append(loaded.torn)
    return loaded.records, facts


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long
        return False


def _results(path: Path, account: Account) -> Iterator[Path]:
    """Where the series of a run may be: the directory may have been moved since."""
    named = account.head.results
    if named:
        yield Path(named)
    yield path.parent / (Path(named).name if named else RESULTS)
