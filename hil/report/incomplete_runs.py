"""Results that a run did not write, made from its journal: of tests that it was killed in or did not come to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from hil.history import journal
from hil.history.identity import choice_of, repetition_in, stable_test, suite_of
from hil.history.journal import CUT_SHORT, Account, Tested
from hil.report.labels import CHOSEN, NODE, RUN, digest, label_of

SPACE = UUID("5a6f2c1e-6f0b-4c1d-9d7c-0c6d4b1f7a52")
# seconds without a line after which a run of another machine counts as killed. The history waits longer, as a report
# can be made again
QUIET = 3600.0


@dataclass(frozen=True)
class MissingResults:
    """Results to add, and an `error` message about the run `id` as a whole, at `time` in ms since 1970."""

    results: tuple[dict[str, Any], ...] = ()
    error: str = ""
    time: int = 0
    id: str = ""


def missing_from(path: Path, account: Account, results: Sequence[Mapping[str, Any]]) -> MissingResults:
    """Return what the `account` of the journal at `path` adds to the existing `results`, of its run and of others."""
    head = account.head
    if not head.time:
        return MissingResults()
    last = account.ended or path.stat().st_mtime
    run, now = head.id or digest(f"{path.absolute()} {head.time}"), int(1000 * last)
    existing = [result for result in results if label_of(result, RUN) == head.id]
    known = {label_of(result, NODE) for result in existing}
    missing = [test for test in account.tests.values() if test.nodeid not in known]
    number = len(account.tests)
    if account.ended is None and (head.alive or (head.elsewhere and time.time() - last < QUIET)):
        error = f"the run is still going on: {number - len(missing)} of {number} tests have ended"
        return MissingResults(error=error, time=now, id=run)
    if account.ended is None:
        why, since = "the run was killed", "; its last output was at"
    elif missing:
        why, since = f"the run ended early, with status {account.status}", " at"
    else:
        return MissingResults()
    maker = _ResultMaker(run, account, why, now, existing)
    not_run = sum(test.outcome == journal.NOT_RUN for test in missing)
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(last))
    error = f"{why}{since} {when}; {not_run} of {number or 'an unknown number of'} tests were not run"
    return MissingResults(tuple(map(maker.result, missing)), error, now, run)


class _ResultMaker:
    """Makes missing results, with the labels and parameters that the `existing` ones have."""

    def __init__(self, run: str, account: Account, why: str, now: int, existing: Sequence[Mapping[str, Any]]) -> None:
        self._run, self._account, self._why, self._now = run, account, why, now
        self._by_choice = {label_of(result, CHOSEN): result for result in existing}
        self._by_file = {label_of(result, NODE).partition("::")[0]: result for result in existing}

    def result(self, test: Tested) -> dict[str, Any]:
        """Return a result for a test without one."""
        head = self._account.head
        chosen = choice_of(test.nodeid, head.choices)
        like = self._by_choice.get(chosen) if chosen else None
        expected = head.choices.get(chosen, "")
        board = test.board or (label_of(like, "board") if like else head.board(expected))
        repetition = repetition_in(test.nodeid, head.repeat)
        counted = _variant(like) if like else {"image": test.image, "clock": head.clock.removesuffix(" time")}
        counted = {**counted, "board": board} if chosen else {}
        counted |= {"repetition": str(repetition)} if repetition else {}
        status, kind, fault, message = _outcome(test, self._why, killed=self._account.ended is None)
        path, _, function = test.nodeid.partition("::")
        file = Path(path)
        beside = self._by_file.get(path, {})
        if chosen and "clock" in (variant := _variant(beside)):  # with --clock auto a file's tests usually share one
            counted["clock"] = variant["clock"]
        suite = suite_of(test.nodeid, head.root)
        labels = {
            "epic": label_of(beside, "epic") or suite,
            "feature": label_of(beside, "feature") or file.stem.removeprefix("test_").replace("_", " "),
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


def _outcome(test: Tested, why: str, *, killed: bool) -> tuple[str, str, str, str]:
    """Return status, kind, failure origin and message of a test without a result."""
    if test.outcome == journal.NOT_RUN and test.cause == CUT_SHORT and killed:
        return "broken", "killed", "infrastructure", "the run was killed while this test ran"
    if test.outcome == journal.NOT_RUN:
        return "unknown", "not-run", "", f"not run: {why}"
    if test.outcome == "failed":
        kind = "expectation" if test.fault == "image" else test.fault
        return "failed", kind, test.fault, f"{test.cause}\n{why} before the result was written"
    return test.outcome, "", "", f"{why} before the result was written"


def _variant(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the identifying parameters that all tests on a board share."""
    parameters = [parameter for parameter in result.get("parameters") or () if not parameter.get("excluded")]
    found = {parameter.get("name"): str(parameter.get("value")) for parameter in parameters}
    return {name: found[name] for name in ("board", "image", "clock") if name in found}
