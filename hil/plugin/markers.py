"""The markers for the report, and the check of their arguments before the first test."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator, Sequence

import pytest

MARKERS = {
    "requirement(name, ...)": "covers these requirements",
    "owner(name)": "the owner of its failures",
    "severity(level)": "blocker, critical, normal, minor or trivial",
    "issue(number, ...)": "is related to these issues; the ini option hil_tracker has their URL",
    "known_issue(number, text, until='YYYY-MM-DD')": "its failures are known, and do not count in the report's gate",
}
SEVERITIES = ("blocker", "critical", "normal", "minor", "trivial")


def register(config: pytest.Config) -> None:
    """Register the markers and the check of their arguments."""
    for name, text in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {text}")
    config.pluginmanager.register(Markers(), "hil-markers")


class Markers:
    """Checks the markers of all selected tests before the first one acquires a board."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        problems = [f"{item.nodeid}: {problem}" for item in items for problem in errors_in(item)]
        if problems:
            raise pytest.UsageError("\n".join(problems))


def errors_in(item: pytest.Item) -> Iterator[str]:
    """Yield the errors in the markers of `item`."""
    for mark in item.iter_markers():
        if (check := CHECKS.get(mark.name)) and (problem := check(mark)):
            yield f"marker {mark.name}: {problem}"


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
