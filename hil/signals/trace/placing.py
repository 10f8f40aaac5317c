"""Place the console, boot, executions, faults and series of a test on the axis of a timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hil.board.boot_report import BootReport
from hil.console import Console
from hil.measure.clock import CONSOLE, VIRTUAL
from hil.measure.decision import Check
from hil.measure.quantities import RELEASE, SIGNAL, STEP_RESPONSE
from hil.measure.series import Series
from hil.signals.edges import AXIS
from hil.signals.trace.timeline import Events, Moment, Period, Timeline, Times
from hil.wasm import Execution

Measured = tuple[Series, Sequence[Check]]
"""A series with its checks."""

LINES = 100_000  # of a console in one timeline; the rest is counted
STATES = {True: "proven", None: "not provable", False: "garbled"}


class Traceable(Protocol):
    """An object with a timeline of its own, such as the pins of a board or the result of a loop."""

    def timeline(self) -> Timeline: ...


class PlacedFault(Protocol):
    """An injected fault with its place in a transcript, such as `hil.faults.record.Injection`."""

    @property
    def fault(self) -> str: ...
    @property
    def done(self) -> str: ...
    @property
    def did(self) -> str: ...
    @property
    def transcript(self) -> Path: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True)
class ConsoleAxis:
    """The axis of the stamps of `console`: virtual time in lock step, else the host's monotonic clock."""

    console: Console

    @property
    def clock(self) -> str:
        return VIRTUAL if self.console.virtual else CONSOLE

    def at(self, offset: int) -> int | None:
        """Return the time in ns of the byte at `offset`, of the last byte for an offset behind it.

        Return None where the byte has no stamp on this axis: before the first pause in virtual time.
        """
        console = self.console
        last = console.transcript.size - 1
        if last < 0 or offset < 0:
            return None
        if console.lockstep is not None:
            return console.lockstep.stamp(min(offset, last))
        return console.transcript.time_at(min(offset, last))

    def span(self, start: int, end: int, name: str, detail: dict[str, str]) -> Period | None:
        """Return the span between the bytes at two offsets; None where one has no stamp."""
        begin, until = self.at(start), self.at(end)
        return None if begin is None or until is None else Period(begin, max(begin, until), name, detail)


def console_timeline(
    console: Console,
    start: int = 0,
    *,
    boot: BootReport | None = None,
    executions: Iterable[Execution] = (),
    faults: Iterable[PlacedFault] = (),
    checked: Iterable[Measured] = (),
) -> Timeline:
    """Return the timeline of a test on the axis of its console, whose part of the transcript begins at `start`.

    Executions, faults and series are placed by their offsets in the transcript. What lies in another transcript, or
    has no stamp on the axis, is left out and counted, but for series with `AXIS` (see `series_timeline`). Samples of a
    checked series beyond the deadline of a bound are deadline misses.
    """
    axis = ConsoleAxis(console)
    console.transcript.refresh()
    path = console.transcript.path
    left_out: dict[str, int] = {}

    def placed(kind: str, spans: Iterable[Period | None]) -> tuple[Period, ...]:
        found = list(spans)
        if count := found.count(None):
            left_out[kind] = left_out.get(kind, 0) + count
        return tuple(span for span in found if span is not None)

    lines: list[Moment] = []
    for line in console.lines(start):
        at = axis.at(line.offset) if len(lines) < LINES else None
        if at is None:
            left_out["console lines"] = left_out.get("console lines", 0) + 1
        elif line.text:
            lines.append(Moment(at, line.text, {"line": str(line.number)}))
    releases, misses = _events(_placed(axis, checked, left_out))
    return Timeline(
        axis.clock,
        stages=placed("stages", _stages(axis, boot)),
        lines=lines,
        executions=placed("executions", (_execution(axis, run, path) for run in executions)),
        releases=releases,
        misses=misses,
        faults=placed(
            "faults",
            (
                axis.span(max(0, fault.start - 1), fault.end, fault.fault, {"done": fault.done, "image": fault.did})
                if fault.transcript == path
                else None
                for fault in faults
            ),
        ),
        left_out=left_out,
    )


def _stages(axis: ConsoleAxis, boot: BootReport | None) -> Iterable[Period | None]:
    """Yield the stages of `boot`, each from the end of the one before; None for each in another transcript."""
    if boot is None:
        return
    here = boot.transcript == axis.console.transcript.path
    before = 0 if axis.console.virtual else boot.power_on_ns
    zero = before
    for stage in boot.stages:
        end = zero + round(stage.seconds * 1e9)
        yield Period(min(before, end), end, stage.name) if here else None
        before = end


def _execution(axis: ConsoleAxis, run: Execution, path: Path) -> Period | None:
    if run.transcript != path:
        return None
    detail = {
        "verdict": str(run.verdict),
        "output": f"{len(run.output)} bytes, {STATES[run.intact]}",
        "sha256": run.module.sha256,
    }
    # the byte before it is the end of the command line, at whose stamp the agent started
    return axis.span(max(0, run.start - 1), run.end, f"{run.call}: {run.verdict}", detail)


def series_timeline(clock: str, checked: Iterable[Measured]) -> Timeline:
    """Return the timeline of the series whose provenance has `AXIS`, on the axis `clock`; those of others are counted.

    Samples of a series beyond the deadline of a bound are deadline misses.
    """
    placed, left_out = [], 0
    for series, checks in checked:
        axis = series.provenance.get(AXIS)
        if axis == clock and series.times is not None:
            placed.append((series, checks, np.rint(series.times * 1e9).astype(np.int64)))
        elif axis is not None:
            left_out += len(series)
    releases, misses = _events(placed)
    return Timeline(clock, releases=releases, misses=misses, left_out={"samples": left_out} if left_out else {})


def _placed(
    axis: ConsoleAxis, checked: Iterable[Measured], left_out: dict[str, int]
) -> Iterator[tuple[Series, Sequence[Check], Times]]:
    """Yield the series with positions in the transcript, with their times by these; count others in `left_out`."""
    for series, checks in checked:
        if series.provenance.get(AXIS) or series.quantity in (SIGNAL, STEP_RESPONSE):
            continue  # these are in the timelines of series and loops
        here = series.provenance.get("transcript") == str(axis.console.transcript.path)
        stamps = [axis.at(int(offset)) for offset in series.offsets] if series.offsets is not None and here else [None]
        if None in stamps:
            left_out["samples"] = left_out.get("samples", 0) + len(series)
        else:
            yield series, checks, np.array(stamps, dtype=np.int64)


def _events(
    placed: Iterable[tuple[Series, Sequence[Check], Times]],
) -> tuple[tuple[Events, ...], tuple[Events, ...]]:
    """Return the releases among the series, and the samples of all of them beyond a deadline."""
    releases, misses = [], []
    for series, checks, stamps in placed:
        order = np.argsort(stamps, kind="stable")
        times, samples = stamps[order], series.samples[order]
        name = f"{series.quantity} of {series.subject}"
        if series.quantity == RELEASE:
            releases.append(Events(name, times))
        for deadline in sorted({check.bound.figure.deadline.value for check in checks if check.bound.figure.deadline}):
            late = times[samples > deadline]
            if len(late):
                misses.append(Events(f"{name} > {deadline * 1e3:g} ms", late))
    return tuple(releases), tuple(misses)
