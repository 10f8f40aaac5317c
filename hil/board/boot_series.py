"""Repeated cold boots of a board: the rate of failures by the image, and the times of the stages."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hil.errors import ConfigurationError, HilError
from hil.stats.rates import rate

if TYPE_CHECKING:
    from hil.board.boot_report import BootReport
    from hil.stats.rates import Rate


@dataclass
class BootSeries:
    """The reports of the boots that succeeded, and the number and error of each one that failed."""

    reports: list[BootReport] = field(default_factory=list)
    errors: list[tuple[int, HilError]] = field(default_factory=list)

    @property
    def by_image(self) -> int:
        """The number of boots that the image failed."""
        return sum(error.origin == "image" for _, error in self.errors)

    @property
    def failure_rate(self) -> Rate | None:
        """The rate of failures by the image; None where no boot is a sample: failures by the test bed are none."""
        count = len(self.reports) + self.by_image
        return rate(self.by_image, count) if count else None

    @property
    def failures(self) -> list[dict[str, Any]]:
        """The failed boots as JSON data."""
        return [
            {
                "boot": number,
                "fault": error.origin,
                "stage": error.stage,
                "cause": error.brief,
                "transcript": str(error.evidence.transcript) if error.evidence and error.evidence.transcript else None,
            }
            for number, error in self.errors
        ]

    @property
    def stage_times(self) -> list[dict[str, Any]]:
        """The least, median and greatest time of each stage since power-on, in seconds."""
        times: dict[str, list[float]] = {}
        for stage in (stage for report in self.reports for stage in report.stages):
            times.setdefault(stage.name, []).append(stage.seconds)
        figures: dict[str, Callable[[list[float]], float]] = {"min": min, "median": statistics.median, "max": max}
        return [
            {"stage": name, **{figure: round(compute(seconds), 3) for figure, compute in figures.items()}}
            for name, seconds in times.items()
        ]


def boot_repeatedly(boot: Callable[[], BootReport], count: int, on_error: Callable[[HilError], None]) -> BootSeries:
    """Call `boot` `count` times. A failure is passed to `on_error` and does not end the series.

    Raises `ConfigurationError` at once.
    """
    series = BootSeries()
    for number in range(1, count + 1):
        try:
            series.reports.append(boot())
        except ConfigurationError:
            raise
        except HilError as error:
            on_error(error)
            series.errors.append((number, error))
    return series
