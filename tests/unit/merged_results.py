"""Allure results for tests of reports."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hil.report.merge import Merged, Part, merge


def result(uuid: str, case: str = "case", status: str = "passed", start: int = 1000, **labels: str) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "name": case,
        "testCaseId": case,
        "status": status,
        "start": start,
        "stop": start + 10,
        "labels": [{"name": name.replace("__", "-"), "value": value} for name, value in labels.items()],
        "parameters": [{"name": "board", "value": "b"}, {"name": "what", "value": "<object at 0x1>", "excluded": True}],
    }


def put(directory: Path, *results: dict[str, Any]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for one in results:
        (directory / f"{one['uuid']}-result.json").write_text(json.dumps(one))
    return directory


def got(directory: Path) -> dict[str, dict[str, Any]]:
    found = [json.loads(path.read_text()) for path in directory.glob("*-result.json")]
    return {one["uuid"]: one for one in found}


def combined(tmp_path: Path, *parts: Part) -> tuple[Merged, dict[str, dict[str, Any]]]:
    output = tmp_path / "merged"
    output.mkdir()
    return merge(parts, output), got(output)


def named(uuid: str) -> str:
    return hashlib.md5(uuid.encode()).hexdigest()


def tags(one: dict[str, Any], name: str) -> list[str]:
    return [label["value"] for label in one["labels"] if label["name"] == name]
