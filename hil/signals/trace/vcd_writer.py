"""Write the pins and signals of a timeline as VCD (IEEE 1364-2005, clause 18), for waveform viewers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hil.host.disk import MIB, disk
from hil.host.files import replacing
from hil.signals.edges import Edges
from hil.signals.trace.timeline import Signal, Timeline, edge_times, in_ns
from hil.text import printable_line

TITLE = "wasm-hil"
BLOCK = 1 << 16  # changes that are formatted at a time
LONGEST = 80  # characters of a name
_FOREIGN = re.compile(r"[^A-Za-z0-9_+-]+")  # blanks end a name, a dot a scope, a bracket begins the index of a bit
_LEVELS = "01x"


@dataclass(frozen=True)
class _Variable:
    """A variable of the file: its code, its scope and name there, and what it stands for."""

    code: str
    scope: str
    name: str
    source: Edges | Signal


def write_vcd(timeline: Timeline, path: Path) -> None:
    """Write the pins of `timeline` as wires and its signals as real variables, with a time scale of 1 ns.

    Times are those of the timeline. The same timeline gives the same bytes. Raises `InfrastructureError` for errors of
    the disk.
    """
    with disk(path.parent, MIB), replacing(path) as new, new.open("wb") as file:
        file.writelines(vcd_blocks(timeline))


def vcd_blocks(timeline: Timeline) -> Iterator[bytes]:
    """Yield the VCD file of `timeline` in blocks.

    Pins and signals that the bench drives are in the scope `bench`, others in `partition`. A character that a name in
    VCD cannot have becomes `_`; a comment then has the name in full, and the unit of each signal.
    """
    variables = _variables(timeline)
    yield _header(timeline, variables).encode()
    yield from _changes(timeline, variables)


def _variables(timeline: Timeline) -> list[_Variable]:
    sides: list[tuple[str, str, Edges | Signal]] = [
        *(("bench", edges.channel, edges) for edges in timeline.stimuli),
        *(("partition", edges.channel, edges) for edges in timeline.outputs),
        *((signal.driver, signal.name, signal) for signal in timeline.signals),
    ]
    taken: set[tuple[str, str]] = set()
    variables = []
    for number, (scope, given, source) in enumerate(sides):
        plain = stem = _FOREIGN.sub("_", given)[:LONGEST] or "_"
        copy = 1
        while (scope, plain) in taken:
            copy += 1
            plain = f"{stem}_{copy}"
        taken.add((scope, plain))
        variables.append(_Variable(_code(number), scope, plain, source))
    return variables


def _code(number: int) -> str:
    """Return the identifier code of a variable: printable ASCII characters, the last one first."""
    code = ""
    while True:
        code += chr(33 + number % 94)
        number //= 94
        if not number:
            return code


def _header(timeline: Timeline, variables: Sequence[_Variable]) -> str:
    lines = [
        f"$version {TITLE} $end",
        f"$comment {_comment(f'times are ns of the clock: {timeline.clock}')} $end",
        "$timescale 1 ns $end",
    ]
    for scope in ("bench", "partition"):
        members = [variable for variable in variables if variable.scope == scope]
        if not members:
            continue
        lines.append(f"$scope module {scope} $end")
        for variable in members:
            source = variable.source
            kind = "wire 1" if isinstance(source, Edges) else "real 64"
            lines.append(f"$var {kind} {variable.code} {variable.name} $end")
            given = source.channel if isinstance(source, Edges) else source.name
            if given != variable.name:
                lines.append(f"$comment {_comment(f'{variable.name} is {given}')} $end")
            if isinstance(source, Signal) and source.unit:
                lines.append(f"$comment {_comment(f'{variable.name} is in {source.unit}')} $end")
        lines.append("$upscope $end")
    lines.append("$enddefinitions $end")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> str:
    return printable_line(text)[:1000].replace("$", "(dollar)")  # `$end` would end the comment


def _changes(timeline: Timeline, variables: Sequence[_Variable]) -> Iterator[bytes]:
    """Yield all changes by time, those of one time in the order of the variables, and the last time."""
    table: list[str] = []  # the texts of all levels of all wires
    columns = []
    end = timeline.end_ns or 0
    for number, variable in enumerate(variables):
        source = variable.source
        if isinstance(source, Edges):
            times, owner = edge_times(source), -1
            values: np.ndarray = len(table) + np.minimum(source.levels, len(_LEVELS) - 1).astype(np.float64)
            table += [level + variable.code for level in _LEVELS]
            end = max(end, in_ns(source, source.end))
        else:
            times, owner, values = source.times_ns, number, source.values
        columns.append((times, np.full(len(times), owner, dtype=np.int32), values))
    times, owners, values = (
        np.concatenate([np.empty(0, kind), *(column[place] for column in columns)])
        for place, kind in enumerate((np.int64, np.int32, np.float64))
    )
    order = np.argsort(times, kind="stable")
    now = -1
    for begin in range(0, len(order), BLOCK):
        part = order[begin : begin + BLOCK]
        lines = []
        for time, owner, value in zip(times[part].tolist(), owners[part].tolist(), values[part].tolist(), strict=True):
            if time != now:
                now = time
                lines.append(f"#{time}")
            lines.append(table[int(value)] if owner < 0 else f"r{value:.16g} {variables[owner].code}")
        yield ("\n".join(lines) + "\n").encode()
    if end > now:
        yield f"#{end}\n".encode()
