"""The page of a test's console: a table of its rows, to be searched, with file transfers folded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hil.console.lines import FOLDED, transferred
from hil.image.manifest import Manifest
from hil.report.console import (
    CONSOLE_LINES,
    KINDS,
    NOTE_CHARACTERS,
    ConsoleRow,
    Mark,
    Patterns,
    Span,
    beginning,
    marked,
    rows,
)
from hil.report.templates import asset, render


@dataclass(frozen=True)
class RowGroup:
    """Rows that are shown together; those with a `title` are folded behind it."""

    rows: tuple[ConsoleRow, ...]
    title: str = ""


def grouped(lines: Sequence[ConsoleRow]) -> Iterator[RowGroup]:
    """Divide the lines into transfers of files, the probe's records among them, and all else."""
    shown: list[ConsoleRow] = []
    at = 0
    while at < len(lines):
        end, form = _transfer_end(lines, at)
        if end - at < FOLDED:
            shown += lines[at : max(end, at + 1)]
            at = max(end, at + 1)
            continue
        if shown:
            yield RowGroup(tuple(shown))
        shown = []
        folded = tuple(lines[at:end])
        way = "sent" if folded[0].kind == "typed" else "received"
        yield RowGroup(
            folded, f"{len(folded)} lines of a file {way} {form}, {sum(len(row.text) for row in folded):,} bytes"
        )
        at = end
    if shown:
        yield RowGroup(tuple(shown))


def _transfer_end(lines: Sequence[ConsoleRow], at: int) -> tuple[int, str]:
    """Return the index behind the file that begins at `at` and its form; `at` itself where there is none."""
    kind = lines[at].kind
    if kind not in ("", "typed"):
        return at, ""
    same = itertools.takewhile(lambda row: row.kind == kind and not row.notes, itertools.islice(lines, at, None))
    count, form = transferred(row.text for row in same)
    return at + count, form


def console_page(part: Span, manifest: Manifest, *, failed: bool = False) -> str | None:
    """Return the page of `part`; None where nothing was typed and nothing received, unless the test `failed`."""
    found = rows(part, Patterns.of(manifest))
    if not found and not failed:
        return None
    shown = found[-CONSOLE_LINES:]
    cut = len(shown) < len(found) or beginning(part) > part.start
    begin = shown[0].start if shown else part.start
    marks = [mark if cut else replace(mark, offset=max(mark.offset, begin + 1)) for mark in part.marks]
    lines = marked(shown, marks)
    fail_shown = any(row.kind == "fail" for row in lines)
    columns, cells = _columns(part, lines)
    return render(
        "console.html",
        title="console",
        name="console",
        scripted=True,
        styles=[asset("console.css")],
        place=_place(part, lines, cut),
        hidden_failures=[] if fail_shown else _hidden_failures(part, marks, bool(shown)),
        legend=[f"{kind}: {text}" for kind, text in KINDS.items() if any(row.kind == kind for row in lines)],
        marked=fail_shown,
        failed=failed,
        columns=columns,
        groups=[{"title": group.title, "rows": [cells(row) for row in group.rows]} for group in grouped(lines)],
    )


def _hidden_failures(part: Span, marks: Sequence[Mark], any_line: bool) -> list[Mapping[str, str]]:
    """Return the failures on lines that are not shown."""
    return [
        {
            "where": f"at line {part.transcript.line_number(mark.offset)}, which is not shown" if any_line else "here",
            "text": mark.text[:NOTE_CHARACTERS],
        }
        for mark in marks
        if mark.kind == "fail"
    ]


def _place(part: Span, lines: Sequence[ConsoleRow], cut: bool) -> str:
    """Return which lines of the transcript the page shows."""
    first, last = (part.transcript.line_number(at) for at in (part.start, max(part.start, part.end - 1)))
    numbers = [row.number for row in lines if row.number is not None]
    if not numbers:
        return f"{part.transcript.path}, at line {first}: nothing was received during this test"
    text = f"{part.transcript.path}, lines {numbers[0]} to {numbers[-1]}"
    if cut:
        text += f"; the test began in line {first} and ended in line {last}, the transcript has them all"
    return text


def _columns(part: Span, lines: Sequence[ConsoleRow]) -> tuple[list[str], Any]:
    """Return the names of the columns before the text, and a function from a row to its cells."""
    booted = part.power_on_ns is not None and any(row.kind == "stage" for row in lines)
    virtual = any(row.virtual_ns is not None for row in lines)
    names = ["line", "seconds", *(["since power-on"] if booted else []), *(["virtual time"] if virtual else [])]
    first_fail = next((row for row in lines if row.kind == "fail"), None)

    def cells(row: ConsoleRow) -> Mapping[str, Any]:
        times = [f"{(row.time_ns - part.zero_ns) / 1e9:.3f}"]
        if booted:
            times.append(f"{(row.time_ns - (part.power_on_ns or 0)) / 1e9:.3f}")
        if virtual:
            times.append("" if row.virtual_ns is None else f"{row.virtual_ns / 1e9:.6f}")
        number = "" if row.number is None else str(row.number)
        return {
            "anchor": "fail" if row is first_fail else f"L{number}" if number else "",
            "kind": row.kind,
            "cells": [number, *times],
            "text": row.text if row.foreign is None else row.text[: row.foreign],
            "foreign": "" if row.foreign is None else row.text[row.foreign :],
            "notes": row.notes,
        }

    return names, cells
