"""What became of a run: its tests over all tries, whose fault what failed is, and whether that is new."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from hil.history import journal
from hil.history.journal import NOT_RUN, Account, Tested
from hil.nightly.state import Night, RunState, Try
from hil.nightly.work import OUTPUT, again_for, died, last_error

STATUS = {"image": 1, "test": 1, "configuration": 2, "infrastructure": 3}
HELD, INTERRUPTED = 4, 128  # the latter plus the signal's number
LOOK_BACK = 10  # nights


@dataclass(frozen=True)
class Trouble:
    """What failed, whose fault it is: a test, or the run as a whole where `test` is empty.

    `last` is how the test came out before: the night and whether it passed; None where it is not known.
    """

    run: str
    fault: str
    cause: str
    test: str = ""
    place: str = ""
    transcript: str = ""
    last: tuple[str, bool] | None = None

    @property
    def new(self) -> bool:
        return self.last is not None and self.last[1]


@dataclass(frozen=True)
class RunOutcome:
    """What became of one run. `directory` is that of its last try, None where it never began."""

    state: RunState
    account: Account
    directory: Path | None
    troubles: tuple[Trouble, ...]
    retries: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        return sum(one.seconds for one in self.state.tries)

    @property
    def not_run(self) -> int:
        return self.account.counts()[NOT_RUN]

    @property
    def statuses(self) -> set[int]:
        """The parts of the night's exit status."""
        return {STATUS[trouble.fault] for trouble in self.troubles} | ({3} if self.not_run else set())

    def dead(self) -> Iterator[str]:
        """Boards of this run that were never there, or were given up, each with the cause."""
        failed = self.account.failed
        if failed and not self.account.reached and all(test.fault != "test" for test in failed):
            yield f"{self.state.board}: it never came up: {failed[0].cause}"
            return
        boots: dict[str, list[Mapping[str, str]]] = {}
        for boot in self.account.boots:
            boots.setdefault(boot["board"], []).append(boot)
        for board, tries in boots.items():
            if len(tries) > 1 and all(one["fault"] for one in tries[-2:]):
                yield f"{board}: its last boots failed: {tries[-1]['cause']}"


def status(outcomes: Sequence[RunOutcome]) -> int:
    """The night's: 1 image or test failed, else 2 the configuration, else 3 the test bed or something not run, or 0."""
    return min((number for one in outcomes for number in one.statuses), default=0)


def outcome(night: Night, state: RunState, before: Sequence[Night] = ()) -> RunOutcome:
    """What became of a run of `night`. `before` are the plan's earlier nights, newest first."""
    accounts = [journal.read(night.directory(state, number) / "journal.jsonl") for number in _numbers(state)]
    if not accounts:
        return RunOutcome(state, Account(), None, tuple(_of_run(state, Account(), None)))
    *past_tries, last = accounts
    # a night that was cut short and resumed has seen them fail, and a failure of image or test stands
    seen = {test.nodeid: test for one in past_tries for test in one.failed if test.blamed}
    account = replace(last, tests={**last.tests, **seen})
    directory = night.directory(state, len(accounts))
    past = history(state.name, before)
    tests = (_of_test(state, test, past) for test in account.failed)
    retries = [_why(one, account) for one, account in zip(state.tries, past_tries, strict=False)]
    troubles = (*_of_run(state, account, directory), *tests)
    return RunOutcome(state, account, directory, troubles, tuple(retries))


def _numbers(state: RunState) -> range:
    return range(1, len(state.tries) + 1)


def _why(one: Try, account: Account) -> str:
    return one.ended or again_for(one, account) or died(one, account) or "the night was cut short"


def _of_test(state: RunState, test: Tested, past: Mapping[str, tuple[str, Tested]]) -> Trouble:
    night, then = past.get(test.nodeid, ("", None))
    last = (night, then.outcome == "passed") if then else None
    return Trouble(state.name, test.fault, test.cause, test.nodeid, test.place, test.transcript, last)


def _of_run(state: RunState, account: Account, directory: Path | None) -> Iterator[Trouble]:
    """What is wrong with a run as a whole."""
    for where, cause in account.problems:
        yield Trouble(state.name, "test", cause, where)
    if state.state == "not run":
        yield Trouble(state.name, "configuration", state.why)
        return
    if directory is None or state.state != "done":
        yield Trouble(state.name, "infrastructure", state.why or "it was not run to its end")
        return
    one = state.tries[-1]
    if why := one.ended or died(one, account):
        yield Trouble(state.name, "infrastructure", why)
    elif one.status == 4:
        yield Trouble(state.name, "configuration", f"pytest refused: {last_error(directory / OUTPUT)}")
    elif one.status == 5 or not account.tests:
        if not account.problems:
            yield Trouble(state.name, "configuration", "it has no tests: look at its suites, markers and options")
    elif one.status and not account.failed and not account.problems:
        yield Trouble(
            state.name,
            "image",
            f"pytest ended with status {one.status}, and no test failed: {last_error(directory / OUTPUT)}",
        )


def earlier(night: Night, among: Sequence[Night]) -> list[Night]:
    """The nights of the same plan that began before `night` and did run, newest first."""
    plan, began = night.state.plan, night.state.began
    return [
        one
        for one in among
        if one.state.plan == plan and one.state.began < began and one.path != night.path and one.state.runs
    ]


def history(run: str, before: Sequence[Night]) -> dict[str, tuple[str, Tested]]:
    """How each test of a run came out when it last said something of image and test, and in which night."""
    found: dict[str, tuple[str, Tested]] = {}
    for night, state in islice(states(run, before), LOOK_BACK):
        account = outcome(night, state).account
        for test in account.tests.values():
            if test.outcome == "passed" or test.blamed:
                found.setdefault(test.nodeid, (night.name, test))
    return found


def states(run: str, before: Sequence[Night]) -> Iterator[tuple[Night, RunState]]:
    """The run of that name in each of the nights that tried it."""
    for night in before:
        for state in night.state.runs:
            if state.name == run and state.tries:
                yield night, state
