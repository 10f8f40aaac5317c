"""The shape of Allure's JSON files, as far as their readers rely on it: what others wrote is checked before use."""

from __future__ import annotations

from typing import Any

from hil.host import foreign

TEXTS = ("uuid", "name", "fullName", "status", "historyId", "testCaseId", "description", "stage")
OBJECTS = ("labels", "links", "parameters", "attachments", "steps", "befores", "afters", "errors")
DEEPEST = 200  # steps within each other


def checked(facts: Any) -> dict[str, Any]:
    """Return a result, or another of Allure's JSON objects, without what its readers stumble over.

    What is null in a list, or of another type than all else there, is removed. Raises `ValueError` that names the key
    of a text that is none, or of a time that no calendar can show.
    """
    if not isinstance(facts, dict):
        raise ValueError("it is no JSON object")
    return _step(facts, 0)


def _step(facts: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > DEEPEST:
        raise ValueError(f"its steps are more than {DEEPEST} deep")
    for name in TEXTS:
        if facts.get(name) is not None and not isinstance(facts[name], str):
            raise ValueError(f"{name}: {facts[name]!r:.40} is no text")
    for name in ("start", "stop"):
        if facts.get(name) is not None:
            facts[name] = _time(name, facts[name])
    if not isinstance(facts.get("statusDetails") or {}, dict):
        raise ValueError("statusDetails: it is no JSON object")
    for name in OBJECTS:
        if facts.get(name) is not None:
            facts[name] = _objects(name, facts[name])
    for name in ("steps", "befores", "afters"):
        facts |= {name: [_step(one, depth + 1) for one in facts[name]]} if facts.get(name) else {}
    for name in ("attachments", "errors"):
        if facts.get(name):
            facts[name] = [one for one in facts[name] if _is_plain(one.get("source"))]
    if facts.get("titlePath") is not None:
        given = facts["titlePath"]
        facts["titlePath"] = [one for one in given if isinstance(one, str)] if isinstance(given, list) else []
    return facts


def _time(name: str, value: Any) -> int:
    try:
        return int(1000 * foreign.moment(value / 1000)) if isinstance(value, float) else _whole(value)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"{name}: {value!r:.40} is no time in milliseconds") from None


def _whole(value: int) -> int:
    foreign.moment(value / 1000 if not isinstance(value, bool) else value)
    return value


def _objects(name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"{name}: it is no list")
    return [one for one in value if isinstance(one, dict)]


def _is_plain(source: Any) -> bool:
    """Whether an attachment's source is the name of a file in the results directory, and leads nowhere else."""
    if source is None:
        return True
    return isinstance(source, str) and source not in ("", ".", "..") and not set(source) & set("/\\")
