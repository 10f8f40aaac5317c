"""The counts of a run: boots and outcomes of tests, as rates with confidence intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from hil import slow
from hil.errors import ORIGINS, HilError

BOOT = "boot"
DEAD_AFTER = 2  # failed boots in a row
ENOUGH = 10  # boots; with fewer, the interval of a rate without failures is too wide to be of use


@dataclass(frozen=True)
class BootAttempt:
    """An attempt to bring a board up: `kind` is boot or restore; `fault` is its failure origin, empty on success."""

    board: str
    kind: str
    fault: str = ""
    stage: str = ""
    cause: str = ""


class BootCounts:
    """The attempts to bring boards up; a worker of xdist hands its own over with the reports of its tests."""

    def __init__(self) -> None:
        self.tries: list[BootAttempt] = []
        self._fresh: list[BootAttempt] = []
        self._row: Counter[str] = Counter()  # failures in a row, by incarnation or board
        self._given_up: set[str] = set()

    def add(self, board: str, error: HilError | None = None, kind: str = BOOT, *, incarnation: str = "") -> None:
        """Add an attempt; `error`, if it failed, then names the board."""
        if error is None:
            self._row[incarnation or board] = 0
            self._fresh.append(BootAttempt(board, kind))
        else:
            self._row[incarnation or board] += kind == BOOT
            error.dead_board = board
            self._fresh.append(BootAttempt(board, kind, error.origin, error.stage or "", error.brief))

    def give_up(self, board: str) -> None:
        """Note that the board cannot be used, or no longer."""
        self._given_up.add(board)

    def dead(self, board: str, *, incarnation: str = "") -> bool:
        """Return whether the board is given up, or `DEAD_AFTER` boots in a row have failed."""
        return board in self._given_up or self._row[incarnation or board] >= DEAD_AFTER

    def hand_over(self) -> list[dict[str, str]]:
        """Return the attempts since the last call as plain data."""
        fresh, self._fresh = self._fresh, []
        return [asdict(attempt) for attempt in fresh]

    def take(self, attempt: Mapping[str, str]) -> None:
        """Take over an attempt that `hand_over` has returned."""
        self.tries.append(BootAttempt(**attempt))

    def _by_kind(self) -> Iterator[tuple[str, list[BootAttempt], list[BootAttempt], list[BootAttempt]]]:
        """Yield each kind with the attempts that count for the image, the failed ones of these, and all others."""
        for kind in dict.fromkeys(attempt.kind for attempt in self.tries):
            attempts = [attempt for attempt in self.tries if attempt.kind == kind]
            judged = [attempt for attempt in attempts if attempt.fault in ("", "image")]
            spoilt = [attempt for attempt in attempts if attempt.fault not in ("", "image")]
            yield kind, judged, [attempt for attempt in judged if attempt.fault], spoilt

    def text(self) -> Iterator[str]:
        """Yield a line for each kind of attempt with its rate and causes of failures, and one for the test bed."""
        for kind, judged, bad, spoilt in self._by_kind():
            if judged:
                line = f"{kind}s: {len(judged)}, {len(bad) or 'none'} failed"
                if bad or len(judged) >= ENOUGH:
                    value, interval = _percents(slow.rate(len(bad), len(judged)))
                    line += f" ({value}, 95 % {interval})"
                yield line + (f": {_causes(bad)}" if bad else "")
            if spoilt:
                yield f"{kind}s that failed without the image's fault: {len(spoilt)}: {_causes(spoilt)}"

    def facts(self) -> dict[str, Any]:
        """Return the same as plain data, by kind."""
        found: dict[str, Any] = {}
        for kind, judged, bad, spoilt in self._by_kind():
            found[kind] = {
                "tries": len(judged),
                "failed": len(bad),
                **_facts(slow.rate(len(bad), len(judged)) if judged else None, "failure_"),
                "failures": [asdict(attempt) for attempt in (*bad, *spoilt)],
                "not_the_images_fault": len(spoilt),
            }
        return found


def _causes(failed: Sequence[BootAttempt]) -> str:
    """Return the causes, the most frequent first; one stands for all failures at its stage."""
    first = {attempt.stage or attempt.cause: attempt for attempt in reversed(failed)}
    causes = []
    for key, count in Counter(attempt.stage or attempt.cause for attempt in failed).most_common():
        times = f" ({count} times{' at this stage' * bool(first[key].stage)})" if count > 1 else ""
        causes.append(first[key].cause + times)
    return "; ".join(causes)


def _percents(rate: slow.Rate) -> tuple[str, str]:
    """Return the rate and its confidence interval."""
    value, lower, upper = (f"{100 * share:.3g}" for share in (rate.value, rate.lower, rate.upper))
    return f"{value} %", f"{lower} to {upper} %"


def _facts(rate: slow.Rate | None, prefix: str = "") -> dict[str, float | None]:
    """Return the rate and its confidence interval as plain data."""
    values = (rate.value, rate.lower, rate.upper) if rate else (None,) * 3
    return dict(zip((f"{prefix}rate", f"{prefix}lower", f"{prefix}upper"), values, strict=True))


@dataclass
class TestRun:
    """One run of a test with all its tries; `retried` holds the causes of those that another one followed."""

    __test__ = False  # not a test class

    nodeid: str
    test: str
    passed: bool = False
    fault: str = ""
    cause: str = ""
    retried: list[str] = field(default_factory=list)
    retried_origin: str = ""  # the failure origin of the last try that another one followed

    @property
    def good(self) -> bool:
        return self.passed and not self.fault

    @property
    def counts(self) -> bool:
        """Whether it counts for image and test: it was not skipped, and the test bed did not end it."""
        return self.good or self.fault not in ("", "infrastructure")


@dataclass(frozen=True)
class PassRate:
    """The outcomes of all runs of one test."""

    test: str
    runs: tuple[TestRun, ...]

    @property
    def total(self) -> int:
        return sum(run.counts for run in self.runs)

    @property
    def passed(self) -> int:
        return sum(run.good for run in self.runs)

    @property
    def failures(self) -> dict[str, int]:
        """The number of failures by origin, infrastructure aside."""
        counts = Counter(run.fault for run in self.runs if run.counts and run.fault)
        return {fault: counts[fault] for fault in ORIGINS if counts[fault]}

    @property
    def infrastructure(self) -> int:
        """The number of tries that the test bed ended, retried or not."""
        return sum(len(run.retried) + (run.fault == "infrastructure") for run in self.runs)

    @property
    def first(self) -> TestRun | None:
        return next((run for run in self.runs if run.counts and run.fault), None)

    @property
    def rate(self) -> slow.Rate | None:
        """The share of passed runs with its 95 % confidence interval; None without a run that counts."""
        return slow.rate(self.passed, self.total) if self.total else None

    @property
    def row(self) -> tuple[str, ...]:
        rates = _percents(self.rate) if self.rate else ("-", "-")
        failures = ", ".join(f"{count} {fault}" for fault, count in self.failures.items()) or "-"
        first = f"{self.first.nodeid.rpartition('::')[2]}: {self.first.cause}" if self.first else "-"
        return self.test, f"{self.passed}/{self.total}", *rates, failures, str(self.infrastructure or "-"), first

    @property
    def facts(self) -> dict[str, Any]:
        first = self.first
        return {
            "test": self.test,
            "runs": self.total,
            "passed": self.passed,
            **_facts(self.rate),
            "failures": self.failures,
            "infrastructure_tries": self.infrastructure,
            "skipped": sum(not run.passed and not run.fault for run in self.runs),
            "first_failure": first and {"run": first.nodeid, "fault": first.fault, "cause": first.cause},
            "retried": [{"run": run.nodeid, "causes": run.retried} for run in self.runs if run.retried],
        }


HEAD = ("test", "passed/runs", "rate", "95 % interval", "failures", "infrastructure", "first failure")


def table(rates: Sequence[PassRate]) -> list[str]:
    """Return the lines of a table of pass rates."""
    rows = [HEAD, *(rate.row for rate in rates)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
