"""What the journal of a run knows and its results do not: tests that it was killed in, or never came to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from hil.history import journal
from hil.history.identity import choice_of, repetition_in, stable_test, suite_of
from hil.history.journal import CUT_SHORT, Account, Tested
from hil.report.kinds import EXPECTATION, KILLED, NOT_RUN
from hil.report.labels import CHOSEN, NODE, RUN, digest

SPACE = UUID("5a6f2c1e-6f0b-4c1d-9d7c-0c6d4b1f7a52")
# seconds without a line after which a run of another machine counts as killed: a report can be made again, so less
# than the history waits
QUIET = 3600.0
WORDS = "the run was killed while this test ran"


@dataclass(frozen=True)
class Told:
    """Results to add, and what is to be said of the run as a whole: `error`, at `time` in ms since 1970.

    `broken` names the lines of the journal that were left out.
    """

    results: tuple[dict[str, Any], ...] = ()
    error: str = ""
    time: int = 0
    id: str = ""
    broken: tuple[str, ...] = ()


def complete(path: Path, results: Sequence[Mapping[str, Any]]) -> Told:
    """What the journal at `path` adds to the `results` that are there, of its run and of others."""
    account = journal.read(path)
    return replace(_complete(path, account, results), broken=account.broken)


def _complete(path: Path, account: Account, results: Sequence[Mapping[str, Any]]) -> Told:
    head = account.head
    if not head.time:
        return Told()
    last = account.ended or path.stat().st_mtime
    run, now = head.id or digest(f"{path.absolute()} {head.time}"), int(1000 * last)
    # by the run that a result names, never by its time: a clock may be set back; older results name none
    there = [one for one in results if _label(one, RUN) in ("", head.id)]
    known = {_label(one, NODE) for one in there}
    missing = [test for test in account.tests.values() if test.nodeid not in known]
    number = len(account.tests)
    if account.ended is None and (head.alive or (head.elsewhere and time.time() - last < QUIET)):
        return Told(
            error=f"the run is still going on: {number - len(missing)} of {number} tests have ended", time=now, id=run
        )
    if account.ended is None:
        why, since = "the run was killed", "; it has told nothing since"
    elif missing:
        why, since = f"the run ended early, with status {account.status}", ""
    else:
        return Told()
    maker = _Maker(run, account, why, now, there)
    not_run = sum(test.outcome == journal.NOT_RUN for test in missing)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last))
    error = f"{why}{since or ' at'} {when}; {not_run} of {number or 'an unknown number of'} tests were not run"
    return Told(tuple(map(maker.result, missing)), error, now, run)


class _Maker:
    """Makes the results that are missing, as like those that are there as can be."""

    def __init__(self, run: str, account: Account, why: str, now: int, there: Sequence[Mapping[str, Any]]) -> None:
        self._run, self._account, self._why, self._now = run, account, why, now
        self._by_choice = {_label(one, CHOSEN): one for one in there}
        self._by_file = {_label(one, NODE).partition("::")[0]: one for one in there}

    def result(self, test: Tested) -> dict[str, Any]:
        """The result of a test that has none."""
        head = self._account.head
        chosen = choice_of(test.nodeid, head.choices)
        like = self._by_choice.get(chosen) if chosen else None
        expected = head.choices.get(chosen, "")
        board = test.board or (_label(like, "board") if like else head.board(expected))
        repetition = repetition_in(test.nodeid, head.repeat)
        counted = _variant(like) if like else {"image": test.image, "clock": head.clock.removesuffix(" time")}
        counted = {**counted, "board": board} if chosen else {}
        counted |= {"repetition": str(repetition)} if repetition else {}
        status, kind, fault, message = _became(test, self._why, killed=self._account.ended is None)
        path, _, function = test.nodeid.partition("::")
        file = Path(path)
        beside = self._by_file.get(path, {})
        if chosen and "clock" in (told := _variant(beside)):  # with --clock auto a file's tests share one, as a rule
            counted["clock"] = told["clock"]
        suite = suite_of(test.nodeid, head.root)
        labels = {
            "epic": _label(beside, "epic") or suite,
            "feature": _label(beside, "feature") or file.stem.removeprefix("test_").replace("_", " "),
            "parentSuite": board,
            "suite": suite,
            "subSuite": file.stem,
            "board": board,
            "tag": board,
            "fault": fault,
            "kind": kind,
            "framework": "pytest",
            NODE: test.nodeid,
            CHOSEN: chosen,
            RUN: self._account.head.id,
        }
        return {
            "uuid": str(uuid5(SPACE, f"{self._run} {test.nodeid}")),
            "name": function.rpartition("::")[2] or test.nodeid,
            "fullName": f"{'.'.join((*file.parent.parts, file.stem))}#{function.partition('[')[0]}",
            "testCaseId": digest(stable_test(test.nodeid, chosen, expected or board or chosen, repetition)),
            "status": status,
            "statusDetails": {"message": message},
            "start": max(0, self._now - int(1000 * test.seconds)),
            "stop": self._now,
            "titlePath": [*file.parts],
            "labels": [{"name": name, "value": value} for name, value in labels.items() if value],
            "parameters": [{"name": name, "value": value} for name, value in counted.items() if value],
        }


def _became(test: Tested, why: str, *, killed: bool) -> tuple[str, str, str, str]:
    """Status, kind, fault and message of a test without a result."""
    if test.outcome == journal.NOT_RUN and test.cause == CUT_SHORT and killed:
        return "broken", KILLED, "infrastructure", WORDS
    if test.outcome == journal.NOT_RUN:
        return "unknown", NOT_RUN, "", f"not run: {why}"
    if test.outcome == "failed":
        kind = EXPECTATION if test.fault == "image" else test.fault
        return "failed", kind, test.fault, f"{test.cause}\n{why} before the result was written"
    return test.outcome, "", "", f"{why} before the result was written"


def _variant(result: Mapping[str, Any]) -> dict[str, str]:
    """The counted parameters that hold for all tests on a board."""
    parameters = result.get("parameters") or ()
    found = {one.get("name"): str(one.get("value")) for one in parameters if not one.get("excluded")}
    return {name: found[name] for name in ("board", "image", "clock") if name in found}


def _label(result: Mapping[str, Any], name: str) -> str:
    return next((str(one.get("value")) for one in result.get("labels") or () if one.get("name") == name), "")
