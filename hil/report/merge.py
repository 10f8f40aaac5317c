"""The results of one run or of several, brought together in one directory, from which a report is made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hil.history.journal import NAME
from hil.report import killed
from hil.report.labels import CHOSEN, KNOWN_URL, digest, history_id

RESULT, ENVIRONMENT, EXECUTOR = "-result.json", "environment.properties", "executor.json"


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
        self._count(facts)
        return facts

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


def merge(parts: Sequence[Part], output: Path) -> Merged:
    """Put the results of `parts` into the directory `output`. What is there already is never changed.

    A run that was cut short is completed from its journal (`hil.report.killed`).
    """
    results, environment, merged = _Results(), [], Merged()
    for part in parts:
        found: list[dict[str, Any]] = []
        for entry in sorted(os.scandir(part.directory), key=lambda one: one.name) if part.directory.is_dir() else ():
            if entry.name.endswith(RESULT):
                facts = _read(entry.path)
                if facts is None:
                    merged.broken += 1
                    continue
                found.append(facts)
                path = output / entry.name
                if path.exists():  # results of others may be called the same in two runs
                    path = output / f"{results.count}-{entry.name}"
                _write(path, results.adapt(part.name, facts))
            elif entry.name == ENVIRONMENT:
                prefix = f"{part.name}." if part.name else ""
                environment += [prefix + line for line in _text(entry.path).splitlines()]
            elif entry.is_file() and not entry.name.endswith((".tmp", ".jsonl")):
                _link(Path(entry.path), output / entry.name)
        for journal in _journals(part):
            told = killed.complete(journal, found)
            for facts in told.results:
                _write(output / f"{facts['uuid']}{RESULT}", results.adapt(part.name, facts))
            if told.error:
                named = f"{part.name}: {told.error}" if part.name else told.error
                merged.notes.append(named)
                _write(output / f"{told.id}-globals.json", {"errors": [{"message": named, "timestamp": told.time}]})
    if environment:
        (output / ENVIRONMENT).write_text("\n".join(dict.fromkeys(environment)) + "\n", "utf-8")
    if merged.broken:
        merged.notes.append(f"{merged.broken} results are half written and left out")
    merged.count = results.count
    merged.ids = frozenset(name for _, name in results.last.values())
    merged.began, merged.ended = min(results.times, default=0), max(results.times, default=0)
    merged.issues = tuple(
        Issue(number, "; ".join(texts), url, tuple(cases)) for (number, url), (texts, cases) in results.issues.items()
    )
    return merged


def _journals(part: Part) -> Iterable[Path]:
    if part.journal is not None:
        return [part.journal] if part.journal.is_file() else []
    stem, _, suffix = NAME.partition(".")
    return sorted(part.directory.glob(f"{stem}*.{suffix}"))


def _read(path: str) -> dict[str, Any] | None:
    """A result; None where it is broken: its writer was killed."""
    try:
        with Path(path).open("rb") as file:
            facts = json.load(file)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) else None


def _text(path: str) -> str:
    return Path(path).read_text("utf-8", "replace")


def _write(path: Path, facts: dict[str, Any]) -> None:
    path.write_text(json.dumps(facts, ensure_ascii=False), "utf-8")


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except FileExistsError:  # the same name in two runs: the first is as good as any
        pass
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, to)
