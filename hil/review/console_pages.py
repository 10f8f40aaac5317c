"""The console pages and report entries of a night's tests, found in the Allure results of its runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.host import foreign
from hil.report import shape
from hil.report.labels import NODE, digest
from hil.report.merge import RESULT

if TYPE_CHECKING:
    from hil.history.rows import Test
    from hil.review.review_window import ReviewedNight

TRY = re.compile(r"try-(\d+)")
FAILED = b'id="fail"'  # in the page on which a failure is marked


@dataclass(frozen=True)
class TestPages:
    """The page of a test's console, None where it has none, and the identity of its result in the report."""

    console: Path | None
    report_id: str

    __test__ = False  # for pytest, which collects classes of this name


class NightPages:
    """Looks up test pages in the results of `night`, which are below its `directory`. Each run is read once."""

    def __init__(self, night: ReviewedNight, directory: Path) -> None:
        self._night, self._directory = night, directory.absolute()
        self._runs: dict[str, Mapping[str, TestPages]] = {}

    def of(self, test: Test) -> TestPages | None:
        """Return the pages of a test's last try; None where its results are gone."""
        run = self._night.by_id[test.run].name
        if run not in self._runs:
            self._runs[run] = dict(_pages(self._directory / run))
        return self._runs[run].get(test.nodeid)


def _pages(run: Path) -> Iterator[tuple[str, TestPages]]:
    """Yield the pages of all tests of a run by node id, later tries after earlier ones."""
    try:
        tries = [path for path in run.iterdir() if TRY.fullmatch(path.name)]
    except (OSError, ValueError):
        return
    for directory in sorted(tries, key=lambda path: int(path.name.partition("-")[2])):
        results = [facts for path in directory.glob(f"allure/*{RESULT}") if (facts := _read(path)) is not None]
        for facts in sorted(results, key=lambda facts: facts.get("start") or 0):
            labels = {label.get("name"): label.get("value") for label in facts.get("labels") or ()}
            yield str(labels.get(NODE)), TestPages(_console(directory / "allure", facts), digest(facts.get("uuid", "")))


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return shape.checked(foreign.decode(foreign.read(str(path), foreign.RESULT_LIMIT)))
    except (OSError, ValueError):  # the report names it
        return None


def _console(directory: Path, facts: Mapping[str, Any]) -> Path | None:
    """Return the console page on which the failure is marked, else the first."""
    pages = []
    for attachment in facts.get("attachments") or ():
        source, name = attachment.get("source"), str(attachment.get("name"))
        if source and name.startswith("console") and attachment.get("type") == "text/html" and "played" not in name:
            path = directory / source
            if path.is_file() and not path.is_symlink():
                pages.append(path)
    return next((path for path in pages if len(pages) > 1 and FAILED in path.read_bytes()), pages[0] if pages else None)


def relative(path: Path, directory: Path) -> str:
    """Return the path as it is from `directory`; empty where it is not below it."""
    directory = directory.absolute()
    return os.path.relpath(path, directory) if path.is_relative_to(directory) else ""
