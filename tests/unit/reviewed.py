"""Nights for tests of the review, made up and kept in a real history: what is not said of them is quiet and good."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from hil import Clock, Series
from hil.history.rows import Boot, RecordedRun, Run, Test
from hil.history.store import History
from hil.measure.results import CheckResult, SeriesRecord
from hil.measure.units import Amount

VIRTUAL = Clock("virtual time", 1e-9, "", 0.0, exact=True)
REAL = Clock("guest counter", 1.6e-8, "", 1.2e-5)
DAY = 86400.0
BEGUN = 1_790_000_000.0
Samples = Callable[[int], "np.ndarray"]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def sampled(level: float, clock: Clock, night: int, count: int = 30) -> np.ndarray:
    """Samples about `level`: the same each night by an exact clock, else with noise within and between nights."""
    if clock.exact:
        return level * (1 + 0.1 * np.abs(np.random.default_rng(7).standard_normal(count)))
    random = np.random.default_rng(1000 + night)
    return level * (1 + 0.02 * random.standard_t(3)) * (1 + 0.05 * np.abs(random.standard_t(3, count)))


@dataclass
class Plan:
    """A plan's nights, one after the other; `kept` are what the history gets."""

    boards: Sequence[str] = ("one", "two")
    suites: Sequence[str] = ("smoke", "deploy")
    tests: int = 3
    measured: Sequence[tuple[str, str, Clock]] = (
        ("response time", "hello.wasm", VIRTUAL),
        ("response time", "nbody-c.wasm 10", REAL),
    )
    plan: str = "bench"
    image: Callable[[int], str] = lambda night: "first"
    level: Callable[[str, str, str, int], float] = lambda board, quantity, subject, night: 0.010
    bound: float = 0.1
    test: Callable[[int, Test], Test] = lambda night, test: test
    boots: Callable[[int, str, str], Sequence[Boot]] = lambda night, run, board: (Boot(run, board, "boot", "", "", ""),)
    run: Callable[[int, Run], Run | None] = lambda night, run: run
    nights: int = 30
    kept: list[RecordedRun] = field(default_factory=list)

    def name(self, night: int) -> str:
        return f"2026-{1 + night // 28:02}-{1 + night % 28:02}"

    def make(self) -> list[RecordedRun]:
        return [taken for night in range(self.nights) for board in self.boards if (taken := self.taken(night, board))]

    def taken(self, night: int, board: str) -> RecordedRun | None:
        began = BEGUN + night * DAY
        name = f"job-{board}"
        run: Run | None = Run(
            digest(f"{self.plan} {night} {name}")[:32], self.name(night), name, self.plan, board, began, began + 600, 0,
            "done", {},
        )  # fmt: skip
        assert run is not None
        run = self.run(night, run)
        if run is None:
            return None
        sha = digest(self.image(night))
        tests = [
            Test(
                run=run.id,
                test=name,
                nodeid=name,
                suite=suite,
                board=board,
                image="reference",
                clock="real time",
                outcome="passed",
                seconds=1.0,
                image_sha256=sha,
            )
            for suite in self.suites
            for name in (f"suites/{suite}/test_{suite}.py::test_{number}[{board}]" for number in range(self.tests))
        ]
        records = []
        for quantity, subject, clock in self.measured:
            test = f"suites/realtime/test_response.py::test_{digest(quantity + subject)[:4]}[{board}]"
            tests.append(replace(tests[0], test=test, nodeid=test, suite="realtime"))
            samples = sampled(self.level(board, quantity, subject, night), clock, night)
            told = {"board": board, "test": test, "image": f"reference {sha}", "module": f"m.wasm {digest('m')}"}
            told |= {"seed": "1"} if clock.exact else {}
            series = Series(quantity, subject, samples, clock, provenance=told)
            worst = float(np.max(samples))
            outcome = "pass" if worst <= self.bound else "fail"
            records.append(SeriesRecord(series, (CheckResult("max", Amount(self.bound, "s"), outcome, "told"),)))
            if outcome == "fail":
                cause = f"BoundsNotKept: {quantity} of {subject}: FAIL: max is 150 ms, limit 100 ms"
                tests[-1] = replace(tests[-1], outcome="failed", fault="image", cause=cause, error="BoundsNotKept")
        tests = [self.test(night, test) for test in tests]
        return RecordedRun(run, tests, self.boots(night, run.id, board), records)


@contextmanager
def history(path: Path, *plans: Plan) -> Iterator[History]:
    """A history of the nights of plans, open to be read."""
    file = path / "history.sqlite"
    with History(file, write=True) as store:
        for taken in sorted((one for plan in plans for one in plan.make()), key=lambda one: one.run.began):
            store.add(taken)
    with History(file) as store:
        yield store
