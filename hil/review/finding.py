"""A finding of a review: one thing to look at, and how it is worded."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hil.history.journal import NOT_RUN

if TYPE_CHECKING:
    from hil.history.rows import FigureKey, Test
    from hil.review.review_window import ReviewedNight, ReviewWindow

WIDTH = 300  # characters of a cause
NAMED = 5  # tests that a finding names


class FindingKind(enum.StrEnum):
    """The kinds of findings, the worst first."""

    DEAD = "dead board"
    KILLED = "killed run"
    BROKEN = "broken run"
    MISSING = "missing run"
    FAILURE = "new failure"
    BOUND = "bound not kept"
    STEP = "step"
    DRIFT = "drift"
    SHIFT = "shift"
    FLAKY = "flaky boot"
    STILL = "still failing"
    BED = "test bed"
    NOT_RUN = NOT_RUN
    GONE = "tests gone"
    FIXED = "fixed"
    BETTER = "better"


@dataclass(frozen=True)
class Finding:
    """One thing to look at. `text` is a sentence, `details` are more of them.

    `run` and `clock` are those of the tests; empty where there are none, or several. `since` is the night in which it
    began, empty where that is before the window; `new` means that no earlier night had it. `fault` is the failure
    origin, where it is known. `example` is a test whose console shows it. `keys` are the figures concerned.
    """

    kind: FindingKind
    text: str
    board: str = ""
    test: str = ""
    run: str = ""
    clock: str = ""
    since: str = ""
    new: bool = False
    fault: str = ""
    details: tuple[str, ...] = ()
    example: Test | None = None
    keys: tuple[FigureKey, ...] = ()

    @property
    def bad(self) -> bool:
        return self.kind not in (FindingKind.FIXED, FindingKind.BETTER)

    @property
    def context(self) -> str:
        """Failure origin and clock, and night, run and test as far as the text does not name them."""
        values = {"failure origin": self.fault, "clock": self.clock}
        names = {"since": "" if self.new else self.since, "run": self.run, "test": self.test}
        values |= {name: value for name, value in names.items() if value not in self.text}
        return "; ".join(f"{name}: {value}" for name, value in values.items() if value)

    @property
    def facts(self) -> dict[str, Any]:
        """The finding as JSON data."""
        return {name: value for name, value in vars(self).items() if name not in ("example", "keys")}


def of_tests(kind: FindingKind, text: str, night: ReviewedNight, tests: Sequence[Test], **more: Any) -> Finding:
    """Return a finding about `tests` of `night`, with the board and the clock that they share, and their runs."""
    common_values: dict[str, Any] = {
        "board": common(night.board(test) for test in tests),
        "run": named([night.by_id[test.run].name for test in tests]),
        "clock": common(test.clock for test in tests),
    }
    return Finding(kind, text, **common_values | more)


def common(values: Iterable[str]) -> str:
    """Return the value that all have in common; empty where they differ."""
    different = set(values)
    return different.pop() if len(different) == 1 else ""


def short(text: str, width: int = WIDTH) -> str:
    """Return the text as one line of at most `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 4]} ..."


def named(names: Sequence[str]) -> str:
    """Return the first `NAMED` different names, and how many more there are."""
    names = list(dict.fromkeys(names))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def tests_text(tests: Sequence[Test]) -> str:
    """Return the name of the first test, and how many more there are."""
    return tests[0].test + (f" and {len(tests) - 1} more" if len(tests) > 1 else "")


def others_named(tests: Sequence[Test]) -> tuple[str, ...]:
    """Return the detail that names the tests after the first."""
    return (named([test.test for test in tests[1:]]),) if tests[1:] else ()


def percent(share: float, digits: int = 1) -> str:
    """Return a change, as a share, as in `+21.8 %`; one that doubles the value or more as in `20 times`."""
    return f"{1 + share:.3g} times" if share >= 1 else f"{100 * share:+.{digits}f} %"


def since_text(window: ReviewWindow, begin: int) -> str:
    """Return for how long it has been so, for the end of a sentence; `begin` is an index into the nights."""
    if begin == len(window.nights) - 1:
        return ", for the first time" if begin else ""
    count = len(window.nights) - begin
    return f" since {window.names[begin]}{' or earlier' * (begin == 0)}, {count} nights"
