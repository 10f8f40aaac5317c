"""The fenced blocks of the documentation, and the commands in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name / "README.md" for name in ("wasm_samples", "reports", "bench")),
]
MARKER = re.compile(r"<!-- not run: (.+?) -->|<!-- not run\n(.+?)\n-->", re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command of a block, as a shell takes it; `not_run` is the reason why no test runs it, empty for the others."""

    page: str
    line: int
    text: str
    not_run: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Block:
    """A fenced block: `language` is empty for commands; `marker` is the comment before it that says what is not run.

    The marker is a reason for the whole block, or has a line `BEGINNING OF A COMMAND: REASON` for each kind of command,
    of which the longest counts; with the reason `-` it is run.
    """

    page: str
    line: int
    language: str
    text: str
    marker: str = ""

    @property
    def commands(self) -> tuple[Command, ...]:
        whole = "" if "\n" in self.marker or ": " in self.marker else self.marker
        reasons = dict(row.split(": ", 1) for row in self.marker.splitlines()) if self.marker and not whole else {}
        found, unused = [], set(reasons)
        for number, text in self._lines():
            beginnings = [one for one in reasons if text.startswith(one)]
            unused -= set(beginnings)
            reason = whole or (reasons[max(beginnings, key=len)] if beginnings else "")
            found.append(Command(self.page, number, text, "" if reason == "-" else reason))
        assert not unused, f"{self.page}:{self.line}: the marker names no command of the block: {unused}"
        return tuple(found)

    def _lines(self) -> Iterator[tuple[int, str]]:
        """Each command with the number of its line; a backslash joins lines."""
        joined, begin = "", 0
        for number, text in enumerate(self.text.splitlines(), self.line + 1):
            begin = begin if joined else number
            joined += text.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
            elif joined:
                yield begin, joined
                joined = ""


def blocks() -> list[Block]:
    return [block for page in PAGES for block in _of(page)]


def commands() -> list[Command]:
    return [command for block in blocks() if not block.language for command in block.commands]


def _of(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
        before = text[: found.start()].rstrip()
        marker = [*MARKER.finditer(before)][-1:]
        told = (marker[0][1] or marker[0][2]) if marker and marker[0].end() == len(before) else ""
        line = text.count("\n", 0, found.start()) + 1
        yield Block(str(page.relative_to(ROOT)), line, found[2], found[3], told)
