"""Made-up nights as windows to be reviewed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reviewed import REAL, VIRTUAL, Plan, history

from hil.history.rows import Boot, Test
from hil.review.finding import Finding
from hil.review.findings import findings
from hil.review.review_window import ReviewWindow
from hil.review.trend_series import trend_series

SMALL = 6  # nights, where it does not take more
BOOT = "stage login: nothing was heard"


def window(tmp_path: Path, *plans: Plan, night: str | None = None, count: int = 30) -> ReviewWindow:
    tmp_path.mkdir(exist_ok=True)
    with history(tmp_path, *plans) as store:
        return ReviewWindow.of(store, night, count)


def found(tmp_path: Path, *plans: Plan, **more: Any) -> list[Finding]:
    seen = window(tmp_path, *plans, **more)
    return findings(seen, trend_series(seen))


def failing(which: str, nights: Sequence[int], fault: str = "image", cause: str = "") -> Callable[[int, Test], Test]:
    def test(night: int, one: Test) -> Test:
        if which not in one.test or night not in nights:
            return one
        dead = one.board if BOOT in cause else ""
        return replace(one, outcome="failed", fault=fault, cause=cause or "AssertionError: moon", dead_board=dead)

    return test


def dying(board: str, nights: Sequence[int], fault: str = "infrastructure", good: int = 0) -> Any:
    def boots(night: int, run: str, name: str) -> Sequence[Boot]:
        fine = Boot(run, name, "boot", "", "", "")
        if name != board or night not in nights:
            return (fine, fine)
        return (Boot(run, name, "boot", fault, "login", BOOT), *[fine] * good)

    return boots


def measured(**more: Any) -> Plan:
    return Plan(boards=("one",), suites=("smoke",), tests=1, **more)


def planted(number: int) -> Plan:
    def level(board: str, quantity: str, subject: str, night: int) -> float:
        step = 1.2 if board == "one" and night >= 12 else 1.0
        drift = 1 + 0.01 * (night - 17) if board == "two" and subject.startswith("hello") and night >= 18 else 1.0
        return 0.010 * step * drift

    def boots(night: int, run: str, board: str) -> Sequence[Boot]:
        bad = {"three": ((10, 22), "image"), "four": (range(27, 30), "infrastructure")}.get(board)
        fault = bad[1] if bad and night in bad[0] else ""
        return [Boot(run, board, "boot", fault, "login" * bool(fault), BOOT * bool(fault))] * 2

    def test(night: int, one: Test) -> Test:
        if one.board == "four" and night >= 27:
            return replace(
                one,
                outcome="failed",
                fault="infrastructure",
                cause=f"InfrastructureError: {BOOT}",
                dead_board=one.board,
            )
        if one.board == "three" and night in (10, 22):
            return replace(one, outcome="failed", fault="image", cause=f"BootError: {BOOT}", dead_board=one.board)
        return one

    return Plan(
        boards=("one", "two", "three", "four"),
        level=level,
        boots=boots,
        test=test,
        image=lambda night: "second" if night >= 12 else "first",
        nights=number,
    )


def levels(*parts: tuple[int, float]) -> Any:
    """A level that begins at each night."""
    return lambda board, quantity, subject, night: 0.01 * [size for begin, size in parts if night >= begin][-1]


EXACT = (("response time", "hello.wasm", VIRTUAL),)
NOISY = (("response time", "hello.wasm", REAL),)
