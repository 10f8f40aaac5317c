"""The console pages and report entries of a night's tests, found in the Allure results of its runs."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hil.host import foreign
from hil.report import shape
from hil.report.labels import NODE, digest
from hil.report.merge import RESULT

if TYPE_CHECKING:
    from hil.history.rows import Test

TRY = re.compile(r"try-(\d+)")
FAILED = b'id="fail"'  # in the page on which a failure is marked


@dataclass(frozen=True)
class PageLink:
    """A link; `href` is relative to the night's directory, empty for text only."""

    text: str
    href: str = ""


class NightPages:
    """Looks up console pages and report entries in the results below `directory`, a night's. Each run is read once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._results = functools.cache(self._read_run)

    def report_id(self, run: str, test: Test) -> str:
        """Return the identity of a test's last result in the report; empty where its results are gone."""
        _, facts = self._results(run).get(test.nodeid, (None, {}))
        return digest(facts.get("uuid", "")) if facts else ""

    def console(self, run: str, nodeid: str, transcript: str) -> PageLink | None:
        """Return a link to a test's console page, or, without one, the place in its transcript as text."""
        directory, facts = self._results(run).get(nodeid, (self.directory, {}))
        if (page := _console(directory, facts)) and (path := self._relative(page)):
            return PageLink("console", f"{quote(os.fsencode(path))}#fail")
        name, _, line = transcript.rpartition(":")
        if not name or not line.isdigit():
            name, line = transcript, ""
        path = self._relative(Path(name)) if name else ""
        return PageLink(f"transcript {path}" + f", line {line}" * bool(line)) if path else None

    def _relative(self, path: Path) -> str:
        """Return the path as it is from the night's directory; empty where it is not below it."""
        return str(path.relative_to(self.directory)) if path.is_relative_to(self.directory) else ""

    def _read_run(self, run: str) -> Mapping[str, tuple[Path, Mapping[str, Any]]]:
        """Return Allure's directory and result of all tests of a run, by node id; of several tries the last."""
        try:
            tries = [path for path in (self.directory / run).iterdir() if TRY.fullmatch(path.name)]
        except (OSError, ValueError):
            return {}
        found = {}
        for directory in sorted(tries, key=lambda path: int(path.name.partition("-")[2])):
            results = [facts for path in directory.glob(f"allure/*{RESULT}") if (facts := _read(path)) is not None]
            for facts in sorted(results, key=lambda facts: facts.get("start") or 0):
                labels = {label.get("name"): label.get("value") for label in facts.get("labels") or ()}
                found[str(labels.get(NODE))] = directory / "allure", facts
        return found


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
