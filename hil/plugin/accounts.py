"""Accounts of a run: how often boards came up, and what became of each test's runs, as rates with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from hil.errors import ORIGINS, HilError

if TYPE_CHECKING:  # numpy and scipy cost each start a second
    from hil.stats.rates import Rate

BOOT = "boot"
DEAD_AFTER = 2  # failed boots in a row
ENOUGH = 10  # boots; an interval without failures says nothing with fewer


@dataclass(frozen=True)
class BootAttempt:
    """One try to bring a board up: `kind` is boot or restore; `fault` is empty where it came up."""

    board: str
    kind: str
    fault: str = ""
    stage: str = ""
    cause: str = ""


class BootCounts:
    """Counts how often boards came up and failed to; a worker hands its tries over with the reports of its tests."""

    def __init__(self) -> None:
        self.tries: list[BootAttempt] = []
        self._fresh: list[BootAttempt] = []
        self._row: Counter[str] = Counter()  # by board, or by its incarnation in a clock where it has several
        self._given_up: set[str] = set()

    def good(self, board: str, kind: str = BOOT, *, incarnation: str = "") -> None:
        self._row[incarnation or board] = 0
        self._fresh.append(BootAttempt(board, kind))

    def failed(self, board: str, error: HilError, kind: str = BOOT, *, incarnation: str = "") -> None:
        self._row[incarnation or board] += kind == BOOT
        self._fresh.append(BootAttempt(board, kind, error.origin, error.stage or "", error.brief))

    def give_up(self, board: str) -> None:
        """It cannot be had, or not any more."""
        self._given_up.add(board)

    def dead(self, board: str, *, incarnation: str = "") -> bool:
        """Whether it is given up, or so many boots have failed in a row that the next one is not worth its time."""
        return board in self._given_up or self._row[incarnation or board] >= DEAD_AFTER

    def hand_over(self) -> list[dict[str, str]]:
        """The tries since the last call, as plain data."""
        fresh, self._fresh = self._fresh, []
        return [asdict(one) for one in fresh]

    def take(self, told: Mapping[str, str]) -> None:
        self.tries.append(BootAttempt(**told))

    def text(self) -> Iterator[str]:
        """A line for each kind of try, with the rate of failures and the causes; for a failing test bed one more."""
        for kind in dict.fromkeys(one.kind for one in self.tries):
            judged, spoilt = _split([one for one in self.tries if one.kind == kind])
            bad = [one for one in judged if one.fault]
            if judged:
                line = f"{kind}s: {len(judged)}, {len(bad) or 'none'} failed"
                if bad or len(judged) >= ENOUGH:
                    line += f" ({_interval(_rate(len(bad), len(judged)))})"
                yield line + (f": {_causes(bad)}" if bad else "")
            if spoilt:
                yield f"{kind}s that failed without the image's fault: {len(spoilt)}: {_causes(spoilt)}"

    def facts(self) -> dict[str, Any]:
        """The same for machines."""
        found: dict[str, Any] = {}
        for kind in dict.fromkeys(one.kind for one in self.tries):
            judged, spoilt = _split([one for one in self.tries if one.kind == kind])
            bad = [one for one in judged if one.fault]
            found[kind] = {
                "tries": len(judged),
                "failed": len(bad),
                **_limits("failure_", _rate(len(bad), len(judged)) if judged else None),
                "failures": [asdict(one) for one in (*bad, *spoilt)],
                "not_the_images_fault": len(spoilt),
            }
        return found


def _split(tries: Sequence[BootAttempt]) -> tuple[list[BootAttempt], list[BootAttempt]]:
    """Those that say something about the image, and those that others failed."""
    judged = ("", "image")
    return [one for one in tries if one.fault in judged], [one for one in tries if one.fault not in judged]


def _causes(failed: Sequence[BootAttempt]) -> str:
    """The causes, of those at one stage the first, the most frequent first."""
    first = {one.stage or one.cause: one for one in reversed(failed)}
    told = []
    for key, count in Counter(one.stage or one.cause for one in failed).most_common():
        one = first[key]
        told.append(one.cause + (f" ({count} times{' at this stage' * bool(one.stage)})" if count > 1 else ""))
    return "; ".join(told)


def _rate(failed: int, total: int) -> Rate:
    from hil.stats.rates import rate

    return rate(failed, total)


def _interval(rate: Rate) -> str:
    return f"{_percent(rate.value)} %, 95 % {_percent(rate.lower)} to {_percent(rate.upper)} %"


def _percent(share: float) -> str:
    return f"{100 * share:.3g}"


def _limits(prefix: str, rate: Rate | None) -> dict[str, float | None]:
    names = [f"{prefix}{name}" for name in ("rate", "lower", "upper")]
    return dict(zip(names, (rate.value, rate.lower, rate.upper) if rate else (None,) * 3, strict=True))


@dataclass
class TestRun:
    """One run of a test, over all its tries: `retried` holds the causes of those that another one followed."""

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
        """Whether it says something about image and test: it was not skipped, and the test bed did not end it."""
        return self.good or self.fault not in ("", "infrastructure")


@dataclass(frozen=True)
class PassRate:
    """What became of all runs of one test."""

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
        """How often who was at fault, infrastructure aside."""
        counts = Counter(run.fault for run in self.runs if run.counts and run.fault)
        return {fault: counts[fault] for fault in ORIGINS if counts[fault]}

    @property
    def infrastructure(self) -> int:
        """Tries that the test bed failed, whether another one followed or not."""
        return sum(len(run.retried) + (run.fault == "infrastructure") for run in self.runs)

    @property
    def first(self) -> TestRun | None:
        return next((run for run in self.runs if run.counts and run.fault), None)

    @property
    def limits(self) -> tuple[float, float, float] | None:
        """The pass rate and its 95 % limits, 0 to 1."""
        if not self.total:
            return None
        rate = _rate(self.total - self.passed, self.total)
        return 1 - rate.value, 1 - rate.upper, 1 - rate.lower

    @property
    def row(self) -> tuple[str, ...]:
        limits = self.limits
        rate, lower, upper = ("-",) * 3 if limits is None else map(_percent, limits)
        failures = ", ".join(f"{count} {fault}" for fault, count in self.failures.items())
        first = f"{self.first.nodeid.rpartition('::')[2]}: {self.first.cause}" if self.first else "-"
        tries = str(self.infrastructure or "-")
        return (
            self.test,
            f"{self.passed}/{self.total}",
            f"{rate} %" if limits else "-",
            f"{lower} to {upper} %" if limits else "-",
            failures or "-",
            tries,
            first,
        )

    @property
    def facts(self) -> dict[str, Any]:
        first = self.first
        rate, lower, upper = self.limits or (None,) * 3
        return {
            "test": self.test,
            "runs": self.total,
            "passed": self.passed,
            "rate": rate,
            "lower": lower,
            "upper": upper,
            "failures": self.failures,
            "infrastructure_tries": self.infrastructure,
            "skipped": sum(not run.passed and not run.fault for run in self.runs),
            "first_failure": first and {"run": first.nodeid, "fault": first.fault, "cause": first.cause},
            "retried": [{"run": run.nodeid, "causes": run.retried} for run in self.runs if run.retried],
        }


HEAD = ("test", "passed/runs", "rate", "95 % interval", "failures", "infrastructure", "first failure")


def table(tallies: Sequence[PassRate]) -> list[str]:
    """The lines of a table of pass rates."""
    rows = [HEAD, *(tally.row for tally in tallies)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
