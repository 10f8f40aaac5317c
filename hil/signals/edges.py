"""Edges of digital signals from a capture of a logic analyser, and series derived from them.

A capture is a VCD file (IEEE 1364, clause 18) of any instrument. An edge is a direct change
from 0 to 1 or back; an unknown level (`x` or `z`) makes no edge and ends an interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from hil.board.sigrok import Instant
from hil.errors import ConfigurationError
from hil.measure.clock import Clock
from hil.measure.host import HostWindow
from hil.measure.series import Series
from hil.measure.units import Amount, amount, shown
from hil.signals.vcd import UNKNOWN
from hil.stats.arrays import Floats

Ticks = NDArray[np.int64]
Levels = NDArray[np.uint8]

AXIS = "axis"
"""The fact in the provenance of edges and series that names the clock on whose axis their times are, from its zero."""

CHOICES = {"rising": ((0, 1),), "falling": ((1, 0),), "any": ((0, 1), (1, 0))}  # of edges, with their levels
DRIFT = 100e-6  # between two ordinary crystals of 50 ppm


@dataclass(frozen=True, eq=False)
class Edges:
    """The changes of one channel: at `ticks[i]` its level became `levels[i]` (0, 1, or 2 for unknown).

    The first entry is the level at the start. `rate` is the number of ticks per second, `end` the last tick of the
    capture, `host` the load of the host where it can have delayed edges. Methods that return a series raise
    `ConfigurationError` for too few edges. Intervals are subtracted in ticks, so that equal intervals give equal
    samples.
    """

    channel: str
    ticks: Ticks
    levels: Levels
    end: int
    rate: float
    clock: Clock
    provenance: Mapping[str, str] = field(default_factory=dict)
    host: Sequence[HostWindow] = ()

    @property
    def rising(self) -> Floats:
        """The times of changes from 0 to 1, in seconds by the clock of the capture."""
        return self._seconds(self.ticks[self._begins(0, 1)])

    @property
    def falling(self) -> Floats:
        """The times of changes from 1 to 0, in seconds by the clock of the capture."""
        return self._seconds(self.ticks[self._begins(1, 0)])

    def period(self) -> Series:
        """Return the times from each rising edge to the next."""
        at = self._begins(0, 1, 0, 1)
        return self._series("period", self.ticks[at + 2] - self.ticks[at], at)

    def high_time(self) -> Series:
        """Return the times from each rising edge to the next falling edge."""
        at = self._begins(0, 1, 0)
        return self._series("high time", self.ticks[at + 1] - self.ticks[at], at)

    def low_time(self) -> Series:
        """Return the times from each falling edge to the next rising edge."""
        at = self._begins(1, 0, 1)
        return self._series("low time", self.ticks[at + 1] - self.ticks[at], at)

    def duty_cycle(self) -> Series:
        """Return the high share of each period, a ratio."""
        at = self._begins(0, 1, 0, 1)
        self._enough("duty cycle", at)
        high, whole = self.ticks[at + 1] - self.ticks[at], self.ticks[at + 2] - self.ticks[at]
        coarse = f"a sample is up to {shown(1 / int(whole.min()), '1')} of a period"
        clock = replace(self.clock, remark=f"{coarse}; {self.clock.remark}")
        return self._of("duty cycle", high / whole, self._seconds(self.ticks[at]), clock, unit="1")

    def period_jitter(self, nominal: Amount | None = None) -> Series:
        """Return the difference of each period from `nominal`, by default from the mean period."""
        periods = self.period()
        ideal = float(periods.samples.mean()) if nominal is None else amount(nominal, "s", "the nominal period")
        facts = {"nominal period": f"{shown(ideal)}{' (mean)' if nominal is None else ''}"}
        return replace(
            periods,
            quantity="period jitter",
            samples=periods.samples - ideal,
            provenance={**periods.provenance, **facts},
        )

    def cycle_to_cycle_jitter(self) -> Series:
        """Return the difference of each period from the previous one."""
        at = self._begins(0, 1, 0, 1, 0, 1)
        first, second, third = (self.ticks[at + step] for step in (0, 2, 4))
        return self._series("cycle-to-cycle jitter", third - 2 * second + first, at, edges=3)

    def latency_to(self, other: Edges, edge: str = "rising", answer: str = "rising") -> Series:
        """Return the times from each edge to the first edge of `other`, of the same capture, before the next edge.

        `edge` chooses the edges of this channel and `answer` those of `other`: `"rising"`, the default of both,
        `"falling"` or `"any"`. The provenance has the count of unanswered edges.
        """
        if other.rate != self.rate:
            raise ConfigurationError(
                f"the channels {self.channel} and {other.channel} are of different captures: "
                f"{self.rate:g} and {other.rate:g} ticks a second",
                hint="Capture both channels at once.",
            )
        asked, answered = self._chosen(edge), other._chosen(answer)
        self._enough("latency", asked)
        subject = f"{self.channel} {edge} to {other.channel} {answer}"
        others = " or ".join(f'answer="{choice}"' for choice in CHOICES if choice != answer)
        hint = (
            f"Pass {others} (edge={edge!r} chooses the edges of {self.channel}); {other.channel} has "
            f"{len(other.rising)} rising and {len(other.falling)} falling edges. Check that both ran at the same time."
        )
        return self._latency(subject, self._seconds(asked), self._seconds(answered), self.clock, hint=hint)

    def latency_to_console(self, stamps_ns: Sequence[int], began: Instant, host: Clock, edge: str = "rising") -> Series:
        """Return the times from each edge to the first console line after it, before the next edge.

        `stamps_ns` are the ascending host monotonic stamps of the lines, taken with the clock `host`, and `began` is
        the start of the capture on that clock. The noise floor of the series is the sum of four uncertainties: the
        start, which shifts all samples alike, the drift between the clocks, and both clocks. Raises
        `ConfigurationError` if edges come too fast for this floor.
        """
        asked = self._chosen(edge)
        self._enough("latency", asked)
        times = self._seconds(asked)
        slack = began.uncertainty + DRIFT * float(times[-1]) + host.uncertainty + self.clock.uncertainty
        if len(times) > 1 and (closest := float(np.diff(times).min())) <= 2 * slack:
            raise ConfigurationError(
                f"edges of {self.channel} are {shown(closest)} apart, but the console's stamps are uncertain by "
                f"{shown(slack)} on the analyser's clock: a line may belong to either edge",
                hint="Connect the console's line to the analyser too, or slow the edges down.",
            )
        remark = (
            f"against {host.name}; the start of the capture is uncertain by {shown(began.uncertainty)}, the same shift "
            f"for all samples; the clocks may drift apart by {DRIFT * 1e6:.0f} ppm"
        )
        clock = Clock(self.clock.name, max(self.clock.resolution, host.resolution), remark, floor=slack)
        lines = (np.asarray(stamps_ns, dtype=np.int64) - began.ns) / 1e9
        return self._latency(f"{self.channel} {edge} to the console", times, lines, clock, slack)

    def without_glitches(self, width: Amount) -> Edges:
        """Return the channel without pulses, high or low, shorter than `width`.

        A level counts once it lasts for `width`, so the edge of a bouncing contact is at the last bounce. The
        provenance has the count of removed pulses.
        """
        least = amount(width, "s", "the width of a glitch")
        kept = (np.diff(self.ticks, append=self.end) / self.rate >= least) | (self.levels == UNKNOWN)
        kept[[0, -1]] = True  # cut by the capture, so their length is unknown
        ticks, levels = changes_only(self.ticks[kept], self.levels[kept])
        facts = {"glitches removed": f"{int((~kept).sum())} shorter than {width}"}
        return replace(self, ticks=ticks, levels=levels, provenance={**self.provenance, **facts})

    def __str__(self) -> str:
        return (
            f"{self.channel}: {len(self._begins(0, 1))} rising and {len(self._begins(1, 0))} falling edges in "
            f"{shown(self.end / self.rate)}, clock: {self.clock}"
        )

    def _begins(self, first: int, *pattern: int) -> NDArray[np.intp]:
        """Return the indices of the edges from `first` after which the levels follow `pattern`."""
        levels = self.levels
        last = max(0, len(levels) - len(pattern))
        found = levels[:last] == first
        for step, level in enumerate(pattern, 1):
            found &= levels[step : step + last] == level
        return np.flatnonzero(found) + 1

    def _chosen(self, edge: str) -> Ticks:
        if edge not in CHOICES:
            raise ConfigurationError(f"there is no edge {edge!r}", hint=f"Give one of: {', '.join(CHOICES)}.")
        at = np.sort(np.concatenate([self._begins(*pattern) for pattern in CHOICES[edge]]))
        chosen: Ticks = self.ticks[at]
        return chosen

    def _seconds(self, ticks: NDArray[np.int64]) -> Floats:
        return ticks / self.rate

    def _enough(self, quantity: str, found: NDArray[np.int64]) -> None:
        if not len(found):
            raise ConfigurationError(
                f"too few edges for a {quantity}: {self}",
                hint="Check that the probe is on the pin, that the pin toggles, and that the capture is long enough.",
            )

    def _series(self, quantity: str, ticks: Ticks, at: NDArray[np.intp], edges: int = 2) -> Series:
        self._enough(quantity, at)
        clock = self.clock
        if clock.floor:  # each edge adds up to one sample of error, except for a common one
            clock = replace(clock, floor=clock.floor * (edges - 1))
        return self._of(quantity, self._seconds(ticks), self._seconds(self.ticks[at]), clock)

    def _of(self, quantity: str, samples: Floats, times: Floats, clock: Clock, unit: str = "s") -> Series:
        return Series(
            quantity, self.channel, samples, clock, unit, times=times, provenance=self.provenance, host=self.host
        )

    def _latency(
        self,
        subject: str,
        asked: Floats,
        answers: Floats,
        clock: Clock,
        slack: float = 0.0,
        hint: str = "Check that edge= chooses the right edges and that both ran at the same time.",
    ) -> Series:
        """Return the times from each of `asked` to the first of `answers`, up to `slack` earlier, before the next."""
        place = np.searchsorted(answers, asked - slack)
        first = np.append(answers, np.inf)[place]
        answered = first < np.append(asked[1:] - slack, np.inf)
        if not answered.any():
            raise ConfigurationError(
                f"none of {len(asked)} edges was answered: {subject}",
                hint=hint,
            )
        facts = {"unanswered": f"{int((~answered).sum())} of {len(asked)}"}
        return Series(
            "latency",
            subject,
            first[answered] - asked[answered],
            clock,
            times=asked[answered],
            provenance={**self.provenance, **facts},
            host=self.host,
        )


def changes_only(ticks: Ticks, levels: Levels) -> tuple[Ticks, Levels]:
    """Return the entries that change the level."""
    new = np.append(True, levels[1:] != levels[:-1])
    return ticks[new], levels[new]
