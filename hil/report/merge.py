"""Merge the results of several runs into one directory, from which a report is made.

They are untrusted: only regular files of a bounded size and valid results are taken.
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
from hil.history import journal
from hil.host import foreign
from hil.report import environment, incomplete_runs, shape
from hil.report.labels import CHOSEN, KNOWN_URL, NUMBER, RUN, digest, history_id, label_of
from hil.text import printable_line

RESULT, EXECUTOR = "-result.json", "executor.json"
OTHERS = ("-container.json", "-globals.json")  # broken ones end the generator
ATTACHMENT_LIMIT, ALL_LIMIT = 64 << 20, 1 << 30  # bytes of one attachment, and of all in a report
NAMED = 5  # skipped files that are named


@dataclass(frozen=True)
class Part:
    """The results of one run in `directory`; its `name` among several, and its `journal` where that is elsewhere."""

    directory: Path
    name: str = ""
    journal: Path | None = None


@dataclass(frozen=True)
class Issue:
    """A known issue, its URL in the tracker, and the tests that it excuses."""

    number: str
    text: str
    url: str
    cases: tuple[str, ...]


@dataclass
class Merged:
    """The merged results. `ids` are the generator's names of the results that count, retries left out.

    `ended` is in milliseconds since 1970, 0 without a result. `notes` are messages for the user.
    """

    count: int = 0
    ids: frozenset[str] = frozenset()
    ended: int = 0
    issues: tuple[Issue, ...] = ()
    notes: list[str] = field(default_factory=list)


class _Results:
    """Adapts results one by one, and collects data of all."""

    def __init__(self) -> None:
        self.count = 0
        self.last: dict[str, tuple[int, str]] = {}  # start and name of the last try, by history id
        self.variants: dict[str, dict[tuple[str, str], int]] = {}
        self.issues: dict[tuple[str, str], tuple[dict[str, None], dict[str, None]]] = {}
        self.ended = 0
        self.starts: dict[tuple[str, str], int] = {}  # start of the last try, by run and history id

    def adapt(self, run: str, facts: dict[str, Any]) -> dict[str, Any]:
        labels = facts.get("labels") or []
        named = {label.get("name"): label.get("value") for label in labels}
        if run:
            labels += [{"name": "run", "value": run}, {"name": "tag", "value": run}]
        facts["labels"] = labels
        self._separate(run, str(named.get(CHOSEN, "")), facts)
        if facts.get("status") in ("failed", "broken") and "known" in named:
            texts, cases = self.issues.setdefault((str(named["known"]), str(named.get(KNOWN_URL, ""))), ({}, {}))
            texts[str(named.get("known-text", ""))] = None
            cases[str(facts.get("testCaseId"))] = None
            (facts.get("statusDetails") or {}).pop("known", None)  # Allure's rules, made of `issues`, replace it
        self._order(run or str(named.get(RUN, "")), facts)
        self._count(facts)
        return facts

    def _order(self, run: str, facts: dict[str, Any]) -> None:
        """Make a later try of a run begin later, as the generator requires, though the clock was set back."""
        history, start = _history_id(facts), facts.get("start")
        if not run or not history or start is None:
            return
        late = self.starts.get((run, history), start - 1) + 1 - start
        if late > 0:
            facts |= {name: facts[name] + late for name in ("start", "stop") if facts.get(name) is not None}
        self.starts[run, history] = facts["start"]

    def _separate(self, run: str, chosen: str, facts: dict[str, Any]) -> None:
        """Give a test on two places of a kind, or in two runs, two identities: they are no tries of each other."""
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
        start = facts.get("start") or 0  # both are whole numbers, see `shape`
        self.ended = max(self.ended, start, facts.get("stop") or 0)
        name = digest(str(facts.get("uuid", "")))
        key = _history_id(facts) or name
        self.last[key] = max(self.last.get(key, (0, "")), (start, name))


def _history_id(facts: dict[str, Any]) -> str:
    """Return the identity of a result in the generator's history; empty without one."""
    case = facts.get("testCaseId") or facts.get("fullName")
    counted = [p for p in facts.get("parameters") or () if not p.get("excluded")]
    return history_id(case, [(str(p.get("name")), str(p.get("value"))) for p in counted]) if case else ""


class _Files:
    """Copies untrusted files into the directory `output`; `skipped` are those refused, with the reasons."""

    def __init__(self, output: Path) -> None:
        self.output = output
        self.skipped: list[str] = []
        self._room = ALL_LIMIT

    def json(self, path: str) -> dict[str, Any] | None:
        """Return one of Allure's JSON objects; None for a broken one, of a killed writer for example."""
        try:
            return shape.checked(foreign.decode(foreign.read(path, foreign.RESULT_LIMIT)))
        except (OSError, ValueError) as error:
            self._skip(path, foreign.why(error))
            return None

    def text(self, path: str) -> str:
        try:
            return foreign.read(path, foreign.RESULT_LIMIT).decode("utf-8-sig", "replace")
        except OSError as error:
            self._skip(path, foreign.why(error))
            return ""

    def put(self, name: str, facts: dict[str, Any]) -> None:
        """Write a JSON object as `name`, or, where another run has that, under a new name with the same suffix."""
        path = self.output / name
        if path.exists():
            path = self.output / f"{uuid4()}-{name.rpartition('-')[2]}"
        path.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")

    def attachment(self, path: str, name: str) -> None:
        """Copy a file, by a hard link if possible; of two runs with the same name the first counts."""
        try:
            status = os.lstat(path)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            if status.st_size > min(ATTACHMENT_LIMIT, self._room):
                raise OSError(errno.EFBIG, f"too large, {status.st_size >> 20} MiB")
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
            self._skip(path, foreign.why(error))

    def _skip(self, path: str, why: str) -> None:
        self.skipped.append(printable_line(f"{Path(path).name}: {why}"))


def merge(parts: Sequence[Part], output: Path) -> Merged:
    """Write the results of `parts` into the directory `output`, and leave `parts` unchanged.

    A run that was cut short is completed from its journal. Broken files are skipped and named.
    Raises `ConfigurationError` for a directory that cannot be read.
    """
    results, merged, files = _Results(), Merged(), _Files(output)
    environments: list[tuple[str, dict[str, str]]] = []
    for part in parts:
        found: list[tuple[str, dict[str, Any]]] = []
        for entry in _entries(part.directory):
            if entry.name.endswith(RESULT):
                if (facts := files.json(entry.path)) is not None:
                    found.append((entry.name, facts))
            elif entry.name == environment.NAME:
                environments.append((part.name, environment.parse(files.text(entry.path))))
            elif entry.name.endswith(OTHERS):
                if (facts := files.json(entry.path)) is not None:
                    files.put(entry.name, facts)
            elif not entry.is_dir(follow_symlinks=False) and not entry.name.endswith((".tmp", ".jsonl")):
                files.attachment(entry.path, entry.name)
        found.sort(key=lambda result: (_number(result[1]), result[0]))  # tries in their order
        for name, facts in found:
            files.put(name, results.adapt(part.name, facts))
        for path in _journals(part):
            account = journal.read(path)
            missing = incomplete_runs.missing_from(path, account, [facts for _, facts in found])
            files.skipped += [printable_line(f"{path.name}: {why}") for why in account.broken]
            for facts in missing.results:
                files.put(f"{facts['uuid']}{RESULT}", results.adapt(part.name, facts))
            if missing.error:
                message = f"{part.name}: {missing.error}" if part.name else missing.error
                merged.notes.append(message)
                errors = {"errors": [{"message": message, "timestamp": missing.time}]}
                files.put(f"{digest(missing.id)}-globals.json", errors)
    if any(facts for _, facts in environments):
        (output / environment.NAME).write_text(environment.combined(environments), "utf-8")
    merged.notes += _notes(files.skipped)
    merged.count = results.count
    merged.ids = frozenset(name for _, name in results.last.values())
    merged.ended = results.ended
    merged.issues = tuple(
        Issue(number, "; ".join(texts), url, tuple(cases)) for (number, url), (texts, cases) in results.issues.items()
    )
    return merged


def _entries(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        hint = "name a directory that you have permission to read"
        raise ConfigurationError(f"cannot read the results in {directory}: {error.strerror}", hint=hint) from error


def _notes(skipped: Sequence[str]) -> Iterator[str]:
    """Yield messages about the first `NAMED` skipped files, and the number of the others."""
    yield from (f"skipped: {why}" for why in skipped[:NAMED])
    if len(skipped) > NAMED:
        yield f"skipped: {len(skipped) - NAMED} more"


def _number(facts: dict[str, Any]) -> int:
    """Return the number of a result in its process; 0 for those of other tools."""
    number = label_of(facts, NUMBER)
    return int(number) if number.isdecimal() and len(number) < 20 else 0


def _journals(part: Part) -> Iterable[Path]:
    if part.journal is not None:
        return [part.journal] if part.journal.is_file() else []
    stem, _, suffix = journal.NAME.partition(".")
    return sorted(path for path in part.directory.glob(f"{stem}*.{suffix}") if path.is_file())
