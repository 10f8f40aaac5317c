"""Old Allure results, from before there were journals, into the store: each directory a run, each result once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hil.board.selection import is_place, name_of
from hil.errors import ORIGINS, ConfigurationError
from hil.history.identity import stable_test, suite_of
from hil.history.ingest import counted
from hil.history.journal import NAME, NOT_RUN
from hil.history.rows import RecordedRun, Run, Test
from hil.history.store import History
from hil.host import foreign

SHOWN = 5  # broken files that are named
CHOICE = re.compile(r"name='([^']*)', seed=(\w+), one_of=(\d+)")
OUTCOMES = {"passed": "passed", "failed": "failed", "broken": "failed", "skipped": "skipped"}


class _Named(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)

    name: str | None = None
    value: str | None = None


class _Details(BaseModel):
    message: str | None = None


def _some(value: Any) -> Any:
    """A list without nulls; none at all where it is null itself, as some tools write them."""
    return [item for item in value if item is not None] if isinstance(value, list) else [] if value is None else value


Milliseconds = Annotated[int, Field(ge=0, le=1000 * foreign.LATEST)]


class _Result(BaseModel):
    """What we need of a `*-result.json`, as Allure 2 and 3 have it."""

    uuid: str
    name: str
    status: str | None = None
    start: Milliseconds
    stop: Milliseconds | None = None
    historyId: str | None = None
    fullName: str | None = None
    titlePath: Annotated[list[str], BeforeValidator(_some)] = []
    labels: Annotated[list[_Named], BeforeValidator(_some)] = []
    parameters: Annotated[list[_Named], BeforeValidator(_some)] = []
    statusDetails: _Details | None = None

    def label(self, name: str) -> list[str]:
        return [label.value for label in self.labels if label.name == name and label.value]


@dataclass
class Imported:
    """What became of directories of results: `tests` of `runs` were added, `known` results are there already."""

    runs: int = 0
    tests: int = 0
    known: int = 0
    broken: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal."""
        told = [f"{counted(self.runs, 'run')} imported, with {counted(self.tests, 'test')}"]
        told += [f"{counted(self.known, 'result')} known already"] if self.known else []
        if self.broken:
            told.append(f"{counted(len(self.broken), 'broken file')} left out:")
            told += [f"  {one}" for one in self.broken[:SHOWN]]
            told += [f"  and {len(self.broken) - SHOWN} more"] * (len(self.broken) > SHOWN)
        return [*told, *self.notes]


def import_results(history: History, directories: Sequence[Path]) -> Imported:
    """Take in the results in `directories` that are not there yet. A broken file is told and left out.

    Raises `ConfigurationError` for a directory without any results.
    """
    imported = Imported()
    for directory in directories:
        files = sorted(directory.glob("*-result.json"))
        if not files:
            told = f"there are no Allure results in {directory}: no *-result.json"
            raise ConfigurationError(told, hint="name the directory that `pytest --alluredir` was given")
        if any(directory.glob(f"{PurePath(NAME).stem}*.jsonl")):
            imported.notes.append(f"{directory} has a journal, which tells more: `hil history add {directory}`")
            continue
        results = [result for file in files if (result := _read(file, imported)) is not None]
        _import(history, directory, results, imported)
    return imported


def _import(history: History, directory: Path, results: Sequence[_Result], imported: Imported) -> None:
    facts = _environment(directory / "environment.properties")
    with history.writing():  # nobody else imports the same meanwhile
        before = history.imported()
        new = [result for result in results if result.uuid not in before]
        imported.known += len(results) - len(new)
        taken = _taken(directory, new, facts)
        if new and not history.has(taken.run.id):
            history.insert(taken)
            imported.runs += 1
            imported.tests += len(taken.tests)


def _read(file: Path, imported: Imported) -> _Result | None:
    try:
        return _Result.model_validate(foreign.decode(foreign.read(file, foreign.RESULT_LIMIT)))
    except OSError as error:
        imported.broken.append(f"{file}: {foreign.why(error)}")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        imported.broken.append(f"{file}: {where}: {first['msg']}" if where else f"{file}: {first['msg']}")
    except ValueError as error:  # pydantic's is one, too
        imported.broken.append(f"{file}: {error}")
    return None


def _environment(file: Path) -> dict[str, str]:
    try:
        lines = foreign.read(file, foreign.RESULT_LIMIT).decode("utf-8-sig", "replace").split("\n")
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name.strip().replace(".", " "): value.strip() for name, _, value in pairs}


def _taken(directory: Path, results: Sequence[_Result], facts: dict[str, str]) -> RecordedRun:
    uuids = sorted({result.uuid for result in results})
    ident = hashlib.sha256("\n".join(uuids).encode()).hexdigest()[:32]
    tries: dict[str, list[_Result]] = {}
    for result in sorted(results, key=lambda one: (one.start, one.uuid)):
        tries.setdefault(result.historyId or f"{result.fullName} {result.name}", []).append(result)
    tests = [_test(ident, several, facts) for several in tries.values()]
    run = Run(
        id=ident,
        night="",
        name=directory.absolute().name,
        plan="",
        board=", ".join(dict.fromkeys(test.board for test in tests if test.board)) or facts.get("board", ""),
        began=min((result.start for result in results), default=0) / 1000,
        ended=max((result.stop or result.start for result in results), default=0) / 1000,
        status=None,
        state="done",
        facts=facts,
        source="allure",
        host=next((host for result in results for host in result.label("host")), ""),
    )
    return RecordedRun(run, tests, uuids=uuids)


def _test(run: str, tries: Sequence[_Result], facts: dict[str, str]) -> Test:
    """Of several results of one test the last one counts, as Allure has it; the others are tries before it."""
    one = tries[-1]
    nodeid = nodeid_of(one)
    choice, expected, is_place = _choice(one)
    tags = one.label("tag") if one.label("feature") else []  # both are set once the board is up, the board's tag first
    board = (tags[0] if tags else "") if is_place else expected
    outcome = OUTCOMES.get(one.status or "", NOT_RUN)
    fault = next((fault for fault in ORIGINS if fault in one.label("fault")), "")
    return Test(
        run=run,
        test=stable_test(nodeid, choice, choice.replace(expected, board, 1) if expected else board or choice),
        suite=suite_of(nodeid) or next(iter(one.label("feature")), ""),
        board=board,
        place=tags[1] if is_place and len(tags) > 1 else "",
        image=facts.get("image", "") if choice else "",
        clock=facts.get("clock", ""),
        outcome=outcome,
        fault=fault if outcome == "failed" else "",
        cause=_cause(one) if outcome in ("failed", NOT_RUN) else "",
        seconds=min(max(0, (one.stop or one.start) - one.start) / 1000, foreign.LONGEST),
        retried=tuple(_cause(before) for before in tries[:-1] if before.status in ("failed", "broken")),
        transcript="",
        image_sha256=facts.get("image sha256", "") if choice else "",
        nodeid=nodeid,
    )


def _choice(result: _Result) -> tuple[str, str, bool]:
    """What stands for the board in the test's name, the board's name as far as it is known by that, and if a place."""
    value = next((one.value for one in result.parameters if one.name == "hil_session_board"), None) or ""
    found = CHOICE.search(value)
    if found is None:
        return "", "", False
    name, seed, one_of = found.groups()
    if is_place(name):
        return name, "", True
    stem = name_of(name) or "no-board"
    return stem + (f"-seed{seed}" if int(one_of) > 1 else ""), stem, False


def nodeid_of(result: _Result) -> str:
    """pytest's node id of the test: its file, as far as Allure's labels tell it, its classes and its name."""
    path = result.titlePath
    file = next((number for number, part in enumerate(path, 1) if part.endswith(".py")), 0)
    if file:
        return "::".join(["/".join(path[:file]), *path[file:], result.name])
    parents, modules = result.label("parentSuite"), result.label("suite")
    if not modules:
        return result.fullName or result.name
    module = "/".join([*parents[:1], modules[0]]).replace(".", "/")
    classes = [name for label in result.label("subSuite")[:1] for name in label.split(" > ")]
    return "::".join([f"{module}.py", *classes, result.name])


def _cause(result: _Result) -> str:
    message = (result.statusDetails and result.statusDetails.message) or ""
    return message.strip().partition("\n")[0]
