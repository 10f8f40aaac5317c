"""The markers, and the check of their arguments before the first test."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence

import pytest

MARKERS = {
    "board": "runs on the selected boards, see --board",
    "hardware": "needs a real board; an error on an emulated one",
    "emulator": "needs an emulated board; an error on a real one",
    "timing": "judges times, in virtual time where the board can (see --clock); its figures are in the report",
    "soak": "runs long",
    "destructive": "may leave the board unusable; the next test gets a fresh one",
    "requirement(name, ...)": "covers these requirements",
    "owner(name)": "the owner of its failures",
    "severity(level)": "blocker, critical, normal, minor or trivial",
    "issue(number, ...)": "is related to these issues; the setting `tracker` of [tool.hil] has their URL",
    "known_issue(number, text, until='YYYY-MM-DD')": "its failures are known, and do not count in the report's gate",
}
SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")


def pytest_configure(config: pytest.Config) -> None:
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Check the markers of all selected tests before the first one acquires a board."""
    problems = [
        f"{item.nodeid}: marker {mark.name}: {problem}"
        for item in items
        for mark in item.iter_markers()
        if (check := CHECKS.get(mark.name)) and (problem := check(mark))
    ]
    if problems:
        raise pytest.UsageError("\n".join(problems))


def _are_texts(values: Sequence[object]) -> bool:
    return all(isinstance(value, str) and value.strip() for value in values)


def _check_texts(mark: pytest.Mark) -> str:
    right = mark.args and not mark.kwargs and _are_texts(mark.args)
    return "" if right else f'give one or more texts: {mark.name}("NAME", ...)'


def _check_text(mark: pytest.Mark) -> str:
    return "" if len(mark.args) == 1 and not _check_texts(mark) else f'give one text: {mark.name}("NAME")'


def _check_severity(mark: pytest.Mark) -> str:
    right = not mark.kwargs and len(mark.args) == 1 and mark.args[0] in SEVERITIES
    return "" if right else f"give one of {', '.join(SEVERITIES)}"


def _check_known_issue(mark: pytest.Mark) -> str:
    until = mark.kwargs.get("until", "2000-01-01")
    if len(mark.args) != 2 or not _are_texts(mark.args) or set(mark.kwargs) - {"until"}:
        return 'give its number and a text: known_issue("123", "the clock jumps", until="2026-12-31")'
    try:
        datetime.date.fromisoformat(until)
    except (TypeError, ValueError):
        return f"until={until!r} is not a date like 2026-12-31"
    return ""


CHECKS: dict[str, Callable[[pytest.Mark], str]] = {
    "requirement": _check_texts,
    "issue": _check_texts,
    "owner": _check_text,
    "severity": _check_severity,
    "known_issue": _check_known_issue,
}
