"""The results of one run or of several, brought together in one directory, from which a report is made.

They are data of others: only regular files of a bounded size are taken, and results only as far as they are valid.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from hil.errors import ConfigurationError
from hil.history.journal import NAME
from hil.host import foreign
from hil.report import killed, shape
from hil.report.labels import CHOSEN, KNOWN_URL, NUMBER, RUN, digest, history_id
from hil.text import printable_line

RESULT, ENVIRONMENT, EXECUTOR = "-result.json", "environment.properties", "executor.json"
OTHERS = ("-container.json", "-globals.json")  # which the generator ends with where they are broken
ATTACHMENT_LIMIT, ALL_LIMIT = 64 << 20, 1 << 30  # bytes of one attachment, and of all in a report
NAMED = 5  # files left out that are named


@dataclass(frozen=True)
class Part:
    """The results of one run in `directory`, under its `name` where there are several; `journal` if not there."""

    directory: Path
    name: str = ""
    journal: Path | None = None


@dataclass(frozen=True)
class Issue:
    """A known issue, the tests that it excuses, and where the tracker has it."""

    number: str
    text: str
    url: str
    cases: tuple[str, ...]


@dataclass
class Merged:
    """What a report is made of. `ids` are the generator's names of the results that count, retries left out.

    `began` and `ended` are in milliseconds since 1970, 0 without a result. `notes` are for whoever asked.
    """

    count: int = 0
    broken: int = 0
    ids: frozenset[str] = frozenset()
    began: int = 0
    ended: int = 0
    issues: tuple[Issue, ...] = ()
    notes: list[str] = field(default_factory=list)


class _Results:
    """Adapts results one by one, and keeps what must be known of all."""

    def __init__(self) -> None:
        self.count = 0
        self.last: dict[str, tuple[int, str]] = {}  # by history id: begin and name of the last try
        self.variants: dict[str, dict[tuple[str, str], int]] = {}
        self.issues: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
        self.times: list[int] = []
        self.starts: dict[tuple[str, str], int] = {}  # of the last try, by run and history id

    def adapt(self, run: str, facts: dict[str, Any]) -> dict[str, Any]:
        labels = [one for one in facts.get("labels") or () if isinstance(one, dict)]
        named = {one.get("name"): one.get("value") for one in labels}
        if run:
            labels += [{"name": "run", "value": run}, {"name": "tag", "value": run}]
        facts["labels"] = labels
        self._tell_apart(run, str(named.get(CHOSEN, "")), facts)
        if facts.get("status") in ("failed", "broken") and "known" in named:
            texts, cases = self.issues.setdefault((str(named["known"]), str(named.get(KNOWN_URL, ""))), ({}, {}))
            texts[str(named.get("known-text", ""))] = None
            cases[str(facts.get("testCaseId"))] = None
            details = facts.get("statusDetails")
            if isinstance(details, dict):  # the rules made of `issues` say it better
                details.pop("known", None)
        self._order(run or str(named.get(RUN, "")), facts)
        self._count(facts)
        return facts

    def _order(self, run: str, facts: dict[str, Any]) -> None:
        """Let a later try of a run begin later, as the generator has it, also where the clock was set back."""
        history, start = _history_id(facts), facts.get("start")
        if not run or not history or start is None:
            return
        late = self.starts.get((run, history), start - 1) + 1 - start
        if late > 0:
            facts |= {name: facts[name] + late for name in ("start", "stop") if facts.get(name) is not None}
        self.starts[run, history] = facts["start"]

    def _tell_apart(self, run: str, chosen: str, facts: dict[str, Any]) -> None:
        """Let one test on two places of a kind, or in two runs, be two: the generator would take them for tries."""
        history = _history_id(facts)
        if not history:
            return
        known = self.variants.setdefault(history, {})
        number = known.setdefault((run, chosen), len(known))
        if number == 0:
            return
        first = next(iter(known))
        more = [("run", run)] if run != first[0] else []
        more += [("chosen", chosen)] if chosen != first[1] else []
        facts["parameters"] = [
            *(facts.get("parameters") or ()),
            *({"name": name, "value": text} for name, text in more),
        ]
        facts["historyId"] = _history_id(facts)

    def _count(self, facts: dict[str, Any]) -> None:
        self.count += 1
        start, stop = facts.get("start"), facts.get("stop")
        self.times += [one for one in (start, stop) if isinstance(one, int)]
        name = digest(str(facts.get("uuid", "")))
        key = _history_id(facts) or name
        self.last[key] = max(self.last.get(key, (0, "")), (start if isinstance(start, int) else 0, name))


def _history_id(facts: dict[str, Any]) -> str:
    """What the generator knows the result by; empty where it does not know it again."""
    case = facts.get("testCaseId") or facts.get("fullName")
    if not isinstance(case, str):
        return ""
    parameters = facts.get("parameters") or ()
    return history_id(case, [(str(p.get("name")), str(p.get("value"))) for p in parameters if not p.get("excluded")])


class _Files:
    """Takes files of others over into the directory `output`; `left_out` names those that are none to take."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.left_out: list[str] = []
        self._room = ALL_LIMIT

    def json(self, path: str) -> dict[str, Any] | None:
        """A JSON object of Allure's; None where it is broken: its writer was killed, or it is another tool's."""
        try:
            return shape.checked(foreign.decode(foreign.read(path, foreign.RESULT_LIMIT)))
        except (OSError, ValueError) as error:
            self._leave(path, foreign.why(error))
            return None

    def text(self, path: str) -> str:
        try:
            return foreign.read(path, foreign.RESULT_LIMIT).decode("utf-8-sig", "replace")
        except OSError as error:
            self._leave(path, foreign.why(error))
            return ""

    def put(self, name: str, facts: dict[str, Any]) -> None:
        """Write a JSON object of the suffix that `name` has; results of others may be called the same in two runs."""
        path = self.output / name
        if path.exists():
            path = self.output / f"{uuid4()}-{name.rpartition('-')[2]}"
        path.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")

    def attachment(self, path: str, name: str) -> None:
        """Take a file as it is, by a hard link where that is possible; of the same name in two runs the first."""
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is a link or no regular file")
            if status.st_size > min(ATTACHMENT_LIMIT, self._room):
                raise OSError(errno.EFBIG, f"it has {status.st_size >> 20} MiB")
            to = self.output / name
            try:
                os.link(path, to, follow_symlinks=False)
            except FileExistsError:
                return
            except OSError:  # another file system, or one without links
                to.write_bytes(foreign.read(path, ATTACHMENT_LIMIT))
            self._room -= status.st_size
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            self._leave(path, foreign.why(error))

    def _leave(self, path: str, why: str) -> None:
        self.left_out.append(printable_line(f"{Path(path).name}: {why}"))


def merge(parts: Sequence[Part], output: Path) -> Merged:
    """Put the results of `parts` into the directory `output`. What is there already is never changed.

    A run that was cut short is completed from its journal (`hil.report.killed`). What is broken is named and left out.
    Raises `ConfigurationError` for a directory that cannot be read.
    """
    results, environment, merged, files = _Results(), [], Merged(), _Files(output)
    for part in parts:
        found: list[tuple[str, dict[str, Any]]] = []
        for entry in _entries(part.directory):
            if entry.name.endswith(RESULT):
                facts = files.json(entry.path)
                if facts is None:
                    merged.broken += 1
                else:
                    found.append((entry.name, facts))
            elif entry.name == ENVIRONMENT:
                prefix = f"{part.name}." if part.name else ""
                environment += [prefix + line for line in files.text(entry.path).splitlines()]
            elif entry.name.endswith(OTHERS):
                if (facts := files.json(entry.path)) is not None:
                    files.put(entry.name, facts)
            elif not entry.is_dir(follow_symlinks=False) and not entry.name.endswith((".tmp", ".jsonl")):
                files.attachment(entry.path, entry.name)
        found.sort(key=lambda one: (_number(one[1]), one[0]))  # tries in their order
        for name, facts in found:
            files.put(name, results.adapt(part.name, facts))
        for journal in _journals(part):
            told = killed.complete(journal, [facts for _, facts in found])
            files.left_out += [printable_line(f"{journal.name}: {why}") for why in told.broken]
            for facts in told.results:
                files.put(f"{facts['uuid']}{RESULT}", results.adapt(part.name, facts))
            if told.error:
                named = f"{part.name}: {told.error}" if part.name else told.error
                merged.notes.append(named)
                errors = {"errors": [{"message": named, "timestamp": told.time}]}
                files.put(f"{digest(told.id)}-globals.json", errors)
    if environment:
        (output / ENVIRONMENT).write_text("\n".join(dict.fromkeys(environment)) + "\n", "utf-8")
    merged.notes += _notes(files.left_out)
    merged.count = results.count
    merged.ids = frozenset(name for _, name in results.last.values())
    merged.began, merged.ended = min(results.times, default=0), max(results.times, default=0)
    merged.issues = tuple(
        Issue(number, "; ".join(texts), url, tuple(cases)) for (number, url), (texts, cases) in results.issues.items()
    )
    return merged


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda one: one.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        hint = "name a directory that you may read"
        raise ConfigurationError(f"cannot read the results in {directory}: {error.strerror}", hint=hint) from error


def _notes(left_out: Sequence[str]) -> Iterator[str]:
    """What was left out, named as far as that helps."""
    yield from (f"left out: {why}" for why in left_out[:NAMED])
    if len(left_out) > NAMED:
        yield f"and {len(left_out) - NAMED} more left out"


def _number(facts: dict[str, Any]) -> int:
    """Which result of its process it is; 0 for results of others."""
    told = next((str(one.get("value")) for one in facts.get("labels") or () if one.get("name") == NUMBER), "")
    return int(told) if told.isdecimal() and len(told) < 20 else 0


def _journals(part: Part) -> Iterable[Path]:
    if part.journal is not None:
        return [part.journal] if part.journal.is_file() else []
    stem, _, suffix = NAME.partition(".")
    return sorted(path for path in part.directory.glob(f"{stem}*.{suffix}") if path.is_file())
