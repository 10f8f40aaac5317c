"""Reports of faults: a table for a terminal, a page in Markdown."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hil.faults.record import BROKEN, GRADES, HELD, USABLE, WRONG, FaultRecord


def ordered(records: Iterable[FaultRecord]) -> list[FaultRecord]:
    """Return the records worst first: by grade, by `usable`, by the time of recovery."""
    return sorted(
        records, key=lambda record: (GRADES.index(record.grade), -USABLE.index(record.usable), -record.recovery)
    )


def summary(records: Sequence[FaultRecord]) -> str:
    """Return one line with the number of records of each grade."""
    counts = {grade: sum(record.grade == grade for record in records) for grade in GRADES}
    return (
        f"{len(records)} faults: {counts[HELD]} held, {counts[BROKEN]} broken and found, "
        f"{counts[WRONG]} not found or beyond repair"
    )


def row(record: FaultRecord) -> dict[str, str]:
    """Return the cells of a record by the titles of their columns."""
    return {
        "fault": record.fault,
        "what was done": record.done,
        "what the image did": record.did,
        "verdict": record.verdict,
        "usable": record.usable,
        "recovery s": f"{record.recovery:.1f}",
        "finding": record.grade if record.grade == HELD else f"{record.grade}: {record.why}",
    }


def table(records: Sequence[FaultRecord]) -> list[str]:
    """Return lines for a terminal: columns, and below each record that did not hold its actions and reason."""
    rows = [("fault", "finding", "verdict", "usable again", "s")]
    rows += [
        (record.fault, record.grade, record.verdict, record.usable, f"{record.recovery:.1f}") for record in records
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    shown = [lines[0]]
    for record, line in zip(records, lines[1:], strict=True):
        shown.append(line)
        if record.grade != HELD:
            shown += [f"    {_line(text)}" for text in (record.why, record.done, record.did)]
            shown.append(f"    {record.transcript}:{record.first}")
    return shown


def markdown(records: Sequence[FaultRecord], facts: Mapping[str, str], base: Path) -> str:
    """Return a page with the records worst first; paths of transcripts are relative to `base`."""
    lines = ["# Robustness", "", summary(records) + ".", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += ["", "| fault | usable again | recovery s | verdict | finding |", "|---|---|---|---|---|"]
    for record in ordered(records):
        cells = (record.fault, record.usable, f"{record.recovery:.1f}", record.verdict, record.grade)
        lines.append("| " + " | ".join(_line(cell).replace("|", "\\|") for cell in cells) + " |")
    for grade, title in ((WRONG, "To repair"), (BROKEN, "Broken, and found"), (HELD, "Held")):
        graded = [record for record in ordered(records) if record.grade == grade]
        lines += ["", f"## {title}"] if graded else []
        for record in graded:
            lines += ["", *_paragraph(record, base)]
    return "\n".join(lines) + "\n"


def _paragraph(record: FaultRecord, base: Path) -> list[str]:
    path = os.path.relpath(record.transcript, base)
    test = f"; test `{record.test}`" if record.test else ""
    lines = [
        f"### {record.fault}, {record.board}, {record.image}",
        f"- why: {_line(record.why)}",
        f"- done: {_line(record.done)} (seed {record.seed})",
        f"- the image: {_line(record.did)}",
        f"- verdict: {_line(record.verdict)}, after {record.seconds:.1f} s",
        f"- usable: {record.usable}, {record.recovery:.1f} s later",
        f"- read on: `{path}`, lines {record.first} to {record.last}{test}",
    ]
    if record.tail and record.grade != HELD:
        lines += ["", "```", *(line.replace("```", "'''") for line in record.tail), "```"]
    return lines


def _line(text: str) -> str:
    return " ".join(text.split())
