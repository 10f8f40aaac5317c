"""Check the shape of Allure's JSON files, which other tools may have written."""

from __future__ import annotations

from typing import Any

from hil.host import foreign

TEXTS = ("uuid", "name", "fullName", "status", "historyId", "testCaseId", "description", "stage")
STEPS = ("steps", "befores", "afters")
OBJECTS = ("labels", "links", "parameters", "attachments", "errors", *STEPS)
DEEPEST = 200  # steps within each other


def checked(facts: Any) -> dict[str, Any]:
    """Return one of Allure's JSON objects without items that its readers cannot process.

    Items of a wrong type are removed from lists. Raises `ValueError` with the key of a text of another type, or of a
    time out of range.
    """
    if not isinstance(facts, dict):
        raise ValueError("not a JSON object")
    return _step(facts, 0)


def _step(facts: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEEPEST:
        raise ValueError(f"steps nested more than {DEEPEST} deep")
    for name in TEXTS:
        if facts.get(name) is not None and not isinstance(facts[name], str):
            raise ValueError(f"{name}: {facts[name]!r:.40} is not a text")
    for name in ("start", "stop"):
        if facts.get(name) is not None:
            facts[name] = _time(name, facts[name])
    if not isinstance(facts.get("statusDetails") or {}, dict):
        raise ValueError("statusDetails: not a JSON object")
    for name in OBJECTS:
        if facts.get(name) is None:
            continue
        if not isinstance(facts[name], list):
            raise ValueError(f"{name}: not a list")
        items = [item for item in facts[name] if isinstance(item, dict)]
        facts[name] = [_step(item, depth + 1) for item in items] if name in STEPS else items
    for name in ("attachments", "errors"):
        if facts.get(name):
            facts[name] = [item for item in facts[name] if _is_plain(item.get("source"))]
    if facts.get("titlePath") is not None:
        given = facts["titlePath"]
        facts["titlePath"] = [title for title in given if isinstance(title, str)] if isinstance(given, list) else []
    return facts


def _time(name: str, value: Any) -> int:
    try:
        foreign.moment(value if isinstance(value, bool) else value / 1000)
        return int(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: {value!r:.40} is not a time in milliseconds") from None


def _is_plain(source: Any) -> bool:
    """Check that an attachment's source is a plain file name, which cannot lead out of the results directory."""
    if source is None:
        return True
    return isinstance(source, str) and source not in ("", ".", "..") and not set(source) & set("/\\")
