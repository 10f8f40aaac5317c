"""The check of a series against bounds: decide each, record them, raise if one is not kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hil.errors import ORIGINS, ConfigurationError, HilError
from hil.measure.bound import Bound
from hil.measure.decision import Check, decide
from hil.measure.series_data import SeriesData
from hil.measure.units import shown

if TYPE_CHECKING:
    from hil.console import Transcript

WORST_SHOWN = 5


class BoundsNotKept(AssertionError):
    """Bounds that failed or are inconclusive; the text shows figures, clock and the worst samples.

    `origin` is the failure origin: the image only if a bound failed.
    """

    def __init__(self, series: SeriesData, checks: Sequence[Check]) -> None:
        super().__init__("\n".join([str(series), *map(str, checks), "worst samples:", *_worst(series)]))
        self.series = series
        self.checks = tuple(checks)
        origins = {check.origin for check in checks if not check.outcome.kept}
        self.origin = min(origins, key=ORIGINS.index, default="image")

    @property
    def brief(self) -> str:
        """One line for tables: the first bound that was not kept."""
        first = next(check for check in self.checks if not check.outcome.kept and check.origin == self.origin)
        return f"{self.series.quantity} of {self.series.subject}: {first}"


Record = Callable[[Any, tuple[Check, ...]], None]  # of a series and its checks
_records: list[Record] = []


@contextmanager
def recorded(record: Record) -> Iterator[None]:
    """Call `record` with each series that is checked in this context, and its checks. The innermost context counts."""
    _records.append(record)
    try:
        yield
    finally:
        _records.remove(record)


def check(series: SeriesData, bounds: Sequence[Bound]) -> tuple[Check, ...]:
    """Decide each of `bounds` and record the series with its checks; `Series.check` and `Measure.check` use this.

    Raises `BoundsNotKept`, an `AssertionError`, unless all bounds are kept, and `ConfigurationError` for no bounds and
    for an argument that is not a `Bound`.
    """
    if not bounds:
        raise ConfigurationError(
            f"there are no bounds for {series.quantity} of {series.subject} by {series.clock.name}",
            hint="Give one, as in series.check(p99 <= 2 * ms), or call measure.check(series) for those of the board.",
        )
    for bound in bounds:
        if not isinstance(bound, Bound):
            raise ConfigurationError(f"{bound!r} is not a bound", hint="Write bounds as series.check(p99 <= 2 * ms).")
    checks = tuple(decide(bound, series, series.confidence) for bound in bounds)
    for record in _records[-1:]:
        record(series, checks)
    if not all(check.outcome.kept for check in checks):
        raise BoundsNotKept(series, checks)
    return checks


def _worst(series: SeriesData) -> Iterator[str]:
    """Yield a line for each of the worst samples: number, value, time, and the line of the console if known.

    They are the largest ones, of a step response those furthest beyond the setpoint.
    """
    import numpy as np

    from hil.console import Transcript  # not needed to collect tests

    with ExitStack() as stack:
        transcript = None
        if series.offsets is not None and (path := series.provenance.get("transcript")):
            with suppress(HilError):  # it may have been moved or deleted since
                transcript = Transcript(Path(path))
                stack.callback(transcript.close)
                transcript.refresh()
        physical = series.physical_unit
        badness = series.samples

        def number(value: float) -> str:
            return f"{value:.6g} {physical}" if physical else shown(value, series.unit)

        if (facts := series.response) is not None and series.times is not None:
            beyond = series.samples - facts.setpoint
            badness = beyond * facts.rising if facts.rising else abs(beyond)
            badness[series.times < facts.start] = -np.inf
        for index in np.argsort(-badness, kind="stable")[:WORST_SHOWN]:
            text = f"  #{index + 1} {number(float(series.samples[index]))}"
            if series.times is not None:
                text += f" at {series.times[index]:.6f} s"
            if transcript and series.offsets is not None:
                text += _console(transcript, int(series.offsets[index]))
            yield text


def _console(transcript: Transcript, offset: int) -> str:
    if not 0 <= offset < transcript.size:
        return ""
    start = max(0, offset - 4096)
    start += transcript.read(start, offset).rfind(b"\n") + 1
    line = next(transcript.lines(start, min(start + 8192, transcript.size), first=transcript.line_number(offset)))
    return f", {transcript.path}:{line.number}: {line.text[:200]}"
