"""Conversion of a run's journal and results file into the run that the history stores."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import HilError
from hil.history import journal
from hil.history.identity import choice_of, repetition_in, stable_test, suite_of
from hil.history.journal import Account, Tested
from hil.history.rows import Boot, RecordedRun, Run, Test
from hil.host import foreign

if TYPE_CHECKING:  # imports numpy
    from hil.measure.results import SeriesRecord

TRY = re.compile(r"try-(\d+)")
STATE, RESULTS = "state.json", "results.jsonl"


def recorded_run(path: Path, account: Account, notes: list[str]) -> RecordedRun:
    """Return the run with the journal at `path`. Reasons for parts that are left out are added to `notes`."""
    location, head = location_of(path), account.head
    ident = head.id
    results = _tests_of_all_tries(path, account, location)
    records, facts = _measured(path, account, notes)
    names = _boards(account)
    tests = [_test(ident, test, account, names) for test in results]
    boards = list(dict.fromkeys(test.board for test in tests if test.board))
    facts |= {"host": head.host, "command": " ".join(head.command), "died": account.died, **head.software}
    facts |= {f"source {file}": digest for file, digest in account.sources.items()}
    facts |= {f"problem {number}": f"{where}: {cause}" for number, (where, cause) in enumerate(account.problems, 1)}
    name = Path(head.transcripts).name if head.transcripts else path.parent.name
    run = Run(
        id=ident,
        board=", ".join(boards or [name or choice for choice, name in head.choices.items()]),
        began=head.time or path.stat().st_mtime,
        ended=account.ended,
        status=account.status,
        state="killed" if account.ended is None else "done",
        facts={name: fact for name, fact in facts.items() if fact},
        host=head.host,
        **{"night": "", "plan": "", "name": name} | location,
    )
    boots = [
        Boot(ident, *(boot.get(name, "") for name in ("board", "kind", "fault", "stage", "cause")))
        for boot in account.boots
    ]
    return RecordedRun(run, tests, boots, records)


def location_of(path: Path) -> dict[str, Any]:
    """Return night, name, plan and attempt of the run with the journal NIGHT/NAME/try-N/journal.jsonl; else nothing."""
    directory = path.resolve().parent
    number, night = TRY.fullmatch(directory.name), directory.parent.parent
    if number is None:
        return {}
    try:
        plan = foreign.decode(foreign.read(night / STATE, journal.LIMIT))["plan"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return {"night": night.name, "name": directory.parent.name, "plan": str(plan), "attempt": int(number[1])}


def _tests_of_all_tries(path: Path, account: Account, location: Mapping[str, Any]) -> list[Tested]:
    """Return the run's tests; those that image or test failed in an earlier try stay failed."""
    tests = dict(account.tests)
    for number in range(1, location.get("attempt", 1)):
        earlier = path.parent.with_name(f"try-{number}") / path.name
        tests |= {test.nodeid: test for test in journal.read(earlier).failed if test.blamed}
    return list(tests.values())


def _boards(account: Account) -> Mapping[str, str]:
    """Return the board for each choice in the stable names: the one that was used, else the one expected."""
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
    known = {
        "run": run,
        "test": stable_test(test.nodeid, choice, name or choice, repetition_in(test.nodeid, head.repeat)),
        "suite": suite_of(test.nodeid, head.root),
        "board": test.board or head.board(name),
        "clock": test.clock or ("" if head.clock == "auto" else head.clock),
    }
    return Test(**vars(test) | known)


def _measured(path: Path, account: Account, notes: list[str]) -> tuple[tuple[SeriesRecord, ...], dict[str, str]]:
    """Return the series of a run, and the facts about the session from its results file."""
    named = account.head.results
    beside = path.parent / (Path(named).name if named else RESULTS)  # the directory may have been moved since
    found = next((file for file in (named, beside) if file and os.path.isfile(file)), None)  # noqa: PTH113
    if found is None:
        return (), {}
    from hil.measure import results

    try:
        loaded = results.load(Path(found))
    except HilError as error:
        notes.append(f"its series are left out: {error.message}")
        return (), {}
    facts = dict(loaded.facts or {})
    if facts.pop("run", account.head.id) != account.head.id:
        return (), {}  # the file of another run with the same --hil-results
    if loaded.torn:
        notes.append(loaded.torn)
    return loaded.records, facts
