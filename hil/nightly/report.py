"""One Allure report of a night: the results of all its runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from hil.errors import HilError
from hil.nightly.state import REPORT, Night
from hil.report.build import build


def make(night: Night) -> str:
    """Write the night's report; what to tell of it. A night without one is still a night."""
    results = [
        (run.name, night.directory(run, n + 1) / "allure") for run in night.state.runs for n in range(len(run.tries))
    ]
    try:
        with tempfile.TemporaryDirectory(prefix=".allure-", dir=night.path) as work:
            merge(results, Path(work))
            title = f"Night {night.name}, plan {night.state.plan}"
            return f"report: {build(Path(work), night.path / REPORT, title=title)}"
    except HilError as error:
        return f"no report: {error.message}"
    except OSError as error:
        return f"no report: {error}"


def merge(results: Iterable[tuple[str, Path]], output: Path) -> None:
    """Put the results of runs, as (name, directory), into one directory, each test labelled with its run.

    The same test in two runs is two tests, for which Allure would take tries of one.
    """
    environment: list[str] = []
    for run, directory in results:
        for file in sorted(directory.glob("*")):
            if file.name.endswith("-result.json"):
                _adopt(run, file, output)
            elif file.name == "environment.properties":
                environment += [f"{run}.{line}" for line in file.read_text("utf-8").splitlines()]
            else:
                _link(file, output / file.name)
    if environment:
        (output / "environment.properties").write_text("\n".join(dict.fromkeys(environment)) + "\n", "utf-8")


def _adopt(run: str, file: Path, output: Path) -> None:
    try:
        facts = json.loads(file.read_bytes())
    except ValueError:  # its writer was killed
        return
    facts["historyId"] = hashlib.sha256(f"{run} {facts.get('historyId')}".encode()).hexdigest()[:32]
    facts["labels"] = [*facts.get("labels", ()), {"name": "epic", "value": run}]
    (output / file.name).write_text(json.dumps(facts), "utf-8")


def _link(file: Path, to: Path) -> None:
    try:
        os.link(file, to)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, to)
